package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"renewer/renewer/engine"
)

// deaf is a host that answers nobody.
type deaf struct {
	engine.Host
	asked chan struct{}
}

func (d *deaf) Check(ctx context.Context) error {
	select {
	case d.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// A look at the fleet that takes long does not hold up a reload or the end.
func TestALookUnderWayEndsWithItsSchedule(t *testing.T) {
	t.Parallel()
	a := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n").open()
	p := *a.parts.Load()
	host := &deaf{asked: make(chan struct{}, 1)}
	p.hosts = map[string]engine.Host{"here": host}
	fleet := *p.fleet
	fleet.Schedule.Probe = cron.Every(time.Second)
	p.fleet = &fleet
	a.parts.Store(&p)
	stop := a.schedule(context.Background())
	<-host.asked
	begin := time.Now()
	stop()
	if took := time.Since(begin); took > healthTimeout/2 {
		t.Errorf("it took %s", took)
	}
}

package daemon

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"renewer/renewer/engine"
)

// deaf is a host that never answers.
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

// away is a host that answers when it is back.
type away struct {
	engine.Host
	back  bool
	asked int
}

func (h *away) Check(context.Context) error {
	h.asked++
	if !h.back {
		return errors.New("no route to host")
	}
	return nil
}

func TestHostThatIsDownIsCheckedAgain(t *testing.T) {
	t.Parallel()
	a := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n").open()
	p := *a.parts.Load()
	host := &away{}
	p.hosts = map[string]engine.Host{"here": host}
	up := func() bool {
		_, hosts := a.health.all()
		return hosts[0].Up
	}
	a.health.ask(t.Context(), &p)
	a.health.askDown(t.Context(), &p)
	if up() || host.asked != 2 {
		t.Errorf("up %t, asked %d times", up(), host.asked)
	}
	host.back = true
	a.health.askDown(t.Context(), &p)
	a.health.askDown(t.Context(), &p)
	if !up() || host.asked != 3 {
		t.Errorf("back: up %t, asked %d times", up(), host.asked)
	}
}

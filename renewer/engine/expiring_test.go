package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// An issuer that is away for good: the approach of the end is recorded at each
// threshold, once, through restarts; then the end itself.
func TestTheApproachOfAnEndIsRecordedOncePerThreshold(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		wait := func(d time.Duration) { <-time.After(d); synctest.Wait() }
		wait(time.Minute)
		first := b.row("web")
		b.ca.breakWith(errors.New("issuer is away"))
		for time.Now().Before(first.NotAfter.Add(time.Hour)) {
			wait(30 * time.Hour)
			b.stop()
			b.start(Alone)
		}
		wait(time.Minute)
		var left []string
		for _, e := range b.events(renewer.EventExpiring) {
			before := first.NotAfter.Sub(e.Time)
			left = append(left, before.Round(time.Hour).String())
			if e.Generation != 1 || e.Certificate != "web" || !strings.Contains(e.Error, "issuer is away") || e.Hint == "" || !strings.Contains(e.Message, "its renewal is not finished: ") ||
				!strings.Contains(e.Message, "failed; next retry at ") || strings.Contains(e.Message, "no renewal") {
				t.Errorf("%+v", e)
			}
		}
		// 10, 4⅔, 2⅓, 1 and ⅓ days of 30; the first ones wait for the renew time and its first failure.
		if len(left) < 4 || len(left) > 5 {
			t.Errorf("recorded %v before the end", left)
		}
		if n := len(b.events(renewer.EventExpired)); n != 1 {
			t.Errorf("%d expired", n)
		}
	})
}

func TestARenewalOnItsWayIsNotExpiring(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		<-time.After(6 * month)
		synctest.Wait()
		if got := b.events(renewer.EventExpiring, renewer.EventExpired); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		if row := b.row("web"); row.Generation < 5 {
			t.Errorf("generation %d", row.Generation)
		}
	})
}

// The operator has to be notified of a guard that waits for one.
func TestAGuardThatNeedsAnOperatorIsInTheLog(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("docker", month, "a")
		c.Placements[0].Activate.Units = []string{"docker.service"}
		c.Placements[0].Guard = &renewer.Guard{Docker: &renewer.DockerGuard{WithoutLiveRestore: renewer.GuardBlock}}
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		b.pass()
		b.machine("a").set(func(m *machine) { m.docker = renewer.DockerState{Running: true, Containers: 2} })
		_, err := b.eng.Renew(context.Background(), []string{"docker"}, renewer.Overrides{}, true, nil)
		must(t, err)
		got := b.events(renewer.EventRolloutWaiting)
		if len(got) != 1 || got[0].Error == "" || got[0].Hint == "" || got[0].Host != "a" {
			t.Errorf("%+v", got)
		}
	})
}

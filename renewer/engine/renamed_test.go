package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// An entry that is renamed while a host of it is between two generations takes over what
// that ends with: the new name is not issued again beside it.
func TestARenamedEntryWaitsForTheRolloutInProgress(t *testing.T) {
	for name, edit := range map[string]func(*renewer.Certificate){
		"by its files": func(*renewer.Certificate) {},
		"by moved:": func(c *renewer.Certificate) {
			c.From = "old"
			for i := range c.Placements {
				c.Placements[i].Dir = "/srv/new"
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a")
				old := b.cert("old", month, "a")
				b.fleet.Certificates = []renewer.Certificate{old}
				b.start(Alone)
				defer func() { b.stop() }()
				synctest.Wait()
				goOn := make(chan struct{})
				b.machine("a").then(func() { <-goOn })
				_, err := b.eng.Renew(context.Background(), []string{"old"}, renewer.Overrides{}, false, nil)
				must(t, err)
				synctest.Wait()
				c := b.cert("web", month, "a")
				c.CommonName, c.SANs = old.CommonName, old.SANs
				for i := range c.Placements {
					c.Placements[i].Dir = old.Placements[i].Dir
				}
				edit(&c)
				b.fleet.Certificates = []renewer.Certificate{c}
				must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
				synctest.Wait()
				if rec, found, err := b.store.Record("old"); err != nil || !found || rec.Rollout == nil || rec.Rollout.Settled() {
					t.Fatalf("nothing is in progress: %+v, %v", rec.Rollout, err)
				}
				if rec, found, err := b.store.Record("web"); err != nil || found {
					t.Fatalf("the new name is begun beside it: %+v, %v", rec, err)
				}
				if steps, err := b.eng.Plan(context.Background()); err != nil || len(steps) != 1 || steps[0].Certificate != "web" || steps[0].Action != "wait" {
					t.Errorf("plan: %+v, %v", steps, err)
				}
				close(goOn)
				time.Sleep(time.Minute)
				synctest.Wait()
				rec, _, err := b.store.Record("web")
				must(t, err)
				if rec.Current != 2 || rec.Latest != 2 || len(b.events(renewer.EventIssued)) != 2 {
					t.Errorf("issued %d times; %+v", len(b.events(renewer.EventIssued)), rec)
				}
				left, err := b.store.Departed()
				must(t, err)
				if len(left) > 0 {
					t.Errorf("left over: %+v", left)
				}
			})
		})
	}
}

package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

func TestFirstIssueIsProvenOnEveryHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b", "c")
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", 90*24*time.Hour, "a", "b", "c")}
		b.start(Asked)
		defer func() { b.stop() }()
		res := b.pass()
		if len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultVerified {
			t.Fatalf("result %+v", res)
		}
		row := b.row("web")
		if row.Status != renewer.StatusValid || row.Generation != 1 {
			t.Fatalf("row %+v", row)
		}
		for _, h := range row.Hosts {
			if h.State != renewer.HostVerified || h.Served != row.Fingerprint || !h.Matches {
				t.Errorf("host %+v", h)
			}
		}
		if n := b.ca.count(); n != 1 {
			t.Errorf("%d orders", n)
		}
	})
}

func TestOneYearWithoutOneExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		b.fleet.Certificates = []renewer.Certificate{
			b.cert("threedays", 3*24*time.Hour, "a"), b.cert("week", 7*24*time.Hour, "a", "b"), b.cert("quarter", 90*24*time.Hour, "b"),
		}
		b.start(Alone)
		defer func() { b.stop() }()
		end := time.Now().AddDate(1, 0, 0)
		for time.Now().Before(end) {
			time.Sleep(6 * time.Hour)
			synctest.Wait()
			for _, name := range []string{"threedays", "week", "quarter"} {
				if row := b.row(name); row.Status != renewer.StatusValid {
					t.Fatalf("%s: %s is %s: %+v", time.Now(), name, row.Status, row)
				}
			}
		}
		if ev := b.events(renewer.EventExpired, renewer.EventRolledBack, renewer.EventRenewalFailed); len(ev) > 0 {
			t.Fatalf("events %+v", ev)
		}
		for _, want := range []struct {
			name     string
			min, max int
		}{{"threedays", 160, 245}, {"week", 52, 110}, {"quarter", 4, 9}} {
			if n := b.row(want.name).Generation; n < want.min || n > want.max {
				t.Errorf("%s has %d generations after a year", want.name, n)
			}
		}
	})
}

package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// A renewer whose directories another one keeps orders nothing that it could not
// place, and goes on when it has taken one of them over.
func TestWhatAnotherRenewerKeepsIsNotOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", 90*24*time.Hour, "a", "b")}
		kept := &renewer.KeptError{Host: "a", Dir: "/d", Keeper: renewer.Mark{Fleet: "f", Incarnation: "b"}, Me: renewer.Mark{Fleet: "f", Incarnation: "a"}}
		b.machine("a").kept, b.machine("b").kept = kept, kept
		b.start(Alone)
		defer func() { b.stop() }()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := b.ca.count(); n != 0 {
			t.Errorf("%d orders", n)
		}
		if said := b.events(renewer.EventRenewalFailed); len(said) == 0 || !strings.Contains(said[0].Error, "is kept by another renewer") || !strings.Contains(said[0].Hint, "adopt --take-over") {
			t.Errorf("events %+v", b.events())
		}
		m := b.machine("b")
		m.mu.Lock()
		m.kept = nil
		m.mu.Unlock()
		if err := b.eng.SetFleet(context.Background(), b.fleet, Again); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := b.ca.count(); n != 1 {
			t.Errorf("after one of two was taken over: %d orders", n)
		}
		if row := b.row("web"); row.Generation != 1 {
			t.Errorf("row %+v", row)
		}
	})
}

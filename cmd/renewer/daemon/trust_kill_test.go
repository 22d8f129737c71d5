package daemon

import (
	"context"
	"fmt"
)

// mostKills bounds how often a change is interrupted before it completes.
const mostKills = 150

// killed makes passes that end with kill -9, until nothing is left to do. Each
// gets exactly one commit further: it dies right after its first one or,
// before, when all that follows the first is done and not recorded yet. So
// every commit of the change, whatever it records (an order, staged, activating,
// activated, done), is once the last one before a kill.
func (w *world) killed(before bool) func() {
	at := 1
	if before {
		at = 2
	}
	return func() {
		w.t.Helper()
		for n := range mostKills {
			w.now(fmt.Sprintf("kill %d", n+1))
			w.carry()
			text, _ := w.child("", at, before)
			w.ask("after it")
			if w.t.Failed() {
				w.t.Fatalf("kill %d: %s", n+1, text)
			}
			if w.nothingLeft() {
				return
			}
		}
		w.t.Fatalf("after %d kills it is still not over", mostKills)
	}
}

func (w *world) nothingLeft() (done bool) {
	w.t.Helper()
	w.with("plan", func(ctx context.Context, a *App) {
		left, err := a.planned(ctx)
		must(w.t, err)
		done = len(left) == 0 && !a.rotations.open()
	})
	return done
}

package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// mostKills bounds how often a change is interrupted before it is over.
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
		left, err := a.Plan(ctx)
		must(w.t, err)
		done = len(left) == 0 && !a.rotations.open()
	})
	return done
}

// A CA is replaced, and renewer is killed at every stage of it: nobody is
// refused, and it ends as it would have without.
func TestACAIsReplacedWithAKillAtEveryStage(t *testing.T) {
	sample := []string{
		"another issuer, whose entry takes the place of the old one's",
		"other files in the place of the CA's",
		"two issuers swapped at once",
		"a trust bundle for clients without a certificate",
		"services that are each other's clients",
		"a rollback of the service after the change",
		"adopted, then another issuer",
	}
	for n, name := range sample {
		for _, s := range scenarios {
			if s.name != name {
				continue
			}
			for _, grouped := range []bool{false, true} {
				before := grouped != (n%2 == 0)
				t.Run(fmt.Sprintf("%s/peer_group=%t,before=%t", name, grouped, before), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, s.entries, grouped)
					w.settle = w.killed(before)
					s.play(w)
					if keys := w.ls("state", "keys"); len(keys) > 0 {
						t.Errorf("keys left behind: %s", strings.Join(keys, ", "))
					}
				})
			}
		}
	}
}

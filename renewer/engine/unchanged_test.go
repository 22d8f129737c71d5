package engine

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// A look that finds what was there before records when it was, and nothing else: no
// event, no generation, no change of what is known.
func TestALookThatFindsNothingNewRecordsItsTimeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b")
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", 90*24*time.Hour, "a", "b"), b.cert("api", 90*24*time.Hour, "a")}
		b.start(Alone)
		defer func() { b.stop() }()
		synctest.Wait()
		all := func() string {
			t.Helper()
			var out []any
			for _, c := range b.fleet.Certificates {
				rec, _, err := b.store.Record(c.Name)
				must(t, err)
				for h, p := range rec.Placements {
					p.VerifiedAt, p.ProbedAt = time.Time{}, time.Time{}
					rec.Placements[h] = p
				}
				row := b.row(c.Name)
				for n := range row.Hosts {
					row.Hosts[n].VerifiedAt = time.Time{}
				}
				gens, err := b.store.Generations(c.Name)
				must(t, err)
				out = append(out, rec, row, len(gens))
			}
			text, err := json.Marshal(append(out, b.events()))
			must(t, err)
			return string(text)
		}
		must(t, b.eng.Survey(context.Background(), nil)) // the first one after a placement may learn something
		before, seen := all(), b.row("web").Hosts[0].VerifiedAt
		for range 3 {
			time.Sleep(time.Hour)
			must(t, b.eng.Survey(context.Background(), nil))
		}
		if after := all(); after != before {
			t.Errorf("recorded:\n%s\nbefore:\n%s", after, before)
		}
		if now := b.row("web").Hosts[0].VerifiedAt; !now.After(seen) {
			t.Errorf("verified at %s, before %s", now, seen)
		}
	})
}

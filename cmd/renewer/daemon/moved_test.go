package daemon

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"

	"renewer/renewer"
)

// has checks that a directory has the whole pair of a certificate, and what
// renewer says of it.
func (h *house) has(name, dir string) {
	h.t.Helper()
	if bad := h.differs(name); bad != nil {
		h.t.Errorf("verify %s: %q", name, bad)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(h.dir, dir, "tls.crt"), filepath.Join(h.dir, dir, "tls.key"))
	must(h.t, err)
	if got := pair.Leaf.Subject.CommonName; got != name {
		h.t.Errorf("%s holds the certificate of %s, not of %s", dir, got, name)
	}
}

func entry(name, dir, more string) string {
	return strings.NewReplacer("NAME", name, "WHERE", dir, "MORE", more).Replace(
		"  - {name: NAME, profile: files, issuer: ca, hosts: [here], dir: DIR/WHERE, common_name: NAME, lifetime: 1h, probe: fileMORE}\n")
}

// A directory that is moved and moved back is placed each time, with a restart
// budget, which wants to know the way back, and without.
func TestADirectoryThatIsMovedBackIsPlaced(t *testing.T) {
	t.Parallel()
	const budget = ", activate: {command: [/bin/true], budget: 25s}"
	for name, more := range map[string]string{"without a budget": "", "with an activation": ", activate: {command: [/bin/true]}", "with a budget": budget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("web", "A", more))
			h.pass()
			for _, dir := range []string{"B", "A", "B", "A"} {
				h.write(entry("web", dir, more))
				h.pass()
				h.has("web", dir)
				h.valid("web", 1)
			}
			h.renew("web")
			h.has("web", "A")
			h.write(entry("web", "C", more))
			h.pass()
			h.valid("web", 2)
			must(t, h.rollback("web")) // its key is in directories of before alone
			h.has("web", "C")
			h.valid("web", 1)
		})
	}
	for name, more := range map[string]string{"files that are called otherwise for a while": "", "the same with a budget": budget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("web", "A", more))
			h.pass()
			h.write(entry("web", "A", more+", files: {ca: root.pem}"))
			h.pass()
			h.write(entry("web", "A", more))
			h.pass()
			h.has("web", "A")
		})
	}
	for name, more := range map[string]string{"to where another one was": "", "to where another one was with a budget": budget} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, entry("web", "A", more)+entry("api", "B", more))
			h.pass()
			for _, dirs := range [][2]string{{"B", "A"}, {"A", "B"}, {"C", "A"}, {"B", "C"}} {
				h.write(entry("web", dirs[0], more) + entry("api", dirs[1], more))
				h.pass()
				h.has("web", dirs[0])
				h.has("api", dirs[1])
			}
		})
	}
}

// An entry that says what it was called is that, although its directory is another one:
// nothing is issued, its key is the one that it had, and the old name is in no list.
func TestAMovedEntryIsWhatItWas(t *testing.T) {
	t.Parallel()
	const activated = ", activate: {command: [/bin/true]}"
	for name, x := range map[string]struct{ was, is, full, old string }{
		"one for one":   {entry("old", "A", activated), entry("web", "B", activated+", moved: {from: old}"), "web", "old"},
		"per host":      {entry("old", "A", ", per_host: true"), entry("web", "B", ", per_host: true, moved: {from: old}"), "web@here", "old@here"},
		"to per host":   {entry("old", "A", ""), entry("web", "B", ", per_host: true, moved: {from: old}"), "web@here", "old"},
		"of per host":   {entry("old", "A", ", per_host: true"), entry("web", "B", ", moved: {from: old@here}"), "web", "old@here"},
		"after it left": {entry("old", "A", ""), entry("web", "B", ", moved: {from: old}"), "web", "old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			same := strings.NewReplacer()
			if strings.Contains(x.was+x.is, "per_host") { // else the common name is that of the entry
				same = strings.NewReplacer("common_name: old", "common_name: web")
			}
			h := newHouse(t, same.Replace(x.was))
			h.pass()
			serial := h.row(x.old).Serial
			if name == "after it left" {
				h.write("")
				h.pass()
			}
			h.write(same.Replace(x.is))
			h.command(func(a *App) {
				steps, err := a.planned(context.Background())
				must(t, err)
				if len(steps) < 2 || steps[0].Action != "move" || steps[0].Changes[0].Before != x.old || actions(steps)["issue"]+actions(steps)["forget"] > 0 || actions(steps)["push"] != 1 {
					t.Errorf("plan: %+v", steps)
				}
			})
			for range 2 { // the second pass finds the move done
				h.pass()
				row := h.row(x.full)
				if row.Serial != serial || row.Generation != 1 || row.Status != renewer.StatusValid {
					t.Errorf("%+v, want serial %s", row, serial)
				}
				if left := h.row(x.old); left.Name != "" {
					t.Errorf("the old name is listed: %+v", left)
				}
			}
			h.command(func(a *App) {
				if steps, err := a.planned(context.Background()); err != nil || len(steps) > 0 {
					t.Errorf("after it was taken over: %+v, %v", steps, err)
				}
			})
			h.renew(x.full)
			if row := h.row(x.full); row.CommonName != "web" || row.Generation != 2 {
				t.Errorf("renewed: %+v", row)
			}
			must(t, h.rollback(x.full)) // its key lies under the old name, in the old directory
			if row := h.row(x.full); row.Generation != 1 || row.Serial != serial {
				t.Errorf("rolled back to %+v", row)
			}
		})
	}
}

func actions(steps []renewer.PlanStep) map[string]int {
	n := map[string]int{}
	for _, s := range steps {
		n[s.Action]++
	}
	return n
}

// row is the row of a certificate in the list; empty if there is none.
func (h *house) row(name string) (row renewer.Row) {
	h.t.Helper()
	h.command(func(a *App) {
		must(h.t, a.List(context.Background(), renewer.ListFilter{}, func(r renewer.Row) error {
			if r.Name == name {
				row = r
			}
			return nil
		}))
	})
	return row
}

package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"renewer/internal/testpki"
	"renewer/inventory"
	"renewer/renewer"
)

// A restored placement whose ca file holds a root from before renewer is as it should
// be: while another renewer keeps its directory nothing is planned for it, and when it
// was taken over, its service is not activated.
func TestARestoredPlacementWithARootFromBeforeIsNotActivated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a")
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", 90*24*time.Hour, "a")}
		b.start(Alone)
		time.Sleep(time.Hour)
		synctest.Wait()

		other := testpki.New(t).Root
		m := b.machine("a")
		m.mu.Lock()
		live := m.places["web"].revisions[m.places["web"].live]
		live[renewer.FileCA] = slices.Concat(live[renewer.FileCA], testpki.PEM(other))
		m.mu.Unlock()
		rec, _, err := b.store.Record("web")
		must(t, err)
		st := rec.Placements["a"]
		st.Foreign = renewer.NewRootSet(renewer.RootID(other.Raw))
		st.Roots = st.Roots.With(st.Foreign)
		st.Loaded = &renewer.Loaded{Generation: st.Generation, Roots: st.Roots}
		rec.Placements["a"] = st
		rec.Restored()
		row := b.row("web").Restored(rec)
		b.stop()
		store, err := inventory.Open(filepath.Join(b.dir, "inventory.db"), inventory.Options{NoSync: true})
		must(t, err)
		_, err = store.Commit(context.Background(), Change{Record: &rec, Row: &row})
		must(t, errors.Join(err, store.Close()))

		m.mu.Lock()
		m.fail = func(string, string) error { return &renewer.KeptError{Host: "a", Dir: "/d"} }
		before := activations(m)
		m.mu.Unlock()
		b.start(Alone)
		defer func() { b.stop() }()
		rest := func() {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			rec, _, err := b.store.Record("web")
			must(t, err)
			m.mu.Lock()
			defer m.mu.Unlock()
			if n := activations(m) - before; n != 0 || rec.Rollouts != 1 {
				t.Errorf("activated %d times, %d rollouts: %+v", n, rec.Rollouts, rec.Placements["a"])
			}
		}
		rest()
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Again))
		rest()
		if st := b.state("web", "a"); st != renewer.HostVerified {
			t.Errorf("the host is %s", st)
		}
	})
}

// activations counts them; mu is held.
func activations(m *machine) (n int) {
	for _, times := range m.activated {
		n += times
	}
	return n
}

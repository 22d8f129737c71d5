//go:build !race

package inventory

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// bbolt follows the offsets of a page without a look at where they lead: what a
// flipped one makes it read beside a small bucket's copy is noticed by its checksum,
// but the race detector takes it for a race. So this runs without it: make test-norace.

// Wherever a bit of the file is flipped, keys and pages included: either all is
// read as before, or a read or the full check notices.
func TestFlippedBitAnywhereIsNoticed(t *testing.T) {
	t.Parallel()
	path := variedFile(t)
	first := openAt(t, path)
	was := incarnation(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole, dir := aside(t, content), filepath.Dir(path)
	want, noticed := everything(whole)
	if noticed {
		t.Fatal("the whole file has errors")
	}
	r := rand.New(rand.NewPCG(3, 4))
	changed := 0
	for range 400 {
		bit := r.IntN(8 * len(content))
		i, ok := flipped(t, dir, content, bit)
		if !ok {
			continue
		}
		got, noticed := everything(i)
		// Without its identity it is another incarnation: nothing of it is believed before
		// it was looked at.
		noticed = noticed || incarnation(t, i) != was
		if !noticed && got != want {
			changed++
			if found := i.CheckFull(t.Context()); len(found) == 0 {
				t.Errorf("bit %d of byte %d changed what is read, in silence", bit%8, bit/8)
			}
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d flips are seen by the full check alone", changed)
}

func incarnation(t *testing.T, i *Inventory) string {
	t.Helper()
	id, err := i.Identity()
	if err != nil {
		return err.Error()
	}
	return id.Incarnation
}

package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// variedFile makes an inventory that has something in every bucket, closes it,
// and returns its path.
func variedFile(t *testing.T) string {
	t.Helper()
	i := open(t)
	root := testpki.New(t).Root.Raw
	for n := range 9 {
		name := fmt.Sprintf("web%d@host-%d", n%7, n)
		c := issued(name, 1, day(20+n))
		c.Generation.Chain = append(c.Generation.Chain, []byte(fmt.Sprint("an intermediate ", n%2)))
		c.Record.Placements = map[string]renewer.PlacementState{
			"host-a": {State: renewer.HostVerified, Generation: 1, Matches: true, VerifiedAt: day(n), ProbedAt: day(n)},
			"host-b": {State: renewer.HostDrifted, Generation: 1, VerifiedAt: day(n), ProbedAt: day(n + 1), Error: "something else is there"},
		}
		c.Row.Hosts[0].VerifiedAt = day(n)
		c.Closed = &renewer.Rollout{ID: renewer.RolloutID(name, 1), Certificate: name, Phase: renewer.PhaseDone, EndedAt: day(n)}
		c.Roots = [][]byte{root}
		commit(t, i, c)
	}
	for n := range 4 {
		o := ordered(fmt.Sprintf("web%d@host-%d", n, n), 2)
		o.Record.Rollouts, o.Generation.Serial = 2, fmt.Sprintf("%016x", n)
		commit(t, i, o)
	}
	commit(t, i, renewer.Change{Remove: "web6@host-6"})
	commit(t, i, renewer.Change{Rotation: &renewer.RotationRecord{Issuer: "fleet-ca", Record: []byte("a rotation")}})
	err := errors.Join(i.SaveChannel("ops", []byte("state of ops")), i.SetDataKey([]byte("a data key, sealed")))
	if sound(t, i); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	return i.Path()
}

// everything is what all reads of an inventory return, and whether one of them
// noticed that something is wrong.
func everything(i *Inventory) (text string, noticed bool) {
	var out bytes.Buffer
	add := func(v any, err error) {
		noticed = noticed || err != nil
		b, _ := json.Marshal(v)
		out.Write(append(b, '\n'))
	}
	names, err := i.Names()
	add(names, err)
	for _, name := range append(names, "web6@host-6") {
		rec, ok, err := i.Record(name)
		add([]any{rec, ok}, err)
		gens, err := i.Generations(name)
		add(gens, err)
		rollouts, err := i.Rollouts(name, 0)
		add(rollouts, err)
		events, err := i.Events(renewer.EventFilter{Certificate: name})
		add(events, err)
		sealed, ok, err := i.Key(name, 2)
		add([]any{sealed, ok}, err)
		for _, g := range gens {
			found, ok, err := i.ByFingerprint(g.Fingerprint)
			add([]any{found, ok}, err)
			found, ok, err = i.BySerial(g.Serial)
			add([]any{found, ok}, err)
		}
	}
	events, err := i.Events(renewer.EventFilter{Since: day(1)})
	add(events, err)
	events, err = i.EventsAfter(3, 999)
	add(events, err)
	open, err := i.Open()
	add(open, err)
	due, err := i.Due(day(999), 0)
	add(due, err)
	roots, err := i.Roots()
	add(roots, err)
	channels, err := i.Channels()
	add(channels, err)
	state, err := i.LoadChannel("ops")
	add(state, err)
	key, err := i.DataKey()
	add(key, err)
	rotations, err := i.Rotations()
	add(rotations, err)
	err = i.Rows(time.Time{}, func(r renewer.Row) bool { add(r, nil); return true })
	add(nil, err)
	return out.String(), noticed
}

// everyBit returns where a bit of an entry is in the file: bbolt lays a value
// behind its key, and pages that are free have copies.
func everyBit(content, entry []byte, bit int) (bits []int) {
	for from := 0; ; from++ {
		at := bytes.Index(content[from:], entry)
		if at < 0 {
			return bits
		}
		from += at
		bits = append(bits, 8*from+bit)
	}
}

// aside opens a copy of the file as it is; the file itself is changed meanwhile.
func aside(t *testing.T, content []byte) *Inventory {
	t.Helper()
	path := filepath.Join(t.TempDir(), "inventory.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

// flipped opens the file with bits changed. ok is false if that was noticed while
// opening.
func flipped(t *testing.T, dir string, content []byte, bits ...int) (i *Inventory, ok bool) {
	t.Helper()
	if len(bits) == 0 {
		t.Fatal("there is nothing to flip")
	}
	path := filepath.Join(dir, "inventory.db")
	content = bytes.Clone(content)
	for _, bit := range bits {
		content[bit/8] ^= 1 << (bit % 8)
	}
	err := os.WriteFile(path, content, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	i, err = Open(path, Options{NoSync: true})
	if err != nil {
		return nil, false
	}
	return i, true
}

// A flipped bit in a value is an error whenever the value is read, and the full
// check names its bucket.
func TestFlippedBitInAValueIsNoticed(t *testing.T) {
	t.Parallel()
	path := variedFile(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole, dir := aside(t, content), filepath.Dir(path)
	r := rand.New(rand.NewPCG(1, 2))
	for _, b := range buckets {
		values := 0
		err := whole.db.View(func(tx *bolt.Tx) error {
			return b.of(tx).ForEach(func(k, v []byte) error {
				if len(v) == 0 || b == bMeta || r.IntN(4) > 0 && values > 3 {
					return nil
				}
				values++
				bit := 8*len(k) + r.IntN(8*len(v))
				i, ok := flipped(t, dir, content, everyBit(content, append(bytes.Clone(k), v...), bit)...)
				if !ok {
					t.Errorf("%s %q: the file is not opened", b.name, k)
					return nil
				}
				if _, noticed := everything(i); !noticed {
					t.Errorf("%s %q, bit %d: no read noticed it", b.name, k, bit)
				}
				var entry *EntryError
				if found := i.CheckFull(t.Context()); len(found) == 0 || !errors.As(errors.Join(found...), &entry) || renewer.Hint(found[0]) == "" {
					t.Errorf("%s %q, bit %d: the full check found %v", b.name, k, bit, found)
				} else if entry.Bucket != b.name && b != bChains && b != bLooks {
					t.Errorf("%s %q, bit %d: the full check blames %v", b.name, k, bit, entry)
				}
				return i.Close()
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		if values == 0 && b != bMeta && !b.index {
			t.Errorf("%s has no values", b.name)
		}
	}
}

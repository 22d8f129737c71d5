package inventory

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// ordered is the change that records an order: the rollout delivers the
// generation from now on.
func ordered(name string, generation int) renewer.Change {
	c := issued(name, generation, day(90))
	c.Record.Current = generation - 1
	c.Record.Rollout = &renewer.Rollout{ID: renewer.RolloutID(name, generation), Certificate: name, Generation: generation, Phase: renewer.PhaseRolling}
	c.Record.Placements = map[string]renewer.PlacementState{"host-a": {Generation: generation - 1}, "host-b": {Generation: generation - 1}}
	c.Key = &renewer.SealedKey{Certificate: name, Generation: generation, Sealed: renewer.Sealed("sealed key of " + c.Record.Rollout.ID)}
	return c
}

// keysLeft returns what lies in the bucket of keys.
func keysLeft(t testing.TB, i *Inventory) (keys []string) {
	t.Helper()
	err := i.db.View(func(tx *bolt.Tx) error {
		return bKeys.each(tx, func(_, v []byte) error {
			keys = append(keys, string(v))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestKeyIsStoredWithItsGeneration(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, ordered("web", 2), ordered("web2", 1))
	for name, want := range map[string]string{"web": "sealed key of web#2", "web2": "", "we": ""} {
		sealed, ok, err := i.Key(name, 2)
		if err != nil || ok != (want != "") || string(sealed) != want {
			t.Errorf("%s: %q %v %v", name, sealed, ok, err)
		}
	}
}

// A key goes with the first record that does not need it, in that record's own
// transaction.
func TestKeyStaysAsLongAsItIsNeeded(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, ordered("web", 2), ordered("other", 1))
	at := func(current int, phase renewer.Phase, a, b int) renewer.Change {
		c := ordered("web", 2)
		c.Generation, c.Key, c.Row, c.Events = nil, nil, nil, nil
		c.Record.Current, c.Record.Rollout.Phase = current, phase
		c.Record.Placements = map[string]renewer.PlacementState{"host-a": {Generation: a}, "host-b": {Generation: b}}
		return c
	}
	for _, step := range []struct {
		what   string
		change renewer.Change
		left   int
	}{
		{"one host has it", at(1, renewer.PhaseRolling, 2, 1), 2},
		{"it is current, and a host does not have it", at(2, renewer.PhaseDone, 2, 1), 2},
		{"all hosts have it", at(2, renewer.PhaseDone, 2, 2), 1},
	} {
		if commit(t, i, step.change); len(keysLeft(t, i)) != step.left {
			t.Errorf("%s: %q", step.what, keysLeft(t, i))
		}
	}
	late := ordered("web", 2).Key
	commit(t, i, renewer.Change{Key: late})
	if left := keysLeft(t, i); len(left) != 1 {
		t.Errorf("a key that nothing needs was stored: %q", left)
	}
	commit(t, i, renewer.Change{Remove: "other"})
	if left := keysLeft(t, i); len(left) != 0 {
		t.Errorf("a key is left of what was removed: %q", left)
	}
}

// A blocked rollout ends its key, and so does a later one.
func TestKeyOfAnEndedRolloutGoes(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, ordered("web", 2))
	blocked := ordered("web", 2)
	blocked.Key, blocked.Record.Rollout.Phase = nil, renewer.PhaseBlocked
	commit(t, i, blocked)
	if left := keysLeft(t, i); len(left) != 0 {
		t.Errorf("of a blocked rollout: %q", left)
	}
	commit(t, i, ordered("web", 3))
	commit(t, i, ordered("web", 4))
	if left := keysLeft(t, i); len(left) != 1 || left[0] != "sealed key of web#4" {
		t.Errorf("of an earlier rollout: %q", left)
	}
}

func TestCommitRefusesBadKeys(t *testing.T) {
	t.Parallel()
	i := open(t)
	for _, k := range []renewer.SealedKey{
		{Certificate: "web", Generation: 0, Sealed: []byte("x")},
		{Certificate: "web", Generation: 1},
		{Generation: 1, Sealed: []byte("x")},
		{Certificate: "web", Generation: 1, Sealed: make([]byte, maxKey+1)},
	} {
		if _, err := i.Commit(t.Context(), renewer.Change{Key: &k}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

// A backup has no key, sealed or not, nor what seals them; nor has what was
// restored from it.
func TestBackupHasNoKeys(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, issued("web", 1, day(9)))
	for range 3 { // leaves free pages with the same in them
		commit(t, i, ordered("web", 2))
		if err := i.SetDataKey([]byte("the wrapped data key")); err != nil {
			t.Fatal(err)
		}
	}
	var copied bytes.Buffer
	if err := i.Backup(&copied); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"sealed key", "wrapped data key"} {
		if bytes.Contains(copied.Bytes(), []byte(secret)) {
			t.Errorf("the backup holds %q", secret)
		}
	}
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "backup"), filepath.Join(dir, "inventory.db")
	if err := errors.Join(os.WriteFile(src, copied.Bytes(), 0o600), Restore(src, dst)); err != nil {
		t.Fatal(err)
	}
	r := openAt(t, dst)
	sound(t, r)
	if wrapped, err := r.DataKey(); wrapped != nil || err != nil {
		t.Errorf("%q %v", wrapped, err)
	}
	if _, ok, err := r.Key("web", 2); ok || err != nil {
		t.Error(ok, err)
	}
	if rec, ok, err := r.Record("web"); !ok || err != nil || rec.Rollout != nil { // time has gone on since: see Record.Restored
		t.Errorf("%+v %v %v", rec, ok, err)
	}
}

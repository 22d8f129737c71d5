package inventory

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// spoil writes one entry behind the inventory's back; a nil value with a key
// that is there deletes it.
func spoil(t *testing.T, i *Inventory, b bucket, k, v []byte) {
	t.Helper()
	err := i.db.Update(func(tx *bolt.Tx) error {
		if v == nil && b.of(tx).Get(k) != nil {
			return b.of(tx).Delete(k)
		}
		return b.of(tx).Put(k, v)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// version0 turns an inventory into a file of schema 0, which had no indexes.
func version0(t *testing.T, i *Inventory) string {
	t.Helper()
	err := i.db.Update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if b.index {
				if err := tx.DeleteBucket([]byte(b.name)); err != nil {
					return err
				}
			}
			if err := bMeta.of(tx).Delete(b.versionKey()); err != nil {
				return err
			}
		}
		return bMeta.of(tx).Put(keySchema, []byte("0"))
	})
	if err := errors.Join(err, i.Close()); err != nil {
		t.Fatal(err)
	}
	return i.Path()
}

func TestMigrateFromSchema0(t *testing.T) {
	t.Parallel()
	i := open(t)
	rolling := issued("b", 2, day(10))
	rolling.Record.Rollout = &renewer.Rollout{ID: "b#2", Certificate: "b", Phase: renewer.PhaseRolling}
	rolling.Record.Placements = map[string]renewer.PlacementState{"host-a": {State: renewer.HostVerified, Generation: 2}}
	commit(t, i, issued("a", 1, day(20)), rolling, issued("gone", 4, day(5)))
	commit(t, i, renewer.Change{Remove: "gone"})
	path := version0(t, i)

	var schemaErr *SchemaError
	if _, err := Open(path, Options{ReadOnly: true}); !errors.As(err, &schemaErr) || schemaErr.File != 0 || renewer.Hint(err) == "" {
		t.Errorf("read-only: %v", err)
	}
	i = openAt(t, path)
	sound(t, i)
	equal(t, "rows", rowNames(t, i, time.Time{}), []string{"b", "a"})
	open, _ := i.Open()
	equal(t, "open", open, []string{"b"})
	due, _ := i.Due(day(999), 0)
	equal(t, "due", due, []string{"b", "a"})
	events, err := i.Events(renewer.EventFilter{Certificate: "b"})
	if err != nil || len(events) != 1 {
		t.Error(events, err)
	}
	if g, ok, err := i.BySerial(rolling.Generation.Serial); !ok || err != nil || g.Certificate != "b" {
		t.Error(g, ok, err)
	}
	var row renewer.Row
	_ = i.Rows(day(15), func(r renewer.Row) bool { row = r; return true })
	if row.Serial != rolling.Generation.Serial || row.Status != renewer.StatusRenewing || row.Hosts[0].Name != "host-a" {
		t.Errorf("%+v", row)
	}
	if _, err := i.Commit(t.Context(), issued("gone", 3, day(5))); !errors.Is(err, ErrConflict) {
		t.Errorf("the numbers of a removed name began again: %v", err)
	}
}

// A migration that fails leaves the file as it was.
func TestFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, issued("a", 1, day(20)), issued("b", 1, day(20)))
	spoil(t, i, bRecords, []byte("b"), []byte("{"))
	path := version0(t, i)
	before, _ := os.ReadFile(path)
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "from schema 0 to 1") {
		t.Error(err)
	}
	after, _ := os.ReadFile(path)
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	i := open(t)
	spoil(t, i, bMeta, keySchema, []byte("7"))
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(i.Path(), Options{})
	var schemaErr *SchemaError
	if !errors.As(err, &schemaErr) || schemaErr.File != 7 || schemaErr.Known != schema {
		t.Fatal(err)
	}
	for _, want := range []string{"schema 7", "up to 3", i.Path()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if !strings.Contains(renewer.Hint(err), "restore") {
		t.Error(renewer.Hint(err))
	}
	if err := Restore(i.Path(), filepath.Join(t.TempDir(), "x")); !errors.As(err, &schemaErr) || schemaErr.Path != i.Path() {
		t.Error(err)
	}
}

func TestBucketVersions(t *testing.T) {
	t.Parallel()
	for _, v := range [][]byte{[]byte("0"), nil} {
		i := open(t)
		spoil(t, i, bMeta, bDue.versionKey(), v)
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(i.Path(), Options{}); !errors.As(err, new(*DamagedError)) || !strings.Contains(err.Error(), "due") {
			t.Error(err)
		}
	}
}

// Each kind of damage to an entry is found, and Reindex mends those of indexes.
func TestCheckFullFinds(t *testing.T) {
	t.Parallel()
	g := gen("a", 1, day(90))
	broken := renewer.Record{Name: "a", Current: 9, Latest: 9, Rollouts: 1}
	for what, tc := range map[string]struct {
		b     bucket
		k, v  []byte
		mends bool
	}{
		"due entry lost":            {bDue, atKey(timeKey(g.RenewAt), "a"), nil, true},
		"due entry left over":       {bDue, atKey(timeKey(day(1)), "a"), nil, true},
		"row lost":                  {bExpiry, atKey(timeKey(day(90)), "a"), nil, true},
		"row left over":             {bExpiry, atKey(timeKey(day(91)), "a"), encodeRow(*rowOf(gen("a", 1, day(91)))), true},
		"row unreadable":            {bExpiry, atKey(timeKey(day(90)), "a"), []byte{9}, true},
		"row of another time":       {bExpiry, atKey(timeKey(day(90)), "a"), encodeRow(*rowOf(gen("a", 1, day(91)))), true},
		"place lost":                {bPlaces, []byte("a"), nil, true},
		"place unreadable":          {bPlaces, []byte("a"), []byte("?"), true},
		"place left over":           {bPlaces, []byte("ghost"), place{end: noTime, due: noTime}.encode(), true},
		"open left over":            {bOpen, []byte("a"), nil, true},
		"fingerprint lost":          {bByFingerprint, append(nameKey(g.Fingerprint), numberKey("a", 1)...), nil, true},
		"fingerprint left over":     {bByFingerprint, append(nameKey("ffff"), numberKey("a", 1)...), nil, true},
		"serial leads nowhere":      {bBySerial, append(nameKey(g.Serial), numberKey("a", 7)...), nil, true},
		"event's name lost":         {bEventsByName, numberKey("a", 1), nil, true},
		"event's name left over":    {bEventsByName, numberKey("b", 1), nil, true},
		"event's name leads away":   {bEventsByName, numberKey("a", 99), nil, true},
		"record unreadable":         {bRecords, []byte("a"), []byte("{"), false},
		"record of another":         {bRecords, []byte("b"), []byte(`{"name":"a"}`), false},
		"current is not there":      {bRecords, []byte("a"), mustJSON(broken), false},
		"generation lost":           {bGenerations, numberKey("a", 1), nil, false},
		"generation unreadable":     {bGenerations, numberKey("a", 1), []byte("["), false},
		"generation's bytes differ": {bGenerations, numberKey("a", 1), bytes.Replace(mustJSON(g), []byte(`"chain_der":["Y`), []byte(`"chain_der":["Z`), 1), false},
		"event unreadable":          {bEvents, seqKey(1), []byte("short"), false},
		"event from the future":     {bEvents, seqKey(99), append(slices.Clone(timeKey(day(1))), "{}"...), false},
		"rollout under a wrong key": {bRollouts, numberKey("a", 3), append(slices.Clone(noTime), `{"id":"a#4","certificate":"a"}`...), false},
	} {
		i := open(t)
		c := issued("a", 1, day(90))
		c.Generation, c.Row = g, rowOf(g)
		commit(t, i, c)
		sound(t, i)
		spoil(t, i, tc.b, tc.k, tc.v)
		if found := i.CheckFull(t.Context()); len(found) == 0 {
			t.Errorf("%s: not found", what)
		}
		if !tc.mends {
			continue
		}
		if err := i.Reindex(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for _, err := range i.CheckFull(t.Context()) {
			t.Errorf("%s, after Reindex: %v", what, err)
		}
	}
}

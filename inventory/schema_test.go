package inventory

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
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

// summed is a value with its checksum.
func summed(b bucket, k, v []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clone(v), b.sum(k, v))
}

// rowFor is the value of a row that ends at a time.
func rowFor(k []byte, end time.Time) []byte {
	s := storedRow{Row: *rowOf(gen("a", 1, end)), Looks: []int{}}
	return summed(bExpiry, k, encode(&s, "a", make([]byte, slotNumberSize)))
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
	if err := Restore(i.Path(), filepath.Join(t.TempDir(), "x")); !errors.As(err, &schemaErr) || strings.Count(err.Error(), i.Path()) != 1 {
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

// Each kind of damage to an entry is found, and Reindex fixes those of indexes.
func TestCheckFullFinds(t *testing.T) {
	t.Parallel()
	g := gen("a", 1, day(90))
	g.Chain = append(g.Chain, []byte("intermediate"))
	intermediate := sha256.Sum256(g.Chain[1])
	broken := renewer.Record{Name: "a", Current: 9, Latest: 9, Rollouts: 1}
	other := *g
	other.Chain = [][]byte{[]byte("another certificate")}
	for what, tc := range map[string]struct {
		b     bucket
		k, v  []byte
		mends bool
	}{
		"due entry lost":            {bDue, atKey(timeKey(g.RenewAt), "a"), nil, true},
		"due entry left over":       {bDue, atKey(timeKey(day(1)), "a"), nil, true},
		"row lost":                  {bExpiry, atKey(timeKey(day(90)), "a"), nil, true},
		"row left over":             {bExpiry, atKey(timeKey(day(91)), "a"), rowFor(atKey(timeKey(day(91)), "a"), day(91)), true},
		"row unreadable":            {bExpiry, atKey(timeKey(day(90)), "a"), []byte{9}, true},
		"row of another time":       {bExpiry, atKey(timeKey(day(90)), "a"), rowFor(atKey(timeKey(day(90)), "a"), day(91)), true},
		"open left over":            {bOpen, []byte("a"), nil, true},
		"event's name lost":         {bEventsByName, numberKey("a", 1), nil, true},
		"event's name left over":    {bEventsByName, numberKey("b", 1), nil, true},
		"event's name leads away":   {bEventsByName, numberKey("a", 99), nil, true},
		"record unreadable":         {bRecords, []byte("a"), summed(bRecords, []byte("a"), []byte("{")), false},
		"record of another":         {bRecords, []byte("b"), summed(bRecords, []byte("b"), place{end: noTime, due: noTime}.write(encode(&broken, "b", make([]byte, placeSize)))), false},
		"record under another key":  {bRecords, []byte("b"), summed(bRecords, []byte("a"), place{end: noTime, due: noTime}.write(encode(&broken, "b", make([]byte, placeSize)))), false},
		"current is not there":      {bRecords, []byte("a"), summed(bRecords, []byte("a"), place{end: timeKey(day(90)), due: noTime, latest: 9, rollouts: 1}.write(encode(&broken, "a", make([]byte, placeSize)))), false},
		"generation lost":           {bGenerations, numberKey("a", 1), nil, false},
		"generation unreadable":     {bGenerations, numberKey("a", 1), summed(bGenerations, numberKey("a", 1), []byte("[")), false},
		"generation's bytes differ": {bGenerations, numberKey("a", 1), summed(bGenerations, numberKey("a", 1), encode(&other, "a", idsOf(other))), false},
		"generation's ids differ":   {bGenerations, numberKey("a", 1), summed(bGenerations, numberKey("a", 1), encode(g, "a", make([]byte, idsSize))), false},
		"intermediate lost":         {bChains, intermediate[:], nil, false},
		"event unreadable":          {bEvents, seqKey(1), summed(bEvents, seqKey(1), []byte("short")), false},
		"event from the future":     {bEvents, seqKey(99), summed(bEvents, seqKey(99), encodeEvent(renewer.Event{Type: "x"})), false},
		"event without checksum":    {bEvents, seqKey(1), encodeEvent(renewer.Event{Type: "x"}), false},
		"rollout under a wrong key": {bRollouts, numberKey("a", 3), summed(bRollouts, numberKey("a", 3), encodeRollout(renewer.Rollout{ID: "a#4", Certificate: "a"})), false},
		"key that nothing needs":    {bKeys, numberKey("a", 1), summed(bKeys, numberKey("a", 1), []byte("sealed")), false},
		"root that is another":      {bRoots, []byte("x"), summed(bRoots, []byte("x"), []byte("DER")), false},
		"looks unreadable":          {bLooks, lookKey(0), summed(bLooks, lookKey(0), []byte("x")), false},
	} {
		i := open(t)
		c := issued("a", 1, day(90))
		c.Generation, c.Row = g, rowOf(g)
		c.Record.Placements = map[string]renewer.PlacementState{"host-a": {VerifiedAt: day(1), ProbedAt: day(1), Generation: 1}}
		commit(t, i, c)
		sound(t, i)
		spoil(t, i, tc.b, tc.k, tc.v)
		if found := i.CheckFull(t.Context()); len(found) == 0 || OnlyIndexes(found) != tc.mends {
			t.Errorf("%s: found %v", what, found)
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

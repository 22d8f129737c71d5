package inventory

import (
	"errors"
	"testing"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

func rotated(issuer, record string, events ...renewer.Event) renewer.Change {
	return renewer.Change{Rotation: &renewer.RotationRecord{Issuer: issuer, Record: []byte(record)}, Events: events}
}

func TestTheLastRotationOfAnIssuerIsKept(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, rotated("a", "first", renewer.Event{Type: renewer.EventCARotationStarted, Issuer: "a"}))
	commit(t, i, rotated("b", "another"), rotated("a", "second"))
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	i = openAt(t, i.Path())
	all, err := i.Rotations()
	if err != nil || len(all) != 2 || string(all["a"]) != "second" || string(all["b"]) != "another" {
		t.Errorf("%q, %v", all, err)
	}
	if events, err := i.Events(renewer.EventFilter{}); err != nil || len(events) != 1 || events[0].Issuer != "a" {
		t.Errorf("%+v, %v", events, err)
	}
	sound(t, i)
	if _, err := i.Commit(t.Context(), rotated("", "x")); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// A file of this schema from before there were rotations gets their bucket when it is
// opened to write, and is read without.
func TestAFileFromBeforeRotationsIsTakenUp(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, issued("web", 1, day(20)))
	err := i.db.Update(func(tx *bolt.Tx) error {
		return errors.Join(tx.DeleteBucket([]byte(bRotations.name)), bMeta.of(tx).Delete(bRotations.versionKey()))
	})
	if err := errors.Join(err, i.Close()); err != nil {
		t.Fatal(err)
	}
	read, err := Open(i.Path(), Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := read.Rotations(); err != nil || len(all) > 0 {
		t.Errorf("%q, %v", all, err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	i = openAt(t, i.Path())
	commit(t, i, rotated("a", "first"))
	sound(t, i)
	if names, err := i.Names(); err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
}

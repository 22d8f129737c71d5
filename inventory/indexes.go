package inventory

import (
	"bytes"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// putIndexes brings every index entry of a record to where it belongs.
func (p *prepared) putIndexes(tx *bolt.Tx, old, next place, had bool) error {
	if had {
		if err := dropMoved(tx, p.name, old, next); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint32(p.row, next.slot)
	if err := bExpiry.put(tx, atKey(next.end, p.name), p.row); err != nil {
		return err
	}
	if !p.rec.NextAt.IsZero() {
		if err := bDue.mark(tx, atKey(next.due, p.name)); err != nil {
			return err
		}
	}
	if isOpen(p.rec) {
		return bOpen.mark(tx, []byte(p.name))
	}
	return bOpen.of(tx).Delete([]byte(p.name))
}

func isOpen(rec *renewer.Record) bool { return rec.Rollout != nil && !rec.Rollout.Phase.Over() }

// dropMoved removes the entries that are no longer where the next ones go.
func dropMoved(tx *bolt.Tx, name string, old, next place) error {
	endKey, dueKey := atKey(old.end, name), atKey(old.due, name)
	if !bytes.Equal(old.end, next.end) {
		if err := bExpiry.of(tx).Delete(endKey); err != nil {
			return err
		}
	}
	if !bytes.Equal(old.due, next.due) {
		return bDue.of(tx).Delete(dueKey)
	}
	return nil
}

// stub is what stays of the record of a certificate that left the fleet file: its
// numbers and, as long as it has anything in place, all that it is should it come back.
func stub(rec renewer.Record) renewer.Record {
	if len(rec.Departed) == 0 {
		return renewer.Record{Name: rec.Name, Entry: rec.Entry, Issuer: rec.Issuer, Latest: rec.Latest, Rollouts: rec.Rollouts}
	}
	rec.Placements, rec.Rollout, rec.Asked, rec.NextAt = nil, nil, nil, time.Time{}
	return rec
}

// remove takes a certificate out of every list; it is no error if there is none.
func remove(tx *bolt.Tx, name string) error {
	rec, ok, err := recordOf(tx, name)
	if err != nil || !ok {
		return err
	}
	p, _, err := placeOf(tx, name)
	if err != nil {
		return err
	}
	if err := dropMoved(tx, name, p, place{}); err != nil {
		return err
	}
	if err := dropKeys(tx, name, renewer.Record{}); err != nil {
		return err
	}
	for _, b := range []bucket{bRecords, bOpen} {
		if err := b.of(tx).Delete([]byte(name)); err != nil {
			return err
		}
	}
	left := stub(rec)
	return bRemoved.put(tx, []byte(name), encode(&left, name, nil))
}

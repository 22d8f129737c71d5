package inventory

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// place says where the index entries of a record are and what it counts, so
// that they are found again without decoding the record.
type place struct {
	end, due         []byte // timeKey of the row and of NextAt
	latest, rollouts int
}

const placeSize = 2*timeSize + 16

func (p place) encode() []byte {
	b := make([]byte, 0, placeSize)
	b = append(append(b, p.end...), p.due...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.latest))
	return binary.BigEndian.AppendUint64(b, uint64(p.rollouts))
}

func decodePlace(b []byte) (place, error) {
	if len(b) != placeSize {
		return place{}, errors.New("not a place")
	}
	return place{
		end: b[:timeSize], due: b[timeSize : 2*timeSize],
		latest: int(binary.BigEndian.Uint64(b[2*timeSize:])), rollouts: int(binary.BigEndian.Uint64(b[2*timeSize+8:])),
	}, nil
}

func placeOf(tx *bolt.Tx, name string) (p place, ok bool, err error) {
	b := bPlaces.of(tx).Get([]byte(name))
	if b == nil {
		return place{}, false, nil
	}
	if p, err = decodePlace(b); err != nil {
		return p, false, fmt.Errorf("decode the place of %s: %w", name, err)
	}
	return p, true, nil
}

// counters returns the highest numbers given to a name, removed or not.
func counters(tx *bolt.Tx, name string) (latest, rollouts int, err error) {
	p, ok, err := placeOf(tx, name)
	if ok || err != nil {
		return p.latest, p.rollouts, err
	}
	rec, _, err := decodeRecord(bRemoved.of(tx), name)
	return rec.Latest, rec.Rollouts, err
}

// putIndexes brings every index entry of a record to where it belongs. Without
// a row the one that is there stays, or the first is made from the record.
func (p *prepared) putIndexes(tx *bolt.Tx) error {
	old, had, err := placeOf(tx, p.name)
	if err != nil {
		return err
	}
	row := p.row
	next := place{end: p.rowEnd, due: timeKey(p.rec.NextAt), latest: p.rec.Latest, rollouts: p.rec.Rollouts}
	switch {
	case row != nil:
	case had:
		next.end = bytes.Clone(old.end) // a page's bytes do not outlive a write
	default:
		r, err := rowFromRecord(tx, *p.rec)
		if err != nil {
			return err
		}
		row, next.end = encodeRow(r), timeKey(r.NotAfter)
	}
	if had {
		if err := dropMoved(tx, p.name, old, next); err != nil {
			return err
		}
	}
	if row != nil {
		if err := bExpiry.of(tx).Put(atKey(next.end, p.name), row); err != nil {
			return err
		}
	}
	if !p.rec.NextAt.IsZero() {
		if err := bDue.of(tx).Put(atKey(next.due, p.name), nil); err != nil {
			return err
		}
	}
	if isOpen(p.rec) {
		err = bOpen.of(tx).Put([]byte(p.name), nil)
	} else {
		err = bOpen.of(tx).Delete([]byte(p.name))
	}
	if err != nil {
		return err
	}
	return bPlaces.of(tx).Put([]byte(p.name), next.encode())
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

// stub is what stays of the record of a certificate that left the fleet file.
func stub(rec renewer.Record) renewer.Record {
	return renewer.Record{Name: rec.Name, Entry: rec.Entry, Issuer: rec.Issuer, Latest: rec.Latest, Rollouts: rec.Rollouts, Departed: rec.Departed}
}

// remove takes a certificate out of every list; it is no error if there is none.
func remove(tx *bolt.Tx, name string) error {
	rec, ok, err := decodeRecord(bRecords.of(tx), name)
	if err != nil || !ok {
		return err
	}
	p, ok, err := placeOf(tx, name)
	if err != nil {
		return err
	}
	if ok {
		if err := dropMoved(tx, name, p, place{}); err != nil {
			return err
		}
	}
	if err := dropKeys(tx, name, renewer.Record{}); err != nil {
		return err
	}
	for _, b := range []bucket{bRecords, bPlaces, bOpen} {
		if err := b.of(tx).Delete([]byte(name)); err != nil {
			return err
		}
	}
	left, err := json.Marshal(stub(rec))
	if err != nil {
		return err
	}
	return bRemoved.of(tx).Put([]byte(name), left)
}

type indexEntry struct {
	bucket bucket
	hex    string
}

// generationIndexes returns the numbers by which a generation is found; a
// trust bundle has none.
func generationIndexes(g renewer.Generation) (out []indexEntry) {
	for _, e := range []indexEntry{{bBySerial, g.Serial}, {bByFingerprint, g.Fingerprint}} {
		if e.hex != "" {
			out = append(out, e)
		}
	}
	return out
}

// putGenerationIndexes makes the generation that is stored at key be found.
func putGenerationIndexes(tx *bolt.Tx, key []byte, g renewer.Generation) error {
	for _, e := range generationIndexes(g) {
		if err := e.bucket.of(tx).Put(append(nameKey(hexKey(e.hex)), key...), nil); err != nil {
			return err
		}
	}
	return nil
}

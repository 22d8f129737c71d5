package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// leftOver says of an entry of an index why it should not be there, if so.
var leftOver = map[bucket]func(tx *bolt.Tx, k, v []byte) error{
	bExpiry: func(tx *bolt.Tx, k, _ []byte) error {
		return placed(tx, k, func(p place) []byte { return p.end })
	},
	bDue: func(tx *bolt.Tx, k, _ []byte) error {
		return placed(tx, k, func(p place) []byte { return p.due })
	},
	bOpen: func(tx *bolt.Tx, k, _ []byte) error {
		rec, ok, err := recordOf(tx, string(k))
		if err == nil && (!ok || !isOpen(&rec)) {
			return errors.New("is left over: no rollout is in progress")
		}
		return err
	},
	bEventsByName: func(tx *bolt.Tx, k, _ []byte) error {
		name, seq, err := splitNumberKey(k)
		if err != nil {
			return err
		}
		v := bEvents.of(tx).Get(seqKey(seq))
		if v == nil {
			return errors.New("leads to no event")
		}
		e, err := openEvent(seqKey(seq), v)
		if err == nil && !slices.Contains(eventNames(e), name) {
			return fmt.Errorf("leads to an event of %q", e.Certificate)
		}
		return err
	},
}

// placed checks an entry of an index by time.
func placed(tx *bolt.Tx, k []byte, at func(place) []byte) error {
	if len(k) <= timeSize {
		return errors.New("is not a time and a name")
	}
	p, ok, err := placeOf(tx, string(k[timeSize:]))
	if err == nil && (!ok || !bytes.Equal(at(p), k[:timeSize])) {
		return errors.New("is left over: the record is not there, or elsewhere")
	}
	return err
}

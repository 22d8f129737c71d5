package inventory

import (
	"bytes"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Rows calls yield for the row of each certificate, soonest NotAfter first,
// until yield returns false or NotAfter is not before until; a zero until is
// no limit. Rows without NotAfter come last, and only without a limit. All are
// as of one moment, the last commit before the call. No transaction is open
// while yield runs, so that it may take its time and may use the inventory.
//
// Callers share what the lists in a row hold, and write to none of it.
func (i *Inventory) Rows(until time.Time, yield func(renewer.Row) bool) error {
	w := rowWalk{until: until}
	if known := i.rows.Load(); known != nil {
		w.known = *known
	}
	if err := i.view(w.read); err != nil {
		return err
	}
	if until.IsZero() {
		i.rows.Store(&w.found)
	}
	for _, r := range w.found {
		if !yield(r.row) {
			return nil
		}
	}
	return nil
}

// rowWalk is one walk over the expiry index. Of an entry that an earlier walk
// met with the very same bytes it takes the row, which is the expensive part; so
// what is kept between two walks may be of any age and is never believed.
type rowWalk struct {
	until        time.Time
	known, found []*indexed // in the order of the index
}

func (w *rowWalk) read(tx *bolt.Tx) error {
	w.found = make([]*indexed, 0, len(w.known)+len(w.known)/64)
	var last []byte
	if !w.until.IsZero() {
		last = timeKey(w.until)
	}
	c, l := bExpiry.of(tx).Cursor(), looks{tx: tx}
	for k, v := c.First(); k != nil && (last == nil || bytes.Compare(k[:timeSize], last) < 0); k, v = c.Next() {
		for len(w.known) > 0 && w.known[0].key < string(k) {
			w.known = w.known[1:]
		}
		v, err := bExpiry.open(k, v)
		if err != nil {
			return err
		}
		var in *indexed
		if len(w.known) > 0 && w.known[0].key == string(k) && w.known[0].value == string(v) {
			in = w.known[0]
		} else if in, err = decodeRow(k, v); err != nil {
			return err
		}
		if in, err = in.current(&l); err != nil {
			return err
		}
		w.found = append(w.found, in)
	}
	return nil
}

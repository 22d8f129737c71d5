package inventory

import (
	"bytes"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Recorded returns what Record and Generation do of the current generation, of
// many names in one transaction. It takes least where the names come in the
// order in which they sort.
func (i *Inventory) Recorded(names []string) (all []renewer.Recorded, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		all = make([]renewer.Recorded, len(names))
		records, generations, l := stride{bRecords, bRecords.of(tx).Cursor()}, stride{bGenerations, bGenerations.of(tx).Cursor()}, looks{tx: tx}
		for n, name := range names {
			if err := recorded(&all[n], name, records, generations, &l); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

func recorded(r *renewer.Recorded, name string, records, generations stride, l *looks) error {
	k := []byte(name)
	v, err := records.get(k)
	if err != nil {
		return err
	}
	if r.Found = v != nil; r.Found {
		_, r.Record, err = decodeRecord(l, k, v)
	} else {
		r.Record, r.Found, err = removedOf(l.tx, name)
	}
	if err != nil || !r.Found || r.Record.Current < 0 {
		return err
	}
	k = numberKey(name, uint64(r.Record.Current))
	if v, err = generations.get(k); v == nil || err != nil {
		return err
	}
	g, err := decodeGeneration(l.tx, k, v)
	r.Current = &g
	return err
}

// stride gets values of a bucket. The next key costs a step, any other a search.
type stride struct {
	bucket bucket
	cursor *bolt.Cursor
}

func (s stride) get(key []byte) ([]byte, error) {
	k, v := s.cursor.Next()
	if !bytes.Equal(k, key) {
		if k, v = s.cursor.Seek(key); !bytes.Equal(k, key) {
			return nil, nil
		}
	}
	return s.bucket.open(k, v)
}

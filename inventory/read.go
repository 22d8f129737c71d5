package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Record returns the record of a certificate. Of one that was removed only
// Name, Entry, Issuer, Latest and Rollouts are left, so that its numbers go on
// if it comes back. ok is false if there never was one.
func (i *Inventory) Record(name string) (rec renewer.Record, ok bool, err error) {
	err = i.view(func(tx *bolt.Tx) (err error) {
		if rec, ok, err = decodeRecord(bRecords.of(tx), name); ok || err != nil {
			return err
		}
		rec, ok, err = decodeRecord(bRemoved.of(tx), name)
		return err
	})
	return rec, ok, err
}

func decodeRecord(b *bolt.Bucket, name string) (rec renewer.Record, ok bool, err error) {
	v := b.Get([]byte(name))
	if v == nil {
		return rec, false, nil
	}
	if err := json.Unmarshal(v, &rec); err != nil {
		return rec, false, fmt.Errorf("decode the record of %s: %w", name, err)
	}
	return rec, true, nil
}

// Names returns the names of every record, sorted; removed ones have none.
func (i *Inventory) Names() ([]string, error) { return i.keys(bRecords) }

// Open returns the names of the records with a rollout under way, sorted.
func (i *Inventory) Open() ([]string, error) { return i.keys(bOpen) }

func (i *Inventory) keys(b bucket) (names []string, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		return b.of(tx).ForEach(func(k, _ []byte) error {
			names = append(names, string(k))
			return nil
		})
	})
	return names, err
}

// Due returns the names whose NextAt is not after now, earliest first, at
// most limit of them; 0 means all. A record without NextAt is never due.
func (i *Inventory) Due(now time.Time, limit int) (names []string, err error) {
	last := timeKey(now)
	err = i.view(func(tx *bolt.Tx) error {
		c := bDue.of(tx).Cursor()
		for k, _ := c.First(); k != nil && bytes.Compare(k[:timeSize], last) <= 0; k, _ = c.Next() {
			if limit > 0 && len(names) == limit {
				break
			}
			names = append(names, string(k[timeSize:]))
		}
		return nil
	})
	return names, err
}

// NextDue returns the earliest NextAt; ok is false if there is none.
func (i *Inventory) NextDue() (at time.Time, ok bool, err error) {
	err = i.view(func(tx *bolt.Tx) (err error) {
		k, _ := bDue.of(tx).Cursor().First()
		if ok = k != nil; ok {
			at, err = timeOf(k)
		}
		return err
	})
	return at, ok, err
}

// Generation returns one generation; ok is false if there is none.
func (i *Inventory) Generation(name string, number int) (g renewer.Generation, ok bool, err error) {
	err = i.view(func(tx *bolt.Tx) (err error) {
		g, ok, err = generation(tx, name, number)
		return err
	})
	return g, ok, err
}

func generation(tx *bolt.Tx, name string, number int) (g renewer.Generation, ok bool, err error) {
	if number < 0 {
		return g, false, nil
	}
	return generationAt(tx, numberKey(name, uint64(number)))
}

func generationAt(tx *bolt.Tx, key []byte) (g renewer.Generation, ok bool, err error) {
	v := bGenerations.of(tx).Get(key)
	if v == nil {
		return g, false, nil
	}
	if err := json.Unmarshal(v, &g); err != nil {
		return g, false, fmt.Errorf("decode generation %q: %w", key, err)
	}
	return g, true, nil
}

// Generations returns all generations of a name, newest first, also of one
// that was removed.
func (i *Inventory) Generations(name string) (all []renewer.Generation, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		return backwards(bGenerations.of(tx), name, func(_, v []byte) (bool, error) {
			var g renewer.Generation
			if err := json.Unmarshal(v, &g); err != nil {
				return false, fmt.Errorf("decode a generation of %s: %w", name, err)
			}
			all = append(all, g)
			return true, nil
		})
	})
	return all, err
}

// Rollouts returns the rollouts of a certificate that are over, newest first,
// at most limit of them; 0 means all.
func (i *Inventory) Rollouts(certificate string, limit int) (all []renewer.Rollout, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		return backwards(bRollouts.of(tx), certificate, func(_, v []byte) (bool, error) {
			r, err := decodeRollout(v)
			if err != nil {
				return false, fmt.Errorf("decode a rollout of %s: %w", certificate, err)
			}
			all = append(all, r)
			return len(all) != limit, nil
		})
	})
	return all, err
}

func decodeRollout(v []byte) (r renewer.Rollout, err error) {
	if len(v) < timeSize {
		return r, fmt.Errorf("only %d bytes", len(v))
	}
	err = json.Unmarshal(v[timeSize:], &r)
	return r, err
}

// backwards calls fn for everything of a name, highest number first, until it
// returns false.
func backwards(b *bolt.Bucket, name string, fn func(k, v []byte) (bool, error)) error {
	c, prefix := b.Cursor(), nameKey(name)
	k, v := c.Seek(numberKey(name, math.MaxUint64))
	if k == nil {
		k, v = c.Last()
	} else if !bytes.HasPrefix(k, prefix) {
		k, v = c.Prev()
	}
	for ; bytes.HasPrefix(k, prefix); k, v = c.Prev() {
		if more, err := fn(k, v); err != nil || !more {
			return err
		}
	}
	return nil
}

package inventory

import (
	"bytes"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Record returns the record of a certificate. Of one that was removed its numbers
// are left, so that they go on if it comes back, and, where something of it is still in
// place (Departed), what it was. ok is false if there never was one.
func (i *Inventory) Record(name string) (rec renewer.Record, ok bool, err error) {
	err = i.view(func(tx *bolt.Tx) (err error) {
		if rec, ok, err = recordOf(tx, name); ok || err != nil {
			return err
		}
		rec, ok, err = removedOf(tx, name)
		return err
	})
	return rec, ok, err
}

// Names returns the names of every record, sorted; removed ones have none.
func (i *Inventory) Names() ([]string, error) { return i.keys(bRecords) }

// Open returns the names of the records with a rollout under way, sorted.
func (i *Inventory) Open() ([]string, error) { return i.keys(bOpen) }

func (i *Inventory) keys(b bucket) (names []string, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		names = nil
		return b.of(tx).ForEach(func(k, _ []byte) error {
			name, err := b.text(k)
			names = append(names, name)
			return err
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
			name, err := bDue.text(k[timeSize:])
			if err != nil {
				return err
			}
			names = append(names, name)
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
	v, err := bGenerations.get(tx, key)
	if v == nil || err != nil {
		return g, false, err
	}
	g, err = decodeGeneration(tx, key, v)
	return g, err == nil, err
}

func decodeGeneration(tx *bolt.Tx, k, v []byte) (g renewer.Generation, err error) {
	name, _, err := splitNumberKey(k)
	if err == nil && len(v) < idsSize {
		err = errCodec
	}
	if err == nil {
		err = decode(v[idsSize:], &g, name)
	}
	if err != nil {
		return g, bGenerations.bad(k, "%v", err)
	}
	for i := 1; i < len(g.Chain); i++ {
		der, err := bChains.get(tx, g.Chain[i])
		if err != nil {
			return g, err
		}
		if der == nil {
			return g, bGenerations.bad(k, "the intermediate %x of its chain is missing", g.Chain[i])
		}
		g.Chain[i] = bytes.Clone(der)
	}
	return g, nil
}

// Generations returns all generations of a name, newest first, also of one
// that was removed.
func (i *Inventory) Generations(name string) (all []renewer.Generation, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		all = nil
		return backwards(tx, bGenerations, name, func(k, v []byte) (bool, error) {
			g, err := decodeGeneration(tx, k, v)
			all = append(all, g)
			return true, err
		})
	})
	return all, err
}

// EachGeneration calls f for every generation of every name, removed ones too.
func (i *Inventory) EachGeneration(f func(renewer.Generation) error) error {
	return i.view(func(tx *bolt.Tx) error {
		return bGenerations.each(tx, func(k, v []byte) error {
			g, err := decodeGeneration(tx, k, v)
			if err != nil {
				return err
			}
			return f(g)
		})
	})
}

// Rollouts returns the ended rollouts of a certificate, newest first,
// at most limit of them; 0 means all.
func (i *Inventory) Rollouts(certificate string, limit int) (all []renewer.Rollout, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		all = nil
		return backwards(tx, bRollouts, certificate, func(k, v []byte) (bool, error) {
			r, err := decodeRollout(k, v)
			all = append(all, r)
			return len(all) != limit, err
		})
	})
	return all, err
}

// A rollout is stored behind the time of its end, for Prune.
func encodeRollout(r renewer.Rollout) []byte {
	end := r.EndedAt
	r.EndedAt = time.Time{}
	return encode(&r, r.Certificate, timeKey(end))
}

func decodeRollout(k, v []byte) (r renewer.Rollout, err error) {
	name, _, err := splitNumberKey(k)
	if err == nil && len(v) < timeSize {
		err = errCodec
	}
	if err == nil {
		err = decode(v[timeSize:], &r, name)
	}
	if err == nil {
		r.EndedAt, err = timeOf(v)
	}
	if err != nil {
		return r, bRollouts.bad(k, "%v", err)
	}
	return r, nil
}

// backwards calls fn for everything of a name, highest number first, until it
// returns false.
func backwards(tx *bolt.Tx, b bucket, name string, fn func(k, v []byte) (bool, error)) error {
	c, prefix := b.of(tx).Cursor(), nameKey(name)
	k, v := c.Seek(numberKey(name, math.MaxUint64))
	if k == nil {
		k, v = c.Last()
	} else if !bytes.HasPrefix(k, prefix) {
		k, v = c.Prev()
	}
	for ; bytes.HasPrefix(k, prefix); k, v = c.Prev() {
		v, err := b.open(k, v)
		if err != nil {
			return err
		}
		if more, err := fn(k, v); err != nil || !more {
			return err
		}
	}
	return nil
}

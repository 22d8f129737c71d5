package inventory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// maxFindings bounds what CheckFull returns for a file that is broken all over.
const maxFindings = 100

// CheckFull looks at every page and every entry: that each page is reachable
// or free, that every checksum is right and what is stored can be read, that
// each index entry has what it leads to, and that nothing is missing from an
// index. Nothing found is nil; what concerns one entry is an *EntryError. Reindex
// fixes what is wrong with indexes; anything else needs a backup.
// Commits wait while the pages are checked, not during the rest, unless the
// file has to grow.
func (i *Inventory) CheckFull(ctx context.Context) []error {
	c := checker{ctx: ctx, entries: map[bucket]int{}, opened: map[bucket]*bolt.Bucket{}}
	pages := func(tx *bolt.Tx) error {
		if err := checkPages(i.path, i.file, true); err != nil { // bbolt's check is no match for these
			return err
		}
		for err := range tx.Check() { // to the end: bbolt sends from a goroutine
			c.found(fmt.Errorf("inventory %s: %w", i.path, err))
		}
		return ctx.Err()
	}
	var err error
	if i.db.IsReadOnly() {
		err = i.view(pages)
	} else {
		// bbolt's check shares the freelist with a writer: it has to be
		// the one write transaction.
		err = i.rolledBack(pages)
	}
	if err == nil && len(c.findings) == 0 { // what damaged pages hold says nothing
		err = i.view(c.all)
	}
	if err != nil {
		c.found(fmt.Errorf("check inventory %s: %w", i.path, err))
	}
	if i.torn {
		c.found(damaged(i.path, "was opened with a damaged meta page: its last transaction may be missing"))
	}
	return c.findings
}

// rolledBack runs fn in a write transaction and takes it back.
func (i *Inventory) rolledBack(fn func(*bolt.Tx) error) error {
	return medium(i.path, guard(i.path, func() error {
		tx, err := i.db.Begin(true)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		return fn(tx)
	}))
}

// Reindex rebuilds every index from the records, generations and events, in
// one transaction. A row that cannot be read is made from its record, until
// the certificate's next transition writes a full one.
func (i *Inventory) Reindex() error {
	if err := i.update(rebuild); err != nil {
		return fmt.Errorf("rebuild the indexes of inventory %s: %w; nothing was changed", i.path, err)
	}
	return nil
}

// OnlyIndexes reports whether all that was found is fixed by Reindex.
func OnlyIndexes(found []error) bool {
	return !slices.ContainsFunc(found, func(err error) bool {
		var entry *EntryError
		return !errors.As(err, &entry) || !entry.Index
	})
}

type checker struct {
	ctx      context.Context
	findings []error
	// entries counts what each index should hold. One that has so many, with
	// none missing, has none left over, and need not be looked at backwards.
	entries map[bucket]int
	opened  map[bucket]*bolt.Bucket // a read transaction looks them up again each time
}

func (c *checker) get(tx *bolt.Tx, b bucket, key []byte) []byte {
	at, ok := c.opened[b]
	if !ok {
		at = b.of(tx)
		c.opened[b] = at
	}
	return at.Get(key)
}

func (c *checker) found(err error) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, err)
	}
}

func (c *checker) wrong(b bucket, k []byte, format string, args ...any) {
	c.found(b.bad(k, format, args...))
}

// each calls fn for every entry of a bucket with its value, and takes what it
// returns for a finding. The entries of indexes without values have no checksum.
func (c *checker) each(tx *bolt.Tx, b bucket, fn func(k, v []byte) error) {
	n := 0
	err := b.of(tx).ForEach(func(k, v []byte) (err error) {
		if len(v) > 0 || !b.index {
			v, err = b.open(k, v)
		}
		if err == nil {
			err = fn(k, v)
		}
		var entry *EntryError
		switch {
		case errors.As(err, &entry):
			c.found(err)
		case err != nil:
			c.wrong(b, k, "%v", err)
		}
		if n++; n%1000 == 0 {
			return c.ctx.Err()
		}
		return nil
	})
	if err != nil && c.ctx.Err() == nil {
		c.found(err)
	}
}

// want is a finding if there is no entry.
func (c *checker) want(tx *bolt.Tx, b bucket, key []byte) {
	c.entries[b]++
	if c.get(tx, b, key) == nil {
		c.wrong(b, key, "the entry is missing")
	}
}

func (c *checker) all(tx *bolt.Tx) error {
	c.records(tx)
	c.generations(tx)
	c.log(tx)
	c.rest(tx)
	for _, b := range buckets {
		if back, ok := leftOver[b]; ok && c.count(tx, b) != c.entries[b] {
			c.each(tx, b, func(k, v []byte) error { return back(tx, k, v) })
		}
	}
	return c.ctx.Err()
}

func (c *checker) count(tx *bolt.Tx, b bucket) (n int) {
	_ = b.of(tx).ForEach(func(_, _ []byte) error { // it returns what the function does
		n++
		return nil
	})
	return n
}

func (c *checker) records(tx *bolt.Tx) {
	used := map[uint32]bool{}
	c.each(tx, bRecords, func(k, v []byte) error {
		p, rec, err := decodeRecord(&looks{tx: tx}, k, v)
		if err != nil {
			return err
		}
		if rec.Name != string(k) {
			return fmt.Errorf("holds the record of %s", rec.Name)
		}
		if !bytes.Equal(p.due, timeKey(rec.NextAt)) || p.latest != rec.Latest || p.rollouts != rec.Rollouts {
			return errors.New("does not match its key")
		}
		for slot := p.slot; slot < p.slot+p.slots; slot++ {
			if used[slot] || uint64(slot) >= bLooks.of(tx).Sequence() {
				return errors.New("shares the probe times with another record, or has none")
			}
			used[slot] = true
		}
		c.row(tx, rec.Name, p)
		if !rec.NextAt.IsZero() {
			c.want(tx, bDue, atKey(timeKey(rec.NextAt), rec.Name))
		}
		if isOpen(&rec) {
			c.want(tx, bOpen, k)
		}
		if rec.InPlace() {
			c.want(tx, bGenerations, numberKey(rec.Name, uint64(rec.Current)))
		}
		return nil
	})
	c.each(tx, bRemoved, func(k, v []byte) error {
		rec, err := decodeStub(k, v)
		if err != nil {
			return err
		}
		if rec.Name != string(k) || c.get(tx, bRecords, k) != nil {
			return fmt.Errorf("holds %s, or there is a record beside it", rec.Name)
		}
		return nil
	})
}

// row checks the row of a record.
func (c *checker) row(tx *bolt.Tx, name string, p place) {
	key := atKey(p.end, name)
	c.want(tx, bExpiry, key)
	v, err := bExpiry.open(key, c.get(tx, bExpiry, key))
	if v == nil {
		if err != nil {
			c.found(err)
		}
		return
	}
	in, err := decodeRow(key, v)
	if err != nil || !bytes.Equal(key, atKey(timeKey(in.row.NotAfter), in.row.Name)) || binary.BigEndian.Uint32(v) != p.slot {
		c.wrong(bExpiry, key, "holds another row (%v)", err)
	}
}

func (c *checker) generations(tx *bolt.Tx) {
	c.each(tx, bGenerations, func(k, v []byte) error {
		g, err := decodeGeneration(tx, k, v)
		if err != nil {
			return err
		}
		if name, n, err := splitNumberKey(k); err != nil || name != g.Certificate || n != uint64(g.Number) {
			return fmt.Errorf("holds generation %d of %s (%v)", g.Number, g.Certificate, err)
		}
		if len(g.Chain) > 0 && renewer.Fingerprint(g.Chain[0]) != g.Fingerprint {
			return fmt.Errorf("the certificate is not the one of fingerprint %s", g.Fingerprint)
		}
		if !bytes.Equal(v[:idsSize], idsOf(g)) {
			return errors.New("is stored under the wrong number")
		}
		return nil
	})
}

func (c *checker) log(tx *bolt.Tx) {
	c.each(tx, bRollouts, func(k, v []byte) error {
		r, err := decodeRollout(k, v)
		if err != nil {
			return err
		}
		if n, err := rolloutNumber(&r); err != nil || !bytes.Equal(k, numberKey(r.Certificate, n)) {
			return fmt.Errorf("holds rollout %s", r.ID)
		}
		return nil
	})
	next := uint64(0)
	c.each(tx, bEvents, func(k, v []byte) error {
		e, err := decodeEvent(k, v)
		if err != nil {
			return err
		}
		if next != 0 && e.Seq != next {
			c.wrong(bEvents, seqKey(next), "the event is missing")
		}
		next = e.Seq + 1
		for _, name := range eventNames(e) {
			c.want(tx, bEventsByName, numberKey(name, e.Seq))
		}
		return nil
	})
	if last := bEvents.of(tx).Sequence(); next != 0 && last+1 != next {
		c.wrong(bEvents, seqKey(next-1), "it is the last event, but the last assigned number is %d", last)
	}
}

// rest checks the buckets that lead nowhere.
func (c *checker) rest(tx *bolt.Tx) {
	for _, b := range []bucket{bRoots, bChains} {
		c.each(tx, b, func(k, v []byte) error {
			if sum := sha256.Sum256(v); !bytes.Equal(k, sum[:]) {
				return errors.New("holds another certificate")
			}
			return nil
		})
	}
	c.each(tx, bKeys, func(k, _ []byte) error {
		name, n, err := splitNumberKey(k)
		if err != nil {
			return err
		}
		if rec, _, err := recordOf(tx, name); err != nil || !rec.NeedsKey(int(n)) {
			return fmt.Errorf("is left over: its record does not need it (%v)", err)
		}
		return nil
	})
	for _, b := range []bucket{bSeal, bChannels, bRotations, bLooks} {
		c.each(tx, b, func(_, _ []byte) error { return nil })
	}
}

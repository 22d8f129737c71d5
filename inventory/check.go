package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// maxFindings bounds what CheckFull returns for a file that is broken all over.
const maxFindings = 100

// CheckFull looks at every page and every entry: that each page is reachable
// or free, that what is stored can be read, that each index entry has what it
// leads to, and that nothing is missing from an index. Commits wait meanwhile
// (about a second for 100,000 certificates); reads do not. Nothing found is
// nil. Reindex mends what is wrong with indexes; a damaged page needs a backup.
func (i *Inventory) CheckFull(ctx context.Context) []error {
	c := checker{ctx: ctx}
	check := func(tx *bolt.Tx) error {
		// bbolt's check shares the freelist with whoever writes, so a file
		// that may be written is checked in the one write transaction.
		for err := range tx.Check() {
			c.found(fmt.Errorf("inventory %s: %w", i.path, err))
		}
		if len(c.findings) > 0 {
			return nil // following damaged pages finds nothing of use
		}
		c.all(tx)
		return ctx.Err()
	}
	var err error
	if i.db.IsReadOnly() {
		err = i.view(check)
	} else {
		err = i.rolledBack(check)
	}
	if err != nil {
		c.found(fmt.Errorf("check inventory %s: %w", i.path, err))
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

// Reindex makes every index anew from the records, generations and events, in
// one transaction. A row that cannot be read is made from its record, until
// the certificate's next transition writes a full one.
func (i *Inventory) Reindex() error {
	if err := i.update(rebuild); err != nil {
		return fmt.Errorf("build the indexes of inventory %s, which stay as they were: %w", i.path, err)
	}
	return nil
}

type checker struct {
	ctx      context.Context
	findings []error
}

func (c *checker) found(err error) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, err)
	}
}

func (c *checker) wrong(b bucket, k []byte, format string, args ...any) {
	c.found(fmt.Errorf("%s %q: %s", b.name, k, fmt.Sprintf(format, args...)))
}

// each calls fn for every entry of a bucket, and takes what it returns for a
// finding.
func (c *checker) each(tx *bolt.Tx, b bucket, fn func(k, v []byte) error) {
	n := 0
	err := b.of(tx).ForEach(func(k, v []byte) error {
		if err := fn(k, v); err != nil {
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

// want is a finding if an index has no entry.
func (c *checker) want(tx *bolt.Tx, b bucket, key []byte) {
	if k, _ := b.of(tx).Cursor().Seek(key); !bytes.Equal(k, key) {
		c.wrong(b, key, "the entry is missing")
	}
}

func (c *checker) all(tx *bolt.Tx) {
	c.records(tx)
	c.generations(tx)
	c.log(tx)
	c.indexes(tx)
}

func (c *checker) records(tx *bolt.Tx) {
	c.each(tx, bRecords, func(k, v []byte) error {
		var rec renewer.Record
		if err := json.Unmarshal(v, &rec); err != nil {
			return err
		}
		if rec.Name != string(k) {
			return fmt.Errorf("holds the record of %s", rec.Name)
		}
		p, ok, err := placeOf(tx, rec.Name)
		if err != nil || !ok {
			c.wrong(bPlaces, k, "the entry is missing (%v)", err)
			return nil
		}
		if !bytes.Equal(p.due, timeKey(rec.NextAt)) || p.latest != rec.Latest || p.rollouts != rec.Rollouts {
			c.wrong(bPlaces, k, "is not that of the record")
		}
		c.want(tx, bExpiry, atKey(p.end, rec.Name))
		if !rec.NextAt.IsZero() {
			c.want(tx, bDue, atKey(timeKey(rec.NextAt), rec.Name))
		}
		if isOpen(&rec) {
			c.want(tx, bOpen, k)
		}
		if rec.Current > 0 {
			c.want(tx, bGenerations, numberKey(rec.Name, uint64(rec.Current)))
		}
		return nil
	})
	c.each(tx, bRemoved, func(k, v []byte) error {
		var rec renewer.Record
		if err := json.Unmarshal(v, &rec); err != nil {
			return err
		}
		if rec.Name != string(k) || bRecords.of(tx).Get(k) != nil {
			return fmt.Errorf("holds %s, or there is a record beside it", rec.Name)
		}
		return nil
	})
}

func (c *checker) generations(tx *bolt.Tx) {
	c.each(tx, bGenerations, func(k, v []byte) error {
		var g renewer.Generation
		if err := json.Unmarshal(v, &g); err != nil {
			return err
		}
		if name, n, err := splitNumberKey(k); err != nil || name != g.Certificate || n != uint64(g.Number) {
			return fmt.Errorf("holds generation %d of %s (%v)", g.Number, g.Certificate, err)
		}
		if len(g.Chain) > 0 && renewer.Fingerprint(g.Chain[0]) != g.Fingerprint {
			return fmt.Errorf("the certificate is not the one of fingerprint %s", g.Fingerprint)
		}
		for _, e := range generationIndexes(g) {
			c.want(tx, e.bucket, append(nameKey(hexKey(e.hex)), k...))
		}
		return nil
	})
}

func (c *checker) log(tx *bolt.Tx) {
	c.each(tx, bRollouts, func(k, v []byte) error {
		r, err := decodeRollout(v)
		if err != nil {
			return err
		}
		if n, err := rolloutNumber(&r); err != nil || !bytes.Equal(k, numberKey(r.Certificate, n)) {
			return fmt.Errorf("holds rollout %s", r.ID)
		}
		return nil
	})
	c.each(tx, bEvents, func(k, v []byte) error {
		e, err := decodeEvent(k, v)
		if err != nil {
			return err
		}
		if e.Seq > bEvents.of(tx).Sequence() {
			return fmt.Errorf("is later than the last number given, %d", bEvents.of(tx).Sequence())
		}
		for _, name := range eventNames(e) {
			c.want(tx, bEventsByName, numberKey(name, e.Seq))
		}
		return nil
	})
}

// indexes looks from each entry at what it leads to.
func (c *checker) indexes(tx *bolt.Tx) {
	c.each(tx, bPlaces, func(k, _ []byte) error { return there(tx, bRecords, k) })
	c.each(tx, bExpiry, func(k, v []byte) error {
		row, err := decodeRow(v)
		if err != nil {
			return err
		}
		if !bytes.Equal(k, atKey(timeKey(row.NotAfter), row.Name)) {
			return fmt.Errorf("holds the row of %s, which ends at %s", row.Name, row.NotAfter)
		}
		p, ok, err := placeOf(tx, row.Name)
		if err != nil || !ok || !bytes.Equal(p.end, k[:timeSize]) {
			return fmt.Errorf("a row that is left over (%v)", err)
		}
		return nil
	})
	c.each(tx, bDue, func(k, _ []byte) error {
		p, ok, err := placeOf(tx, string(k[timeSize:]))
		if err != nil || !ok || !bytes.Equal(p.due, k[:timeSize]) {
			return fmt.Errorf("an entry that is left over (%v)", err)
		}
		return nil
	})
	c.each(tx, bOpen, func(k, _ []byte) error {
		rec, ok, err := decodeRecord(bRecords.of(tx), string(k))
		if err != nil || !ok || !isOpen(&rec) {
			return fmt.Errorf("no rollout is under way (%v)", err)
		}
		return nil
	})
	for _, b := range []bucket{bBySerial, bByFingerprint} {
		c.each(tx, b, func(k, _ []byte) error {
			hex, key, _ := bytes.Cut(k, []byte{0})
			g, ok, err := generationAt(tx, key)
			if err != nil || !ok {
				return fmt.Errorf("leads to no generation (%v)", err)
			}
			for _, e := range generationIndexes(g) {
				if e.bucket == b && hexKey(e.hex) == string(hex) {
					return nil
				}
			}
			return fmt.Errorf("leads to generation %d of %s, which has another number", g.Number, g.Certificate)
		})
	}
	c.each(tx, bEventsByName, func(k, _ []byte) error {
		name, seq, err := splitNumberKey(k)
		if err != nil {
			return err
		}
		v := bEvents.of(tx).Get(seqKey(seq))
		if v == nil {
			return fmt.Errorf("leads to no event")
		}
		if e, err := decodeEvent(seqKey(seq), v); err != nil || !slices.Contains(eventNames(e), name) {
			return fmt.Errorf("leads to an event of %s (%v)", e.Certificate, err)
		}
		return nil
	})
}

func there(tx *bolt.Tx, b bucket, k []byte) error {
	if b.of(tx).Get(k) == nil {
		return fmt.Errorf("nothing in %s", b.name)
	}
	return nil
}

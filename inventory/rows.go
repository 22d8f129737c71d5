package inventory

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// rowsPage is how many rows are read in one transaction.
const rowsPage = 1000

// Rows calls yield for the row of each certificate, soonest NotAfter first,
// until yield returns false or NotAfter is not before until; a zero until is
// no limit. Rows without NotAfter come last, and only without a limit. It reads
// the expiry index alone, in pages, and no transaction is open while yield
// runs, so that yield may take its time and may use the inventory.
//
// A certificate that is renewed between two pages is given once, as it was in
// the first; one whose NotAfter moves to before the next page (a rollback) may
// be left out.
func (i *Inventory) Rows(until time.Time, yield func(renewer.Row) bool) error {
	p := rowPager{until: until, seed: maphash.MakeSeed()}
	for {
		if err := i.view(p.read); err != nil {
			return err
		}
		for _, row := range p.rows {
			if !yield(row) {
				return nil
			}
		}
		if p.end {
			return nil
		}
	}
}

type rowPager struct {
	until time.Time
	rows  []renewer.Row
	after []byte // key of the last row
	end   bool

	// given holds the hashes of the names so far. It is searched only once the
	// inventory has changed between two pages; lookup is made of it then.
	seed   maphash.Seed
	given  []uint64
	lookup map[uint64]bool
	tx     int // of the page before
}

func (p *rowPager) read(tx *bolt.Tx) error {
	p.rows = p.rows[:0]
	c := bExpiry.of(tx).Cursor()
	var k, v []byte
	if p.after == nil {
		k, v = c.First()
	} else {
		if k, v = c.Seek(p.after); bytes.Equal(k, p.after) {
			k, v = c.Next()
		}
	}
	changed := p.changed(tx)
	var last []byte
	if !p.until.IsZero() {
		last = timeKey(p.until)
	}
	for ; k != nil && (last == nil || bytes.Compare(k[:timeSize], last) < 0); k, v = c.Next() {
		if len(p.rows) == rowsPage {
			return nil
		}
		row, err := decodeRow(v)
		if err != nil {
			return fmt.Errorf("decode the row of %s: %w", k[timeSize:], err)
		}
		p.after = append(p.after[:0], k...)
		hash := maphash.String(p.seed, row.Name)
		if changed && p.lookup[hash] {
			continue
		}
		p.given = append(p.given, hash)
		p.rows = append(p.rows, row)
	}
	p.end = true
	return nil
}

// changed reports whether anything was committed since the page before, and if
// so brings lookup up to date.
func (p *rowPager) changed(tx *bolt.Tx) bool {
	before := p.tx
	if p.tx = tx.ID(); before == 0 || before == p.tx {
		return false
	}
	if p.lookup == nil {
		p.lookup = make(map[uint64]bool, len(p.given))
	}
	for n := len(p.lookup); n < len(p.given); n++ {
		p.lookup[p.given[n]] = true
	}
	return true
}

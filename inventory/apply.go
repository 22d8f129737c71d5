package inventory

import (
	"crypto/sha256"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// prepared is one change, checked and encoded before the transaction begins,
// so that callers do that side by side.
type prepared struct {
	name   string // of the record
	rec    *renewer.Record
	record []byte  // encoded, without the times of looks; in front there is room for its place
	looks  []int64 // these
	row    []byte  // in front there is room for its slot
	rowEnd []byte  // timeKey of the row

	gen        *renewer.Generation
	generation []byte
	chains     [][]byte // its intermediates

	key   *renewer.SealedKey
	roots [][]byte

	closedKey, closed []byte

	rotation *renewer.RotationRecord

	remove string

	events []renewer.Event
	event  [][]byte
}

// prepare checks what can be checked without looking at the inventory.
func prepare(c renewer.Change, now time.Time) (p prepared, err error) {
	p.remove = c.Remove
	if c.Remove != "" {
		if err := checkName(c.Remove); err != nil {
			return p, err
		}
	}
	for _, part := range []func(renewer.Change) error{p.takeRecord, p.takeGeneration, p.takeKey, p.takeRoots, p.takeClosed, p.takeRotation} {
		if err := part(c); err != nil {
			return p, err
		}
	}
	for _, e := range c.Events {
		if err := p.takeEvent(e, now); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p *prepared) takeRecord(c renewer.Change) error {
	switch {
	case c.Record == nil && c.Row == nil:
		return nil
	case c.Record == nil:
		return fmt.Errorf("%w: the row of %s without its record", ErrInvalid, c.Row.Name)
	case c.Row != nil && c.Row.Name != c.Record.Name:
		return fmt.Errorf("%w: the row of %s with the record of %s", ErrInvalid, c.Row.Name, c.Record.Name)
	}
	if err := checkName(c.Record.Name); err != nil {
		return err
	}
	for _, n := range []int{c.Record.Latest, c.Record.Rollouts, c.Record.Current} {
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("%w: %s counts current %d, latest %d, rollouts %d", ErrInvalid, c.Record.Name, c.Record.Current, c.Record.Latest, c.Record.Rollouts)
		}
	}
	p.name, p.rec = c.Record.Name, c.Record
	var rec renewer.Record
	rec, p.looks = apart(*c.Record)
	p.record = encode(&rec, p.name, make([]byte, placeSize))
	if c.Row != nil {
		p.takeRow(*c.Row)
	}
	return nil
}

func (p *prepared) takeRow(row renewer.Row) {
	s := rowApart(row, *p.rec, p.looks)
	p.row, p.rowEnd = encode(&s, p.name, make([]byte, slotNumberSize)), timeKey(row.NotAfter)
}

func (p *prepared) takeGeneration(c renewer.Change) error {
	if c.Generation == nil {
		return nil
	}
	g := *c.Generation
	if err := checkName(g.Certificate); err != nil {
		return err
	}
	if g.Number < 0 || g.Number > math.MaxInt32 {
		return fmt.Errorf("%w: generation %d of %s", ErrInvalid, g.Number, g.Certificate)
	}
	p.gen = c.Generation
	if len(g.Chain) > 1 { // most generations share their intermediates
		p.chains = g.Chain[1:]
		g.Chain = append([][]byte{}, g.Chain...)
		for i, der := range p.chains {
			sum := sha256.Sum256(der)
			g.Chain[i+1] = sum[:]
		}
	}
	p.generation = encode(&g, g.Certificate, idsOf(g))
	return nil
}

func (p *prepared) takeKey(c renewer.Change) error {
	if c.Key == nil {
		return nil
	}
	if k := c.Key; k.Generation <= 0 || k.Generation > math.MaxInt32 || len(k.Sealed) == 0 || len(k.Sealed) > maxKey {
		return fmt.Errorf("%w: a sealed key of %d bytes for generation %d of %s", ErrInvalid, len(k.Sealed), k.Generation, k.Certificate)
	}
	p.key = c.Key
	return checkName(c.Key.Certificate)
}

func (p *prepared) takeClosed(c renewer.Change) error {
	if c.Closed == nil {
		return nil
	}
	r := c.Closed
	if err := checkName(r.Certificate); err != nil {
		return err
	}
	if !r.Phase.Over() {
		return fmt.Errorf("%w: rollout %s is to be archived, but is %s", ErrInvalid, r.ID, r.Phase)
	}
	n, err := rolloutNumber(r)
	if err != nil {
		return err
	}
	p.closedKey, p.closed = numberKey(r.Certificate, n), encodeRollout(*r)
	return nil
}

func (p *prepared) takeEvent(e renewer.Event, now time.Time) error {
	if e.Type == "" {
		return fmt.Errorf("%w: an event without a type", ErrInvalid)
	}
	for _, name := range eventNames(e) {
		if err := checkName(name); err != nil {
			return err
		}
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Seq, e.Time = 0, e.Time.UTC().Round(0) // Round: without the monotonic clock
	p.events, p.event = append(p.events, e), append(p.event, encodeEvent(e))
	return nil
}

// apply writes the change within a transaction and returns its events. It may
// run again in another transaction after one that failed.
func (p *prepared) apply(tx *bolt.Tx) ([]renewer.Event, error) {
	if err := putCertificates(tx, bRoots, p.roots); err != nil {
		return nil, err
	}
	if p.gen != nil {
		if err := p.putGeneration(tx); err != nil {
			return nil, err
		}
	}
	if p.rec != nil {
		if err := p.putRecord(tx); err != nil {
			return nil, err
		}
	}
	if p.key != nil {
		if err := p.putKey(tx); err != nil {
			return nil, err
		}
	}
	if p.closedKey != nil {
		if err := bRollouts.put(tx, p.closedKey, p.closed); err != nil {
			return nil, err
		}
	}
	if p.rotation != nil {
		if err := p.putRotation(tx); err != nil {
			return nil, err
		}
	}
	if p.remove != "" {
		if err := remove(tx, p.remove); err != nil {
			return nil, err
		}
	}
	return p.appendEvents(tx)
}

func (p *prepared) putGeneration(tx *bolt.Tx) error {
	key := numberKey(p.gen.Certificate, uint64(p.gen.Number))
	old, ok, err := generation(tx, p.gen.Certificate, p.gen.Number)
	switch {
	case err != nil:
		return err
	case ok && (old.Fingerprint != p.gen.Fingerprint || old.Serial != p.gen.Serial):
		return fmt.Errorf("%w: generation %d of %s is certificate %.16s…, not %.16s…",
			ErrConflict, p.gen.Number, p.gen.Certificate, old.Fingerprint, p.gen.Fingerprint)
	}
	if err := putCertificates(tx, bChains, p.chains); err != nil {
		return err
	}
	return bGenerations.put(tx, key, p.generation)
}

func (p *prepared) putRecord(tx *bolt.Tx) error {
	old, had, err := placeOf(tx, p.name)
	if err != nil {
		return err
	}
	latest, rollouts := old.latest, old.rollouts
	if !had {
		removed, _, err := removedOf(tx, p.name)
		if err != nil {
			return err
		}
		latest, rollouts = removed.Latest, removed.Rollouts
	}
	if p.rec.Latest < latest || p.rec.Rollouts < rollouts {
		return fmt.Errorf("%w: %s has had %d generations and %d rollouts, and would have %d and %d",
			ErrConflict, p.name, latest, rollouts, p.rec.Latest, p.rec.Rollouts)
	}
	if p.row == nil {
		if err := p.rowOf(tx, old, had); err != nil {
			return err
		}
	}
	next := place{end: p.rowEnd, due: timeKey(p.rec.NextAt), latest: p.rec.Latest, rollouts: p.rec.Rollouts, slot: old.slot, slots: old.slots}
	if err := writeLooks(tx, &next, p.looks); err != nil {
		return err
	}
	if err := p.putIndexes(tx, old, next, had); err != nil {
		return err
	}
	if err := bRemoved.of(tx).Delete([]byte(p.name)); err != nil {
		return err
	}
	if err := bRecords.put(tx, []byte(p.name), next.write(p.record)); err != nil {
		return err
	}
	return dropKeys(tx, p.name, *p.rec)
}

// rowOf takes the row that is there, or makes one from the record, for a record
// that came without.
func (p *prepared) rowOf(tx *bolt.Tx, old place, had bool) error {
	if had {
		key := atKey(old.end, p.name)
		v, err := bExpiry.get(tx, key)
		if err != nil {
			return err
		}
		if v != nil {
			in, err := decodeRow(key, v)
			if err == nil {
				in, err = in.current(&looks{tx: tx})
			}
			if err != nil {
				return err
			}
			p.takeRow(in.row)
			return nil
		}
	}
	row, err := rowFromRecord(tx, *p.rec)
	if err == nil {
		p.takeRow(row)
	}
	return err
}

func (p *prepared) appendEvents(tx *bolt.Tx) ([]renewer.Event, error) {
	if len(p.events) == 0 {
		return nil, nil
	}
	log := bEvents.of(tx)
	out := make([]renewer.Event, len(p.events))
	for n, e := range p.events {
		seq, err := log.NextSequence()
		if err != nil {
			return nil, err
		}
		if log.Get(seqKey(seq)) != nil {
			return nil, bEvents.bad(seqKey(seq), "it exists, although its number was not assigned yet")
		}
		if err := bEvents.put(tx, seqKey(seq), p.event[n]); err != nil {
			return nil, err
		}
		for _, name := range eventNames(e) {
			if err := bEventsByName.of(tx).Put(numberKey(name, seq), nil); err != nil {
				return nil, err
			}
		}
		e.Seq = seq
		out[n] = e
	}
	return out, nil
}

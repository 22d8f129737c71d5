package inventory

import (
	"encoding/json"
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
	record []byte // its JSON
	row    []byte
	rowEnd []byte // timeKey of the row

	gen        *renewer.Generation
	generation []byte

	closedKey, closed []byte

	key   *renewer.SealedKey
	roots [][]byte

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
	for _, part := range []func(renewer.Change) error{p.takeRecord, p.takeGeneration, p.takeKey, p.takeRoots, p.takeClosed} {
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

func (p *prepared) takeRecord(c renewer.Change) (err error) {
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
	if r := c.Record; r.Latest < 0 || r.Rollouts < 0 || r.Current < 0 {
		return fmt.Errorf("%w: %s counts current %d, latest %d, rollouts %d", ErrInvalid, r.Name, r.Current, r.Latest, r.Rollouts)
	}
	p.name, p.rec = c.Record.Name, c.Record
	if p.record, err = json.Marshal(c.Record); err != nil {
		return fmt.Errorf("%w: encode the record of %s: %w", ErrInvalid, p.name, err)
	}
	if c.Row != nil {
		p.row, p.rowEnd = encodeRow(*c.Row), timeKey(c.Row.NotAfter)
	}
	return nil
}

func (p *prepared) takeGeneration(c renewer.Change) (err error) {
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
	p.gen = &g
	if p.generation, err = json.Marshal(g); err != nil {
		return fmt.Errorf("%w: encode generation %d of %s: %w", ErrInvalid, g.Number, g.Certificate, err)
	}
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
		return fmt.Errorf("%w: rollout %s goes into the history, but is %s", ErrInvalid, r.ID, r.Phase)
	}
	n, err := rolloutNumber(r)
	if err != nil {
		return err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("%w: encode rollout %s: %w", ErrInvalid, r.ID, err)
	}
	p.closedKey, p.closed = numberKey(r.Certificate, n), append(append([]byte{}, timeKey(r.EndedAt)...), body...)
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
	b, err := encodeEvent(e)
	if err != nil {
		return fmt.Errorf("%w: encode an event of %s: %w", ErrInvalid, e.Certificate, err)
	}
	p.events, p.event = append(p.events, e), append(p.event, b)
	return nil
}

// apply writes the change within a transaction and returns its events. It may
// run again in another transaction after one that failed.
func (p *prepared) apply(tx *bolt.Tx) ([]renewer.Event, error) {
	if err := putRoots(tx, p.roots); err != nil {
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
		if err := bRollouts.of(tx).Put(p.closedKey, p.closed); err != nil {
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
	if err := bGenerations.of(tx).Put(key, p.generation); err != nil {
		return err
	}
	return putGenerationIndexes(tx, key, *p.gen)
}

func (p *prepared) putRecord(tx *bolt.Tx) error {
	latest, rollouts, err := counters(tx, p.name)
	if err != nil {
		return err
	}
	if p.rec.Latest < latest || p.rec.Rollouts < rollouts {
		return fmt.Errorf("%w: %s has had %d generations and %d rollouts, and would have %d and %d",
			ErrConflict, p.name, latest, rollouts, p.rec.Latest, p.rec.Rollouts)
	}
	if err := bRecords.of(tx).Put([]byte(p.name), p.record); err != nil {
		return err
	}
	if err := bRemoved.of(tx).Delete([]byte(p.name)); err != nil {
		return err
	}
	if err := dropKeys(tx, p.name, *p.rec); err != nil {
		return err
	}
	return p.putIndexes(tx)
}

func (p *prepared) appendEvents(tx *bolt.Tx) ([]renewer.Event, error) {
	if len(p.events) == 0 {
		return nil, nil
	}
	log, byName := bEvents.of(tx), bEventsByName.of(tx)
	log.FillPercent = 1 // keys only grow
	out := make([]renewer.Event, len(p.events))
	for n, e := range p.events {
		seq, err := log.NextSequence()
		if err != nil {
			return nil, err
		}
		if err := log.Put(seqKey(seq), p.event[n]); err != nil {
			return nil, err
		}
		for _, name := range eventNames(e) {
			if err := byName.Put(numberKey(name, seq), nil); err != nil {
				return nil, err
			}
		}
		e.Seq = seq
		out[n] = e
	}
	return out, nil
}

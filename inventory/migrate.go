package inventory

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Schemas before 3 kept JSON without checksums. What their records have and
// ours do not is left out.

// migrate brings an older file to this schema. Schema 0 had no indexes and 1 no
// channels; both are made here.
func migrate(tx *bolt.Tx, from int) error {
	if err := makeBuckets(tx); err != nil {
		return err
	}
	rows, err := formerRows(tx)
	if err != nil {
		return err
	}
	if err := clearIndexes(tx); err != nil {
		return err
	}
	for _, former := range []string{"places", "by_serial", "by_fingerprint"} {
		if err := tx.DeleteBucket([]byte(former)); err != nil && from > 0 {
			return err
		}
	}
	type numbered struct {
		name   string
		number int
	}
	signed := map[numbered]string{}
	for _, part := range []func() error{
		func() error { return migrateEvents(tx) },
		func() error {
			return rewrite(tx, bGenerations, func(_ []byte, g renewer.Generation) renewer.Change {
				signed[numbered{g.Certificate, g.Number}] = g.Request.Issuer
				return renewer.Change{Generation: &g}
			})
		},
		func() error {
			return rewrite(tx, bRecords, func(_ []byte, rec renewer.Record) renewer.Change {
				rec.Upgrade()
				if row := rows[rec.Name]; row != nil && row.Fingerprint != "" { // it has the issuer that is wanted
					row.Issuer = cmp.Or(signed[numbered{rec.Name, row.Generation}], row.Issuer)
				}
				return renewer.Change{Record: &rec, Row: rows[rec.Name]}
			})
		},
		func() error { return migrateRest(tx) },
	} {
		if err := part(); err != nil {
			return fmt.Errorf("from schema %d to %d: %w", from, schema, err)
		}
	}
	return stamp(tx)
}

type pair struct{ k, v []byte }

// drain empties a bucket and returns what was in it.
func drain(tx *bolt.Tx, b bucket) (all []pair, err error) {
	err = b.of(tx).ForEach(func(k, v []byte) error {
		all = append(all, pair{bytes.Clone(k), bytes.Clone(v)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	sequence := b.of(tx).Sequence()
	if err := tx.DeleteBucket([]byte(b.name)); err != nil {
		return nil, err
	}
	made, err := tx.CreateBucket([]byte(b.name))
	if err != nil {
		return nil, err
	}
	return all, made.SetSequence(sequence)
}

// rewrite makes a change of every value of a bucket, and applies it.
func rewrite[T any](tx *bolt.Tx, b bucket, change func(k []byte, v T) renewer.Change) error {
	all, err := drain(tx, b)
	if err != nil {
		return err
	}
	for _, e := range all {
		var v T
		err := json.Unmarshal(e.v, &v)
		var p prepared
		if err == nil {
			p, err = prepare(change(e.k, v), time.Time{})
		}
		if err == nil {
			_, err = p.apply(tx)
		}
		if err != nil {
			return b.bad(e.k, "%v", err)
		}
	}
	return nil
}

func migrateEvents(tx *bolt.Tx) error {
	all, err := drain(tx, bEvents)
	if err != nil {
		return err
	}
	for _, e := range all {
		var ev renewer.Event
		if len(e.v) < timeSize || json.Unmarshal(e.v[timeSize:], &ev) != nil {
			return bEvents.bad(e.k, "not an event")
		}
		if err := bEvents.put(tx, e.k, encodeEvent(ev)); err != nil {
			return err
		}
	}
	return rebuildEvents(tx)
}

func migrateRest(tx *bolt.Tx) error {
	for b, convert := range map[bucket]func(v []byte) ([]byte, error){
		bRemoved: func(v []byte) ([]byte, error) {
			var rec renewer.Record
			err := json.Unmarshal(v, &rec)
			return encode(&rec, rec.Name, nil), err
		},
		bRollouts: func(v []byte) ([]byte, error) {
			var r renewer.Rollout
			if len(v) < timeSize {
				return nil, errCodec
			}
			err := json.Unmarshal(v[timeSize:], &r)
			return encodeRollout(r), err
		},
		bChannels: func(v []byte) ([]byte, error) { return v, nil },
	} {
		all, err := drain(tx, b)
		if err != nil {
			return err
		}
		for _, e := range all {
			v, err := convert(e.v)
			if err == nil {
				err = b.put(tx, e.k, v)
			}
			if err != nil {
				return b.bad(e.k, "%v", err)
			}
		}
	}
	return nil
}

// formerRows reads the rows of schema 2: text and lists with their length in
// front, numbers as varints, a time as its seconds and nanoseconds or a 0.
func formerRows(tx *bolt.Tx) (map[string]*renewer.Row, error) {
	rows := map[string]*renewer.Row{}
	err := bExpiry.of(tx).ForEach(func(_, v []byte) error {
		if row, err := formerRow(string(v)); err == nil {
			rows[row.Name] = &row
		}
		return nil
	})
	return rows, err
}

func formerRow(s string) (renewer.Row, error) {
	if s == "" || s[0] != 1 {
		return renewer.Row{}, errors.New("not a row")
	}
	d := formerReader{decoder{s: s[1:]}}
	r := renewer.Row{
		Name: d.text(), Issuer: d.text(), Generation: int(d.varint()), Status: renewer.Status(d.text()),
		Serial: d.text(), Fingerprint: d.text(), CommonName: d.text(),
	}
	r.SANs = make([]string, d.length())
	for i := range r.SANs {
		r.SANs[i] = d.text()
	}
	r.Key = renewer.KeyType(d.text())
	r.NotBefore, r.NotAfter, r.RenewAt = d.time(), d.time(), d.time()
	r.Hosts = make([]renewer.HostRow, d.length())
	for i := range r.Hosts {
		r.Hosts[i] = renewer.HostRow{
			Name: d.text(), State: renewer.HostState(d.text()), Generation: int(d.varint()), Served: d.text(),
			ServedEnd: d.time(), Matches: d.take(1) == "\x01", VerifiedAt: d.time(), Error: d.text(),
		}
	}
	if d.bad || d.s != "" {
		return renewer.Row{}, errCodec
	}
	return r, nil
}

type formerReader struct{ decoder }

func (d *formerReader) text() string { return d.take(d.uvarint()) }

func (d *formerReader) length() int {
	n := d.uvarint()
	if n > uint64(len(d.s)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *formerReader) time() time.Time {
	if d.take(1) != "\x01" {
		return time.Time{}
	}
	sec := d.varint()
	return time.Unix(sec, int64(d.uvarint()%1e9)).UTC()
}

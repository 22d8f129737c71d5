package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// schema is the version of the file that this program writes.
const schema = 3

// A bucket of the file, with the schema in which its layout last changed.
type bucket struct {
	name  string
	since int
	index bool // can be built again from the others
}

// The buckets, and what lies in them. A record's JSON is that of package
// renewer; +JSON says that a timeKey stands in front.
var (
	bMeta          = bucket{"meta", 1, false}
	bRecords       = bucket{"records", 1, false}       // name → JSON
	bRemoved       = bucket{"removed", 1, false}       // name → JSON of what stays of a record, see stub
	bGenerations   = bucket{"generations", 1, false}   // name, number → JSON
	bRollouts      = bucket{"rollouts", 1, false}      // name, number → end+JSON
	bEvents        = bucket{"events", 1, false}        // seq → time+JSON
	bChannels      = bucket{"channels", 2, false}      // channel → its state, as package notify writes it
	bKeys          = bucket{"keys", 3, false}          // name, number → private key, sealed
	bRoots         = bucket{"roots", 3, false}         // SHA-256 → DER of a root certificate
	bPlaces        = bucket{"places", 1, true}         // name → place
	bExpiry        = bucket{"expiry", 1, true}         // notAfter, name → row
	bDue           = bucket{"due", 1, true}            // NextAt, name → nothing
	bOpen          = bucket{"open", 1, true}           // name → nothing
	bBySerial      = bucket{"by_serial", 1, true}      // hex, 0, name, number → nothing
	bByFingerprint = bucket{"by_fingerprint", 1, true} // hex, 0, name, number → nothing
	bEventsByName  = bucket{"events_by_name", 1, true} // name, seq → nothing
)

var buckets = []bucket{
	bMeta, bRecords, bRemoved, bGenerations, bRollouts, bEvents, bChannels, bKeys, bRoots,
	bPlaces, bExpiry, bDue, bOpen, bBySerial, bByFingerprint, bEventsByName,
}

var (
	keySchema  = []byte("schema")
	keyCreated = []byte("created")
	keyCopied  = []byte("copied")   // it is a backup
	keyDataKey = []byte("data_key") // with which private keys are sealed; itself sealed to the seal's identity
)

func (b bucket) of(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(b.name)) }
func (b bucket) versionKey() []byte          { return []byte("schema/" + b.name) }

// migrations lead from each schema to the next: migrations[0] from 0 to 1.
// All that are needed run in one transaction, and the numbers of the buckets
// are written after the last.
var migrations = [schema]func(*bolt.Tx) error{
	rebuild,                             // 0 had the records alone, without the indexes
	func(*bolt.Tx) error { return nil }, // 1 had no channels, whose bucket is there by now
	upgradeRecords,                      // 2 had no keys, no roots, and records of another shape
}

// create writes an empty inventory.
func create(tx *bolt.Tx, now time.Time) error {
	if err := makeBuckets(tx); err != nil {
		return err
	}
	if err := bMeta.of(tx).Put(keyCreated, []byte(now.UTC().Format(time.RFC3339))); err != nil {
		return err
	}
	return stamp(tx)
}

func makeBuckets(tx *bolt.Tx) error {
	for _, b := range buckets {
		if _, err := tx.CreateBucketIfNotExists([]byte(b.name)); err != nil {
			return fmt.Errorf("create bucket %s: %w", b.name, err)
		}
	}
	return nil
}

// stamp writes the schema's number and those of the buckets.
func stamp(tx *bolt.Tx) error {
	meta := bMeta.of(tx)
	for _, b := range buckets {
		if err := meta.Put(b.versionKey(), []byte(strconv.Itoa(b.since))); err != nil {
			return err
		}
	}
	return meta.Put(keySchema, []byte(strconv.Itoa(schema)))
}

// fileSchema returns the schema that the file says it has.
func fileSchema(tx *bolt.Tx, path string) (int, error) {
	meta := bMeta.of(tx)
	if meta == nil {
		return 0, damaged(path, "is not an inventory (a bbolt file without its schema)")
	}
	n, err := strconv.Atoi(string(meta.Get(keySchema)))
	switch {
	case err != nil || n < 0:
		return 0, damaged(path, "is damaged: its schema is %q", meta.Get(keySchema))
	case n > schema:
		return 0, renewer.WithHint(&SchemaError{Path: path, File: n, Known: schema},
			"install the renewer that wrote it, or a later one; or go back to a backup from before the upgrade with `renewer restore FILE`")
	}
	return n, nil
}

// checkBuckets holds the buckets of a file of this schema against what they
// should be; it reads meta alone.
func checkBuckets(tx *bolt.Tx, path string) error {
	meta := bMeta.of(tx)
	for _, b := range buckets {
		if v := string(meta.Get(b.versionKey())); b.of(tx) == nil || v != strconv.Itoa(b.since) {
			return damaged(path, "is damaged: bucket %s has version %q, expected %d", b.name, v, b.since)
		}
	}
	return nil
}

// migrate brings an older file to this schema.
func migrate(tx *bolt.Tx, from int) error {
	if err := makeBuckets(tx); err != nil {
		return err
	}
	for n := from; n < schema; n++ {
		if err := migrations[n](tx); err != nil {
			return fmt.Errorf("from schema %d to %d: %w", n, n+1, err)
		}
	}
	return stamp(tx)
}

// rebuild makes every index anew from records, generations and events.
// A row that was there stays; one that is missing is made from the record, and
// so shows what was issued, and of a certificate without any only its hosts,
// until its next transition.
func rebuild(tx *bolt.Tx) error {
	rows := map[string]string{}
	if b := bExpiry.of(tx); b != nil {
		err := b.ForEach(func(_, v []byte) error {
			s := string(v)
			if row, err := decodeRow(s); err == nil {
				rows[row.Name] = s
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, b := range buckets {
		if !b.index {
			continue
		}
		if err := tx.DeleteBucket([]byte(b.name)); err != nil {
			return fmt.Errorf("clear bucket %s: %w", b.name, err)
		}
	}
	if err := makeBuckets(tx); err != nil {
		return err
	}
	return errors.Join(rebuildRecords(tx, rows), rebuildGenerations(tx), rebuildEvents(tx))
}

func rebuildRecords(tx *bolt.Tx, rows map[string]string) error {
	return bRecords.of(tx).ForEach(func(k, v []byte) error {
		var rec renewer.Record
		if err := json.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("decode the record of %s: %w", k, err)
		}
		p := prepared{name: rec.Name, record: v, rec: &rec}
		if row, err := decodeRow(rows[rec.Name]); err == nil {
			p.row, p.rowEnd = []byte(rows[rec.Name]), timeKey(row.NotAfter)
		}
		return p.putIndexes(tx)
	})
}

func rebuildGenerations(tx *bolt.Tx) error {
	return bGenerations.of(tx).ForEach(func(k, v []byte) error {
		var g renewer.Generation
		if err := json.Unmarshal(v, &g); err != nil {
			return fmt.Errorf("decode a generation of %s: %w", k[:len(k)-9], err)
		}
		return putGenerationIndexes(tx, k, g)
	})
}

func rebuildEvents(tx *bolt.Tx) error {
	return bEvents.of(tx).ForEach(func(k, v []byte) error {
		e, err := decodeEvent(k, v)
		if err != nil {
			return err
		}
		for _, name := range eventNames(e) {
			if err := bEventsByName.of(tx).Put(numberKey(name, e.Seq), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// rowFromRecord makes the row of a record that came without one.
func rowFromRecord(tx *bolt.Tx, rec renewer.Record) (renewer.Row, error) {
	c := renewer.Certificate{Name: rec.Name, Entry: rec.Entry, Issuer: rec.Issuer, Usages: []renewer.Usage{renewer.UsageServer}}
	for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		c.Placements = append(c.Placements, renewer.Placement{Certificate: rec.Name, Host: host})
	}
	number := rec.Current
	if !rec.InPlace() {
		number = rec.Latest
	}
	g, ok, err := generation(tx, rec.Name, number)
	if err != nil || !ok {
		return renewer.NewRow(c, rec, nil), err
	}
	return renewer.NewRow(c, rec, &g), nil
}

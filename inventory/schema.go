package inventory

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// schema is the version of the file that this program writes.
const schema = 3

// The buckets, and what lies in them. Every value has a checksum (stored.go);
// what is encoded is an object of package renewer (codec.go).
var (
	bMeta         = newBucket("meta", 1, false, 0.5)          // no checksums: all of it is compared at the start
	bRecords      = newBucket("records", 3, false, 0.5)       // name → place, record
	bLooks        = newBucket("looks", 3, false, 0.5)         // slot/128 → 128 times; the sequence is the next slot
	bRemoved      = newBucket("removed", 3, false, 0.5)       // name → what stays of a record, see stub
	bGenerations  = newBucket("generations", 3, false, 0.9)   // name, number → ids, generation; of its chain the leaf alone
	bChains       = newBucket("chains", 3, false, 0.5)        // SHA-256 → DER of an intermediate
	bRoots        = newBucket("roots", 3, false, 0.5)         // SHA-256 → DER of a root
	bKeys         = newBucket("keys", 3, false, 0.5)          // name, number → private key, sealed; the sequence counts deletions
	bSeal         = newBucket("seal", 3, false, 0.5)          // "data_key" → with which they are sealed, itself sealed
	bRollouts     = newBucket("rollouts", 3, false, 0.9)      // name, number → end, rollout
	bEvents       = newBucket("events", 3, false, 1)          // seq → time, event
	bChannels     = newBucket("channels", 3, false, 0.5)      // channel → its state, as package notify writes it
	bRotations    = newBucket("rotations", 3, false, 0.5)     // issuer → the replacement of its CA, as package rotation has it
	bExpiry       = newBucket("expiry", 3, true, 0.9)         // notAfter, name → slot, row
	bDue          = newBucket("due", 1, true, 0.5)            // NextAt, name → nothing
	bOpen         = newBucket("open", 1, true, 0.5)           // name → nothing
	bEventsByName = newBucket("events_by_name", 1, true, 0.5) // name, seq → nothing
)

var buckets = []bucket{
	bMeta, bRecords, bLooks, bRemoved, bGenerations, bChains, bRoots, bKeys, bSeal, bRollouts, bEvents, bChannels, bRotations,
	bExpiry, bDue, bOpen, bEventsByName,
}

var (
	keySchema  = []byte("schema")
	keyCreated = []byte("created")
	keyCopied  = []byte("copied") // it is a backup
	keyErased  = []byte("erased") // deletions of keys, up to which nothing is left of them
	keyDataKey = []byte("data_key")
)

// create writes an empty inventory.
func create(tx *bolt.Tx, now time.Time) error {
	if err := makeBuckets(tx); err != nil {
		return err
	}
	if err := bMeta.of(tx).Put(keyCreated, []byte(now.UTC().Format(time.RFC3339))); err != nil {
		return err
	}
	return errors.Join(stamp(tx), settle(tx, origin{}, true))
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
	found := string(clip(meta.Get(keySchema)))
	n, err := strconv.Atoi(found)
	switch {
	case err != nil || n < 0:
		return 0, damaged(path, "is damaged: its schema is %q", found)
	case n > schema:
		return 0, renewer.WithHint(&SchemaError{Path: path, File: n, Known: schema},
			"install the renewer that wrote it, or a later one; or restore a backup from before the upgrade with `renewer restore FILE`")
	}
	return n, nil
}

// latecomers came without another schema: a file of this one may not have them yet.
var latecomers = []bucket{bRotations}

// lacks reports whether a file of this schema is from before one of them came.
func lacks(tx *bolt.Tx) bool {
	return slices.ContainsFunc(latecomers, func(b bucket) bool { return b.of(tx) == nil && bMeta.of(tx).Get(b.versionKey()) == nil })
}

// checkBuckets holds the buckets of a file of this schema against what they
// should be; it reads meta alone.
func checkBuckets(tx *bolt.Tx, path string) error {
	meta := bMeta.of(tx)
	for _, b := range buckets {
		if slices.Contains(latecomers, b) && lacks(tx) {
			continue
		}
		if v := string(clip(meta.Get(b.versionKey()))); b.of(tx) == nil || v != strconv.Itoa(b.since) {
			return damaged(path, "is damaged: bucket %s has version %q, expected %d", b.name, v, b.since)
		}
	}
	return nil
}

// rebuild rebuilds every index from records, generations and events. A row
// that can be read stays; one that is missing is made from the record, and so
// shows what was issued, and of a certificate without any only its hosts, until
// its next transition.
func rebuild(tx *bolt.Tx) error {
	rows := map[string]*indexed{}
	err := bExpiry.of(tx).ForEach(func(k, v []byte) error {
		v, err := bExpiry.open(k, v)
		if err != nil {
			return nil //nolint:nilerr // it is rebuilt
		}
		if in, err := decodeRow(k, v); err == nil {
			rows[in.row.Name] = in
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := clearIndexes(tx); err != nil {
		return err
	}
	return errors.Join(rebuildRecords(tx, rows), rebuildEvents(tx))
}

func clearIndexes(tx *bolt.Tx) error {
	for _, b := range buckets {
		if !b.index {
			continue
		}
		if err := tx.DeleteBucket([]byte(b.name)); err != nil {
			return fmt.Errorf("clear bucket %s: %w", b.name, err)
		}
	}
	return makeBuckets(tx)
}

func rebuildRecords(tx *bolt.Tx, rows map[string]*indexed) error {
	var names []string
	if err := bRecords.of(tx).ForEach(func(k, _ []byte) error { names = append(names, string(k)); return nil }); err != nil {
		return err
	}
	l := looks{tx: tx}
	for _, name := range names {
		rec, _, err := recordOf(tx, name)
		if err != nil {
			return err
		}
		c := renewer.Change{Record: &rec}
		if in := rows[name]; in != nil {
			if in, err = in.current(&l); err != nil {
				return err
			}
			c.Row = &in.row
		}
		var p prepared
		if err := errors.Join(p.takeRecord(c), p.putRecord(tx)); err != nil {
			return err
		}
	}
	return nil
}

func rebuildEvents(tx *bolt.Tx) error {
	return bEvents.each(tx, func(k, v []byte) error {
		e, err := decodeEvent(k, v)
		if err != nil {
			return err
		}
		for _, name := range eventNames(e) {
			if err := bEventsByName.mark(tx, numberKey(name, e.Seq)); err != nil {
				return err
			}
		}
		return nil
	})
}

package inventory

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// A value ends with the CRC-32C of its bucket's name, the length of its key, its
// key and itself: so a flipped bit is found whenever the value is read, and so
// is a value that lies under another key. Entries of indexes that have no value have no checksum;
// the full check compares them with what they lead to.

const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A bucket of the file, with the schema in which its layout last changed.
type bucket struct {
	name  string
	since int
	index bool    // can be built again from the others
	fill  float64 // of a page, when it is split: more where keys come about in the order in which they sort
	start uint32  // of its checksums
}

func newBucket(name string, since int, index bool, fill float64) bucket {
	return bucket{name, since, index, fill, crc32.Checksum([]byte(name), castagnoli)}
}

func (b bucket) of(tx *bolt.Tx) *bolt.Bucket { return tx.Bucket([]byte(b.name)) }
func (b bucket) versionKey() []byte          { return []byte("schema/" + b.name) }

func (b bucket) sum(k, v []byte) uint32 {
	return crc32.Update(crc32.Update(b.start^uint32(len(k)), castagnoli, k), castagnoli, v)
}

// open returns the value without its checksum, if that is right. nil stays nil.
func (b bucket) open(k, v []byte) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	n := len(v) - sumSize
	if n < 0 || binary.BigEndian.Uint32(v[n:]) != b.sum(k, v[:n]) {
		return nil, b.bad(k, "its checksum does not match")
	}
	return v[:n:n], nil
}

// get returns the value of a key, which holds as long as the transaction; nil
// if there is none.
func (b bucket) get(tx *bolt.Tx, k []byte) ([]byte, error) { return b.open(k, b.of(tx).Get(k)) }

// put writes a value, unless it is there already.
func (b bucket) put(tx *bolt.Tx, k, v []byte) error {
	at := b.of(tx)
	at.FillPercent = b.fill
	v = binary.BigEndian.AppendUint32(v, b.sum(k, v))
	if bytes.Equal(at.Get(k), v) {
		return nil
	}
	return at.Put(k, v)
}

// mark writes an entry without a value, unless it is there already.
func (b bucket) mark(tx *bolt.Tx, k []byte) error {
	at := b.of(tx)
	if at.Get(k) != nil {
		return nil
	}
	return at.Put(k, nil)
}

// each calls fn for every entry with its value.
func (b bucket) each(tx *bolt.Tx, fn func(k, v []byte) error) error {
	return b.of(tx).ForEach(func(k, v []byte) error {
		v, err := b.open(k, v)
		if err != nil {
			return err
		}
		return fn(k, v)
	})
}

// EntryError says that one entry of the inventory is damaged.
type EntryError struct {
	Bucket string
	Key    []byte
	What   string
	Index  bool // of an index, which can be rebuilt
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("inventory: entry %q of %s: %s", e.Key, e.Bucket, e.What)
}

// Hint says how to fix it.
func (e *EntryError) Hint() string {
	if e.Index {
		return "renewer doctor rebuilds the indexes"
	}
	return "stop renewer and restore a backup: renewer restore FILE"
}

func (b bucket) bad(k []byte, format string, args ...any) error {
	return &EntryError{Bucket: b.name, Key: bytes.Clone(clip(k)), What: fmt.Sprintf(format, args...), Index: b.index}
}

// text returns a key that is a name. A longer one is that of a damaged page.
func (b bucket) text(k []byte) (string, error) {
	if len(k) > maxName {
		return "", b.bad(k, "its key has %d bytes", len(k))
	}
	return string(k), nil
}

// clip bounds what is shown of a key or value: a damaged page may call the whole
// file one.
func clip(b []byte) []byte { return b[:min(len(b), maxName)] }

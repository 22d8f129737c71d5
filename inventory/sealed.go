package inventory

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Private keys lie here sealed, for as long as the record of their certificate
// needs them. Each change of a record is held against that in its own
// transaction, so a key never outlives the need for it, whatever fails. What is
// left of it in free pages is overwritten then: see erase.

const maxKey = 64 << 10 // an RSA-4096 key is 3.2 KiB

// Key returns the sealed private key of a generation; ok is false if there is
// none.
func (i *Inventory) Key(certificate string, generation int) (sealed []byte, ok bool, err error) {
	if generation <= 0 {
		return nil, false, nil
	}
	err = i.view(func(tx *bolt.Tx) error {
		v, err := bKeys.get(tx, numberKey(certificate, uint64(generation)))
		sealed = bytes.Clone(v)
		return err
	})
	return sealed, sealed != nil, err
}

// DataKey returns what SetDataKey stored; nil if nothing.
func (i *Inventory) DataKey() (wrapped []byte, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		v, err := bSeal.get(tx, keyDataKey)
		wrapped = bytes.Clone(v)
		return err
	})
	return wrapped, err
}

// SetDataKey stores the key with which private keys are sealed, itself sealed
// to the seal's identity.
func (i *Inventory) SetDataKey(wrapped []byte) error {
	err := i.update(func(tx *bolt.Tx) error { return bSeal.put(tx, keyDataKey, bytes.Clone(wrapped)) })
	if err != nil {
		return fmt.Errorf("save the sealed data key in inventory %s: %w", i.path, err)
	}
	return nil
}

// putKey stores the sealed key of the change if its record needs it.
func (p *prepared) putKey(tx *bolt.Tx) (err error) {
	k, rec, ok := *p.key, p.rec, true
	if rec == nil || p.name != k.Certificate {
		rec = &renewer.Record{}
		if *rec, ok, err = recordOf(tx, k.Certificate); err != nil {
			return err
		}
	}
	if !ok || !rec.NeedsKey(k.Generation) {
		return nil
	}
	at := numberKey(k.Certificate, uint64(k.Generation))
	if bKeys.of(tx).Get(at) != nil {
		if _, err := bKeys.of(tx).NextSequence(); err != nil {
			return err
		}
	}
	return bKeys.put(tx, at, bytes.Clone(k.Sealed))
}

// dropKeys deletes the sealed keys of a certificate that its record does not
// need.
func dropKeys(tx *bolt.Tx, name string, rec renewer.Record) error {
	var gone [][]byte
	err := backwards(tx, bKeys, name, func(k, _ []byte) (bool, error) {
		_, n, err := splitNumberKey(k)
		if err == nil && !rec.NeedsKey(int(n)) {
			gone = append(gone, bytes.Clone(k))
		}
		return true, err
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	if _, err := bKeys.of(tx).NextSequence(); err != nil {
		return err
	}
	return deleteAll(bKeys.of(tx), gone, nil, nil)
}

package inventory

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Private keys lie here sealed, for as long as the record of their certificate
// needs them. Each change of a record is held against that in its own
// transaction, so a key never outlives the need for it, whatever fails.

const maxKey = 64 << 10 // an RSA-4096 key is 3.2 KiB

// Key returns the sealed private key of a generation; ok is false if there is
// none.
func (i *Inventory) Key(certificate string, generation int) (sealed []byte, ok bool, err error) {
	if generation <= 0 {
		return nil, false, nil
	}
	err = i.view(func(tx *bolt.Tx) error {
		sealed = bytes.Clone(bKeys.of(tx).Get(numberKey(certificate, uint64(generation))))
		return nil
	})
	return sealed, sealed != nil, err
}

// DataKey returns what SetDataKey stored; nil if nothing.
func (i *Inventory) DataKey() (wrapped []byte, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		wrapped = bytes.Clone(bMeta.of(tx).Get(keyDataKey))
		return nil
	})
	return wrapped, err
}

// SetDataKey stores the key with which private keys are sealed, itself sealed
// to the seal's identity.
func (i *Inventory) SetDataKey(wrapped []byte) error {
	err := i.update(func(tx *bolt.Tx) error { return bMeta.of(tx).Put(keyDataKey, wrapped) })
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
		if *rec, ok, err = decodeRecord(bRecords.of(tx), k.Certificate); err != nil {
			return err
		}
	}
	if !ok || !rec.NeedsKey(k.Generation) {
		return nil
	}
	return bKeys.of(tx).Put(numberKey(k.Certificate, uint64(k.Generation)), k.Sealed)
}

// dropKeys deletes the sealed keys of a certificate that its record does not
// need.
func dropKeys(tx *bolt.Tx, name string, rec renewer.Record) error {
	var gone [][]byte
	err := backwards(bKeys.of(tx), name, func(k, _ []byte) (bool, error) {
		_, n, err := splitNumberKey(k)
		if err == nil && !rec.NeedsKey(int(n)) {
			gone = append(gone, bytes.Clone(k))
		}
		return true, err
	})
	if err != nil {
		return err
	}
	return deleteAll(bKeys.of(tx), gone, nil, nil)
}

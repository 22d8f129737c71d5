package inventory

import (
	"fmt"

	bolt "go.etcd.io/bbolt"
)

var keyFleet = []byte("fleet")

// Holds says which fleet file every record is of, and that none is missing: by
// a digest of the caller's. It is empty where no one said so.
func (i *Inventory) Holds() (digest string, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		digest = string(bMeta.of(tx).Get(keyFleet))
		return nil
	})
	return digest, err
}

// SetHolds records what Holds returns. It writes nothing where that is so
// already.
func (i *Inventory) SetHolds(digest string) error {
	if is, err := i.Holds(); err != nil || is == digest {
		return err
	}
	err := i.update(func(tx *bolt.Tx) error { return bMeta.of(tx).Put(keyFleet, []byte(digest)) })
	if err != nil {
		return fmt.Errorf("record which fleet file is held: %w", err)
	}
	return nil
}

package inventory

import (
	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Departed returns what certificates that left the fleet file have in place.
func (i *Inventory) Departed() (map[string][]renewer.Departed, error) {
	out := map[string][]renewer.Departed{}
	err := i.view(func(tx *bolt.Tx) error {
		return bRemoved.each(tx, func(k, v []byte) error {
			rec, err := decodeStub(k, v)
			if len(rec.Departed) > 0 {
				out[rec.Name] = rec.Departed
			}
			return err
		})
	})
	return out, err
}

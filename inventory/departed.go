package inventory

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Departed returns what certificates that left the fleet file have in place.
func (i *Inventory) Departed() (map[string][]renewer.Departed, error) {
	out := map[string][]renewer.Departed{}
	err := i.view(func(tx *bolt.Tx) error {
		return bRemoved.of(tx).ForEach(func(k, v []byte) error {
			var rec renewer.Record
			if err := json.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("decode what is left of %s: %w", k, err)
			}
			if len(rec.Departed) > 0 {
				out[rec.Name] = rec.Departed
			}
			return nil
		})
	})
	return out, err
}

// upgradeRecords brings records of a version before to the shape of now.
func upgradeRecords(tx *bolt.Tx) error { return rewriteRecords(tx, (*renewer.Record).Upgrade) }

func rewriteRecords(tx *bolt.Tx, change func(*renewer.Record)) error {
	changed := map[string][]byte{}
	err := bRecords.of(tx).ForEach(func(k, v []byte) error {
		var rec renewer.Record
		if err := json.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("decode the record of %s: %w", k, err)
		}
		change(&rec)
		b, err := json.Marshal(rec)
		changed[string(k)] = b
		return err
	})
	if err != nil {
		return err
	}
	for name, b := range changed {
		if err := bRecords.of(tx).Put([]byte(name), b); err != nil {
			return err
		}
	}
	return nil
}

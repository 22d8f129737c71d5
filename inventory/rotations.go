package inventory

import (
	"bytes"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Rotations returns the last rotation of the CA of each issuer that ever had one,
// as it was put with a change.
func (i *Inventory) Rotations() (all map[string][]byte, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		all = map[string][]byte{}
		if bRotations.of(tx) == nil {
			return nil // opened to read, and from before there were any
		}
		return bRotations.each(tx, func(k, v []byte) error {
			issuer, err := bRotations.text(k)
			all[issuer] = bytes.Clone(v)
			return err
		})
	})
	return all, err
}

func (p *prepared) takeRotation(c renewer.Change) error {
	if c.Rotation == nil {
		return nil
	}
	p.rotation = c.Rotation
	return checkName(c.Rotation.Issuer)
}

func (p *prepared) putRotation(tx *bolt.Tx) error {
	return bRotations.put(tx, []byte(p.rotation.Issuer), bytes.Clone(p.rotation.Record))
}

package inventory

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// shortest is how many digits of a serial number or fingerprint are enough.
const shortest = 8

// ByFingerprint returns the generation whose leaf has the SHA-256, in hex and
// with or without colons; its first eight digits or more will do. ok is false
// if there is none; ErrAmbiguous if certificates differ that match.
func (i *Inventory) ByFingerprint(hex string) (renewer.Generation, bool, error) {
	return i.find(bByFingerprint, hex)
}

// BySerial returns the generation with the serial number, as ByFingerprint
// does. Two issuers may give the same one.
func (i *Inventory) BySerial(hex string) (renewer.Generation, bool, error) {
	return i.find(bBySerial, hex)
}

func (i *Inventory) find(b bucket, hex string) (g renewer.Generation, ok bool, err error) {
	hex = hexKey(hex)
	if hex == "" {
		return g, false, nil
	}
	err = i.view(func(tx *bolt.Tx) (err error) {
		if g, ok, err = findPrefix(tx, b, nameKey(hex)); ok || err != nil || len(hex) < shortest {
			return err
		}
		g, ok, err = findPrefix(tx, b, []byte(hex))
		return err
	})
	return g, ok, err
}

// findPrefix returns the generation of the first entry, if all entries with
// the prefix are of the same certificate.
func findPrefix(tx *bolt.Tx, b bucket, prefix []byte) (found renewer.Generation, ok bool, err error) {
	c := b.of(tx).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		_, key, _ := bytes.Cut(k, []byte{0})
		g, there, err := generationAt(tx, key)
		switch {
		case err != nil:
			return found, false, err
		case !there:
			return found, false, fmt.Errorf("index %s leads to a generation that is missing: %q", b.name, key)
		case ok && g.Fingerprint != found.Fingerprint:
			return renewer.Generation{}, false, fmt.Errorf("%w: %s generation %d, %s generation %d",
				ErrAmbiguous, found.Certificate, found.Number, g.Certificate, g.Number)
		case !ok:
			found, ok = g, true
		}
	}
	return found, ok, nil
}

// Rollout returns a rollout that is over, by its ID; ok is false if there is
// none.
func (i *Inventory) Rollout(id string) (r renewer.Rollout, ok bool, err error) {
	name := rolloutCertificate(id)
	n, err := rolloutNumber(&renewer.Rollout{ID: id, Certificate: name})
	if err != nil {
		return r, false, nil //nolint:nilerr // no rollout has such an ID
	}
	err = i.view(func(tx *bolt.Tx) (err error) {
		v := bRollouts.of(tx).Get(numberKey(name, n))
		if ok = v != nil; !ok {
			return nil
		}
		r, err = decodeRollout(v)
		return err
	})
	return r, ok && err == nil, err
}

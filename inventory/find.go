package inventory

import (
	"bytes"
	"fmt"
	"strings"

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
	if hex == "" || len(hex) < shortest && len(hex)%2 != 0 || strings.Trim(hex, "0123456789abcdef") != "" {
		return g, false, nil
	}
	is := func(id string) bool { return id == hex }
	err = i.view(func(tx *bolt.Tx) (err error) {
		if g, ok, err = findBy(tx, b, hex, is); ok || err != nil || len(hex) < shortest {
			return err
		}
		g, ok, err = findBy(tx, b, hex, func(id string) bool { return strings.HasPrefix(id, hex) })
		return err
	})
	return g, ok, err
}

// findBy returns the first generation whose number is one that is looked for,
// if all such are of the same certificate.
func findBy(tx *bolt.Tx, b bucket, hex string, is func(id string) bool) (found renewer.Generation, ok bool, err error) {
	c, prefix := b.of(tx).Cursor(), idKey(hex)[:min(len(hex)/2, idSize)]
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if len(k) < idSize {
			return found, false, b.bad(k, "it is too short")
		}
		g, there, err := generationAt(tx, k[idSize:])
		if err != nil {
			return found, false, err
		}
		if !there {
			return found, false, b.bad(k, "the generation that it leads to is missing")
		}
		id := hexKey(map[bucket]string{bBySerial: g.Serial, bByFingerprint: g.Fingerprint}[b])
		switch {
		case !bytes.HasPrefix(k, idKey(id)):
			return found, false, b.bad(k, "it leads to another one, %s", id)
		case !is(id):
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
		v, err := bRollouts.get(tx, numberKey(name, n))
		if ok = v != nil; !ok {
			return err
		}
		r, err = decodeRollout(numberKey(name, n), v)
		return err
	})
	return r, ok && err == nil, err
}

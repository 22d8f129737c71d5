package inventory

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// shortest is how many digits of a serial number or fingerprint are enough.
const shortest = 8

// ByFingerprint returns the generation whose leaf has the SHA-256, in hex and
// with or without colons; its first eight digits or more will do. ok is false
// if there is none; ErrAmbiguous if certificates differ that match. It looks at
// every generation: people ask seldom, and an index would cost every order.
func (i *Inventory) ByFingerprint(hex string) (renewer.Generation, bool, error) {
	return i.find(hex, 0, func(g renewer.Generation) string { return g.Fingerprint })
}

// BySerial returns the generation with the serial number, as ByFingerprint
// does. Two issuers may give the same one.
func (i *Inventory) BySerial(hex string) (renewer.Generation, bool, error) {
	return i.find(hex, idSize, func(g renewer.Generation) string { return g.Serial })
}

// find decodes the generations whose ids begin, at an offset, like hex.
func (i *Inventory) find(hex string, at int, number func(renewer.Generation) string) (g renewer.Generation, ok bool, err error) {
	hex = hexKey(hex)
	if hex == "" || len(hex) < shortest && len(hex)%2 != 0 || strings.Trim(hex, "0123456789abcdef") != "" {
		return g, false, nil
	}
	whole := func(g renewer.Generation) bool { return hexKey(number(g)) == hex }
	prefix := idKey(hex)[:min(len(hex)/2, idSize)]
	var found []renewer.Generation
	err = i.view(func(tx *bolt.Tx) error {
		found = nil
		return bGenerations.each(tx, func(k, v []byte) error {
			if len(v) < idsSize || !bytes.HasPrefix(v[at:], prefix) {
				return nil
			}
			g, err := decodeGeneration(tx, k, v)
			if whole(g) || len(hex) >= shortest && strings.HasPrefix(hexKey(number(g)), hex) {
				found = append(found, g)
			}
			return err
		})
	})
	if slices.ContainsFunc(found, whole) {
		found = slices.DeleteFunc(found, func(g renewer.Generation) bool { return !whole(g) })
	}
	if len(found) == 0 || err != nil {
		return g, false, err
	}
	for _, other := range found[1:] {
		if other.Fingerprint != found[0].Fingerprint {
			return g, false, fmt.Errorf("%w: %s generation %d, %s generation %d",
				ErrAmbiguous, found[0].Certificate, found[0].Number, other.Certificate, other.Number)
		}
	}
	return found[0], true, nil
}

// A generation is stored behind the beginnings of its fingerprint and its
// serial number.
const (
	idSize  = 8
	idsSize = 2 * idSize
)

func idsOf(g renewer.Generation) []byte { return append(idKey(g.Fingerprint), idKey(g.Serial)...) }

// idKey is the beginning of a number in hexadecimal digits, filled up with
// zeros.
func idKey(digits string) []byte {
	b := make([]byte, idSize, idsSize)
	digits = hexKey(digits)
	if n := len(digits) - len(digits)%2; n < 2*idSize {
		digits = digits[:n]
	} else {
		digits = digits[:2*idSize]
	}
	_, _ = hex.Decode(b, []byte(digits)) // what is no digit finds nothing
	return b
}

// hexKey brings a serial number or a fingerprint into the form of the ids:
// lower case, without the separators that openssl and browsers print.
func hexKey(s string) string { return strings.ToLower(separators.Replace(s)) }

var separators = strings.NewReplacer(":", "", " ", "")

// Rollout returns an ended rollout, by its ID; ok is false if there is
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

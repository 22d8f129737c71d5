package inventory

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Roots returns every root certificate that a change ever brought, as DER:
// what was issued or found in place can be judged although its issuer is gone.
func (i *Inventory) Roots() (all [][]byte, err error) {
	err = i.view(func(tx *bolt.Tx) error {
		all = nil
		return bRoots.each(tx, func(_, v []byte) error {
			all = append(all, bytes.Clone(v))
			return nil
		})
	})
	return all, err
}

// takeRoots checks the roots of a change: no one could remove a wrong one.
func (p *prepared) takeRoots(c renewer.Change) error {
	for _, der := range c.Roots {
		if _, err := x509.ParseCertificate(der); err != nil {
			return fmt.Errorf("%w: a root that is not a certificate: %w", ErrInvalid, err)
		}
	}
	p.roots = c.Roots
	return nil
}

// putCertificates stores certificates by their SHA-256.
func putCertificates(tx *bolt.Tx, b bucket, ders [][]byte) error {
	for _, der := range ders {
		key := sha256.Sum256(der)
		if err := b.put(tx, key[:], der[:len(der):len(der)]); err != nil {
			return err
		}
	}
	return nil
}

package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"

	"renewer/renewer"
)

// longestClimb is more than any real chain has.
const longestClimb = 16

// Climb returns the certificates above c, each having signed the one before,
// up to a root or as far as they go.
func Climb(c *x509.Certificate, among []*x509.Certificate) (path []*x509.Certificate) {
	for !SelfSigned(c) && len(path) < longestClimb {
		above := signerOf(c, among)
		if above == nil {
			break
		}
		path = append(path, above)
		c = above
	}
	return path
}

// Between is Climb without the root.
func Between(leaf *x509.Certificate, among []*x509.Certificate) []*x509.Certificate {
	path := Climb(leaf, among)
	if n := len(path); n > 0 && SelfSigned(path[n-1]) {
		path = path[:n-1]
	}
	return path
}

func signerOf(c *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, a := range among {
		if bytes.Equal(a.RawSubject, c.RawIssuer) && a.IsCA && c.CheckSignatureFrom(a) == nil {
			return a
		}
	}
	return nil
}

// SelfSigned reports whether c is a root.
func SelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.IsCA && c.CheckSignatureFrom(c) == nil
}

// What is wrong with what DecodeChain read.
var (
	ErrCutOff     = errors.New("it is truncated: a PEM block has no end")
	ErrPrivateKey = errors.New("the file contains a private key")
	ErrOtherKey   = errors.New("it has no certificate for the key of the request")
)

// DecodeChain reads what an issuer wrote for a key: PEM with the leaf and what is above
// it, in any order; the root and what does not belong to it are left out.
func DecodeChain(text []byte, key crypto.PublicKey) (renewer.Chain, error) {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return renewer.Chain{}, ErrPrivateKey
	}
	if bytes.Count(text, []byte("-----BEGIN ")) != bytes.Count(text, []byte("-----END ")) {
		return renewer.Chain{}, ErrCutOff
	}
	certs, err := DecodeCertificates(text)
	if err != nil {
		return renewer.Chain{}, err
	}
	for _, c := range certs {
		if pub, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && pub.Equal(key) {
			return renewer.Chain{Leaf: c, Intermediates: Between(c, certs)}, nil
		}
	}
	return renewer.Chain{}, ErrOtherKey
}

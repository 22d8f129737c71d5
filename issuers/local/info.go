package local

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Info describes a CA.
type Info = renewer.CAInfo

// Root returns the root that the CA leads to.
func (a *Authority) Root() *x509.Certificate { return a.root }

// Cert returns the certificate that signs.
func (a *Authority) Cert() *x509.Certificate { return a.chain[0] }

// Info returns what the CA is.
func (a *Authority) Info() Info {
	c := a.chain[0]
	limits, strict := []string{}, []string{}
	for _, ca := range a.path() {
		for _, limit := range pki.Limits(ca) {
			if !slices.Contains(limits, limit) {
				limits = append(limits, limit)
			}
		}
		for _, fault := range pki.StrictFaults(ca) {
			strict = append(strict, subject(ca)+": "+fault)
		}
	}
	var out []string
	for _, ca := range a.leftOut {
		out = append(out, fmt.Sprintf("%s, signed by %s (serial %s)", subject(ca), ca.Issuer, renewer.SerialHex(ca)))
	}
	return Info{
		Limits: limits, StrictPeers: strict, LeftOut: out,
		Issuer: a.name, Subject: c.Subject.String(), Root: a.root.Subject.String(),
		Serial: renewer.SerialHex(c), Fingerprint: renewer.Fingerprint(c.Raw),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		Key: keyType(c.PublicKey), PathLen: pki.PathLen(c), Encrypted: a.encrypted,
		CanSignCRL: a.mayNotSignCRL() == nil,
	}
}

func keyType(pub any) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d", k.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return string(renewer.Ed25519)
	default:
		return fmt.Sprintf("%T", pub)
	}
}

package pki

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"

	"renewer/renewer"
)

// Trial says beforehand what a CA's limits make of a request: a chain with the
// same limits is signed with a key of a moment, and asked about as a peer would.
type Trial struct {
	key  ed25519.PrivateKey
	path []*x509.Certificate // the signing CA, then what is above it up to the root
	now  time.Time
}

// NewTrial tries requests of a CA; path leads from it to its root. It returns
// nil where the CA has no limits, and nil refuses nothing.
func NewTrial(path []*x509.Certificate, now time.Time) (*Trial, error) {
	limited := false
	for below, c := range path {
		limited = limited || Limited(c, below)
	}
	if !limited {
		return nil, nil
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	t := &Trial{key: key, now: now, path: make([]*x509.Certificate, len(path))}
	for i := len(path) - 1; i >= 0; i-- {
		c := *path[i]
		c.SignatureAlgorithm, c.ExtraExtensions = x509.UnknownSignatureAlgorithm, nil
		for _, e := range c.Extensions {
			for _, unknown := range c.UnhandledCriticalExtensions {
				if e.Id.Equal(unknown) {
					c.ExtraExtensions = append(c.ExtraExtensions, e)
				}
			}
		}
		c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(time.Hour) // its dates are another question
		above := &c
		if i < len(path)-1 {
			above = t.path[i+1]
		}
		if t.path[i], err = t.sign(&c, above); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// Refuses returns why peers would refuse what the CA signs for a request.
func (t *Trial) Refuses(r renewer.Request) error {
	if t == nil {
		return nil
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: r.CommonName},
		NotBefore: t.now.Add(-time.Minute), NotAfter: t.now.Add(time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	leaf.DNSNames, leaf.IPAddresses = renewer.SplitSANs(r.SANs)
	for _, u := range r.Usages {
		leaf.ExtKeyUsage = append(leaf.ExtKeyUsage, map[renewer.Usage]x509.ExtKeyUsage{
			renewer.UsageServer: x509.ExtKeyUsageServerAuth, renewer.UsageClient: x509.ExtKeyUsageClientAuth,
		}[u])
	}
	signed, err := t.sign(leaf, t.path[0])
	if err != nil {
		return err
	}
	top := len(t.path) - 1
	return Accepted(renewer.Chain{Leaf: signed, Intermediates: t.path[:top]}, t.path[top:], r.Usages, t.now)
}

func (t *Trial) sign(c, above *x509.Certificate) (*x509.Certificate, error) {
	parent := *above
	parent.PublicKey = t.key.Public()
	der, err := x509.CreateCertificate(nil, c, &parent, t.key.Public(), t.key)
	if err != nil {
		return nil, fmt.Errorf("test what %s is allowed to sign: %w", above.Subject, err)
	}
	return x509.ParseCertificate(der)
}

package local

import (
	"crypto"
	"crypto/x509"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"renewer/renewer/pki"
)

// mayHaveBelow refuses where peers would not accept that many CAs below this
// one. Without a parent there is nothing to ask.
func (a *Authority) mayHaveBelow(n int) error {
	if a == nil {
		return nil
	}
	for _, c := range a.path() {
		if allowed := pki.PathLen(c); allowed >= 0 && allowed < n {
			return misconfigured("a CA made by renewer ca init "+a.name+" --path-length 1 may have one below it; the path length of one that is there cannot be changed",
				"issuer %s: %s may have %d CAs below it (path length)", a.name, subject(c), allowed)
		}
		n++
	}
	return a.validAt(a.clock())
}

// signBelow signs the certificate of a CA below this one.
func (a *Authority) signBelow(o CreateOptions, pub crypto.PublicKey) ([]*x509.Certificate, error) {
	now := a.clock()
	tmpl := authorityTemplate(o, now)
	if o.Lifetime == 0 {
		tmpl.NotAfter = now.Truncate(time.Second).AddDate(5, 0, 0)
	}
	for _, c := range a.path() {
		if c.NotAfter.Before(tmpl.NotAfter) {
			tmpl.NotAfter = c.NotAfter
		}
		if c.NotBefore.After(tmpl.NotBefore) {
			tmpl.NotBefore = c.NotBefore
		}
	}
	tmpl.PublicKey, tmpl.AuthorityKeyId = pub, a.authority
	signed, err := a.cas.CreateCertificate(&apiv1.CreateCertificateRequest{Template: tmpl, Lifetime: tmpl.NotAfter.Sub(now)})
	if err != nil {
		return nil, err
	}
	return append([]*x509.Certificate{signed.Certificate}, a.path()...), nil
}

// mustBeRoot refuses to replace an intermediate, which only the CA above it can.
func (a *Authority) mustBeRoot() error {
	if a.chain[0] == a.root {
		return nil
	}
	return misconfigured(fromAbove(a.name),
		"issuer %s: %s was signed by %s, and only that can replace it", a.name, subject(a.chain[0]), subject(a.root))
}

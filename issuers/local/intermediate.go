package local

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"

	"renewer/renewer/pki"
)

// mayHaveBelow refuses where peers would not accept that many CAs below this
// one. Without a parent there is nothing to ask.
func (a *Authority) mayHaveBelow(below string, n int) error {
	if a == nil {
		return nil
	}
	need, option := n, ""
	if need > 1 {
		option = fmt.Sprintf(" --path-length %d", need-1)
	}
	anew := func(top string) string {
		return fmt.Sprintf("renewer ca init %s --path-length %d; renewer ca init %s --intermediate-of %[1]s%[4]s", top, need, below, option)
	}
	for _, c := range a.path() {
		if allowed := pki.PathLen(c); allowed >= 0 && allowed < n {
			return misconfigured(fmt.Sprintf("create it below another CA: add %[1]s-top: {type: local} to the issuers, then: %[2]s; or, if no peer trusts %[1]s yet, create it again: mv %[3]s %[3]s.unused; mv %[4]s %[4]s.unused; %[5]s",
				a.name, anew(a.name+"-top"), a.certFile, a.keyFile, anew(a.name)),
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
		"issuer %s: %s was signed by %s, and only that CA can replace it", a.name, subject(a.chain[0]), subject(a.root))
}

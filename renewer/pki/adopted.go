package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"renewer/renewer"
)

// Adopted returns what is in place as generation 0 of c, to be renewed by its
// own dates. It must be what an issuer could have returned for the entry: key,
// names, usages, a chain to one of the roots, and not expired. Warnings say what
// else differs from the entry, which holds from the next renewal on.
func Adopted(c renewer.Certificate, content map[renewer.FileKind][]byte, roots []*x509.Certificate, now time.Time) (g renewer.Generation, warnings []string, err error) {
	chain, key, err := pairIn(content)
	if err != nil {
		return g, nil, err
	}
	leaf := chain.Leaf
	if !now.Before(leaf.NotAfter) {
		return g, nil, renewer.WithHint(fmt.Errorf("it expired at %s", date(leaf.NotAfter)), "renewer renew "+c.Name+" issues a new certificate")
	}
	if !Belongs(key, leaf) {
		return g, nil, renewer.WithHint(errors.New("the key does not match the certificate"), "correct the pair, or run renewer renew "+c.Name)
	}
	order := renewer.Order{Certificate: c.Name, Request: c.Request(), Key: key}
	order.Lifetime = time.Second // what is left is all that is asked of it
	under, err := check(order, c.Strict, chain, roots, now)
	if err != nil {
		return g, nil, renewer.WithHint(err, "renewer renew "+c.Name+" issues a correct one; or change the entry to match the current certificate (for a CA that openssl made: renewer ca import)")
	}
	note := func(field, has, wants string) {
		if has != wants {
			warnings = append(warnings, fmt.Sprintf("%s is %s; the next one has %s", field, has, wants))
		}
	}
	note("common name", leaf.Subject.CommonName, c.CommonName)
	note("sans", set(renewer.SANs(leaf)), set(c.SANs))
	note("usages", set(renewer.UsagesOf(leaf)), set(c.Usages))
	g = renewer.NewGeneration(c.Name, 0, c.Request(), chain, c.Renewal, leaf.NotBefore)
	g.Under = under
	to := only(roots, under)
	g.EndBy(End(chain, to))
	if ca := endsFirst(chain, to); ca != nil {
		warnings = append(warnings, fmt.Sprintf("it expires with its CA %s at %s, before its own notAfter", ca.Subject, date(ca.NotAfter)))
	}
	return g, warnings, nil
}

// pairIn finds the chain and the key in files.
func pairIn(content map[renewer.FileKind][]byte) (chain renewer.Chain, key crypto.Signer, err error) {
	for _, kind := range []renewer.FileKind{renewer.FileCert, renewer.FileBundle, renewer.FileLeaf} {
		text, ok := content[kind]
		if !ok || chain.Leaf != nil {
			continue
		}
		certs, err := DecodeCertificates(text)
		if err != nil {
			return chain, nil, fmt.Errorf("%s: %w", kind, err)
		}
		chain.Leaf = certs[0]
		for _, c := range certs[1:] {
			if string(c.RawSubject) != string(c.RawIssuer) { // the guide's scripts may append the root
				chain.Intermediates = append(chain.Intermediates, c)
			}
		}
	}
	for _, kind := range []renewer.FileKind{renewer.FileKey, renewer.FileBundle} {
		if text, ok := content[kind]; ok && key == nil {
			if key, err = DecodeKey(text); err != nil {
				return chain, nil, fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	if chain.Leaf == nil || key == nil {
		return chain, nil, errors.New("the files of the entry have no certificate with its key")
	}
	return chain, key, nil
}

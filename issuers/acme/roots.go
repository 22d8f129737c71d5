package acme

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"slices"

	"renewer/internal/atomicfile"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// systemFiles are where systems have the roots of public CAs, as crypto/x509 looks for them.
var systemFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Gentoo
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7 and later
	"/etc/ssl/cert.pem",                                 // Alpine
}

// Roots returns the roots that the certificates may lead to: those of the file or, for a
// public CA, those of this machine. An ACME server does not say which it has; of a public
// one they are those that its certificates led to, as soon as there is one, so that the
// roots of all other CAs are no concern of its peers.
func (i *Issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	roots, err := i.roots()
	if err == nil && i.cfg.Public() {
		err = i.with(func(a *account) (bool, error) {
			led := func(r *x509.Certificate) bool { return slices.Contains(a.Roots, renewer.Fingerprint(r.Raw)) }
			if slices.ContainsFunc(roots, led) {
				roots = slices.DeleteFunc(roots, func(r *x509.Certificate) bool { return !led(r) })
			}
			return false, nil
		})
	}
	if err != nil {
		return nil, i.failed(ctx, "get the roots", err)
	}
	return roots, nil
}

// ledTo notes the roots of this machine that a certificate leads to.
func (i *Issuer) ledTo(chain renewer.Chain, roots []*x509.Certificate) error {
	if !i.cfg.Public() {
		return nil
	}
	under := pki.Under(chain, roots)
	return i.with(func(a *account) (changed bool, err error) {
		for _, r := range roots {
			if f := renewer.Fingerprint(r.Raw); slices.Contains(under, renewer.RootID(r.Raw)) && !slices.Contains(a.Roots, f) {
				a.Roots, changed = append(a.Roots, f), true
			}
		}
		return changed, nil
	})
}

func (i *Issuer) roots() ([]*x509.Certificate, error) {
	if !i.cfg.Public() {
		return readRoots(i.cfg.Roots, "set roots of issuer "+i.cfg.Name+" to the PEM file of the root that the CA signs under")
	}
	files := systemFiles
	if own := os.Getenv("SSL_CERT_FILE"); own != "" {
		files = []string{own}
	}
	const hint = "install the package ca-certificates, or set SSL_CERT_FILE"
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			roots, err := readRoots(file, hint)
			return slices.DeleteFunc(roots, func(r *x509.Certificate) bool { return i.now().After(r.NotAfter) }), err
		}
	}
	return nil, misconfigured(hint, "this machine has no file of system roots, but roots is %s", System)
}

// readRoots skips what is no CA; of a bundle of a system that is nothing.
func readRoots(file, hint string) ([]*x509.Certificate, error) {
	text, err := atomicfile.ReadLimited(file, maxFile)
	if err != nil {
		return nil, misconfigured(hint, "read the roots: %w", err)
	}
	certs, err := pki.DecodeCertificates(text)
	if err != nil {
		return nil, misconfigured(hint, "%s: %w", file, err)
	}
	certs = slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA && !bytes.Equal(c.RawIssuer, c.RawSubject) })
	if len(certs) == 0 {
		return nil, misconfigured(hint, "%s has no CA certificate", file)
	}
	return certs, nil
}

// download fetches the chains of the certificate, and takes one of them.
func (j *job) download(ctx context.Context) (renewer.Chain, error) {
	offered, err := j.s.client.GetCertificateChain(ctx, j.s.account, j.is.Certificate)
	if err != nil {
		return renewer.Chain{}, err
	}
	var chains []renewer.Chain
	for _, o := range offered {
		certs, err := pki.DecodeCertificates(o.ChainPEM)
		if err != nil || len(certs) == 0 {
			return renewer.Chain{}, retry(0, "check the log of the ACME server", "the server's answer has no certificate: %w", errors.Join(err))
		}
		chains = append(chains, renewer.Chain{Leaf: certs[0], Intermediates: certs[1:]})
	}
	if len(chains) == 0 {
		return renewer.Chain{}, retry(0, "check the log of the ACME server", "the server returned no certificate")
	}
	roots, err := j.roots()
	if err != nil {
		return renewer.Chain{}, err
	}
	chain, preferred := pick(chains, j.cfg.PreferredChain, roots)
	if !preferred {
		slog.Warn("the ACME server has no chain to the preferred root; using its first chain", "issuer", j.cfg.Name, "certificate", j.order.Certificate, "preferred_chain", j.cfg.PreferredChain)
	}
	return chain, j.ledTo(chain, roots)
}

// pick returns the chain that leads to the preferred root, which is named by its common
// name. Without a preference it is the first that leads to one of the roots.
func pick(chains []renewer.Chain, preferred string, roots []*x509.Certificate) (chain renewer.Chain, found bool) {
	if preferred != "" {
		for _, c := range chains {
			if top := last(c); top.Issuer.CommonName == preferred || top.Subject.CommonName == preferred && pki.SelfSigned(top) {
				return withoutRoot(c), true
			}
		}
	}
	for _, c := range chains {
		if c := toRoot(withoutRoot(c), roots); len(pki.Under(c, roots)) > 0 {
			return c, preferred == ""
		}
	}
	return withoutRoot(chains[0]), preferred == ""
}

func last(c renewer.Chain) *x509.Certificate {
	if n := len(c.Intermediates); n > 0 {
		return c.Intermediates[n-1]
	}
	return c.Leaf
}

// withoutRoot leaves out a root that the server sends: peers have it.
func withoutRoot(c renewer.Chain) renewer.Chain {
	c.Intermediates = slices.DeleteFunc(slices.Clone(c.Intermediates), pki.SelfSigned)
	return c
}

// toRoot ends a chain below the first of the roots: what is above it was signed across,
// for peers that do not have the root yet.
func toRoot(c renewer.Chain, roots []*x509.Certificate) renewer.Chain {
	path := append([]*x509.Certificate{c.Leaf}, c.Intermediates...)
	for k, below := range path {
		if slices.ContainsFunc(roots, func(r *x509.Certificate) bool {
			return bytes.Equal(below.RawIssuer, r.RawSubject) && below.CheckSignatureFrom(r) == nil
		}) {
			return renewer.Chain{Leaf: c.Leaf, Intermediates: path[1 : k+1]}
		}
	}
	return c
}

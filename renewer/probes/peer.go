package probes

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"renewer/renewer"
)

// peer is the certificate that a server showed, and what is wrong with it.
type peer struct {
	leaf   *x509.Certificate
	err    error             // a *renewer.ProbeError
	before *x509.Certificate // was verified a moment ago; nil for none
}

// verify holds what is served against what should be: first which leaf it is,
// then everything a peer looks at.
func (p *peer) verify(served []*x509.Certificate, r renewer.ProbeRequest, name string, now time.Time) error {
	address := r.Placement.Probe.Address
	if len(served) == 0 {
		return errors.New("no certificate served") // not in TLS with certificates
	}
	p.leaf = served[0]
	if got := renewer.Fingerprint(p.leaf.Raw); r.Expect.Leaf != "" && got != r.Expect.Leaf {
		p.err = &renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: renewer.WithHint(
			fmt.Errorf("%s serves %s (%s, valid until %s) instead of %s", address, renewer.ShortPrint(got), p.leaf.Subject,
				p.leaf.NotAfter.UTC().Format(time.RFC3339), renewer.ShortPrint(r.Expect.Leaf)),
			"the service has not loaded its new files, or another service answers at this address")}
		return p.err
	}
	if p.before != nil && p.leaf.Equal(p.before) {
		return nil
	}
	roots, inters := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range r.Roots {
		roots.AddCert(c)
	}
	for _, c := range served[1:] {
		inters.AddCert(c)
	}
	_, err := p.leaf.Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: inters, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		p.err = &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: explain(err, address, name, p.leaf, now)}
		return p.err
	}
	return nil
}

// explain says why a peer would refuse the certificate, with a hint.
func explain(err error, address, name string, leaf *x509.Certificate, now time.Time) error {
	var wrongName x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	what := "the certificate of " + address
	switch {
	case errors.As(err, &wrongName):
		covers := "no name"
		if sans := renewer.SANs(leaf); len(sans) > 0 {
			covers = "only " + strings.Join(sans, ", ")
		}
		return renewer.WithHint(fmt.Errorf("%s is not for %s: it covers %s", what, name, covers), "add the name to sans:, or set server_name: of the probe to a name that it covers")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		bad := leaf
		if invalid.Cert != nil {
			bad = invalid.Cert
		}
		whose := what
		if bad != leaf {
			whose = fmt.Sprintf("%q in the chain of %s", bad.Subject, address)
		}
		when := "expired at " + stamp(bad.NotAfter) // and not what time it is: the same answer is reported once
		if now.Before(bad.NotBefore) {
			when = "is not valid before " + stamp(bad.NotBefore)
		}
		return renewer.WithHint(fmt.Errorf("%s %s", whose, when), "renew it; if the dates look correct, compare the clocks")
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return renewer.WithHint(fmt.Errorf("%s is not a server certificate: it does not have the usage serverAuth", what), "add server to usages: of the certificate")
	case errors.As(err, &unknown):
		return renewer.WithHint(fmt.Errorf("%s is signed by %q, which leads to none of the trusted roots: %w", what, leaf.Issuer, err), "the service has to serve the intermediates too (the file of kind cert has them), and trust: has to name the CA")
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

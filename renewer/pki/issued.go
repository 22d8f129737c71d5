package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// unusable says what is wrong in words of its own, and is those above.
type unusable struct {
	error
	short bool
}

func (e *unusable) Unwrap() error { return e.error }
func (e *unusable) Is(target error) bool {
	return target == renewer.ErrUnusable || e.short && target == renewer.ErrTooShort
}

// CheckIssued compares what an issuer returned with what was asked. An error
// (refused, and renewer.ErrUnusable) means that the leaf must never be pushed. Warnings
// say what the issuer added or shortened. The chain has to lead to one of the roots. Where
// a CA above the leaf expires first, the leaf is taken until then (see End), and refused
// under strict.
//
// At last the chain is looked at as peers will: see Accepted.
func CheckIssued(o renewer.Order, strict bool, chain renewer.Chain, roots []*x509.Certificate, now time.Time) (under renewer.RootSet, err error) {
	if under, err = check(o, strict, chain, roots, now); err != nil || !strict {
		return under, err
	}
	for _, more := range renewer.BeyondDates(o.Lifetime, chain.Leaf.NotBefore, chain.Leaf.NotAfter, now) {
		return nil, refusal(o, "%s (strict: true)", more)
	}
	if ca := endsFirst(chain, only(roots, under)); ca != nil {
		return nil, refusal(o, "expires at %s, after its CA %s, which expires at %s (strict: true)", date(chain.Leaf.NotAfter), ca.Subject, date(ca.NotAfter))
	}
	for _, fault := range ChainFaults(chain) {
		return nil, refusal(o, "is refused by peers that verify strictly: %s (strict: true)", fault)
	}
	return under, nil
}

// errOtherRoot is fixed in the entry of the issuer, and not at the CA.
var errOtherRoot = errors.New("which is not a root of the issuer")

func refusal(o renewer.Order, format string, a ...any) error {
	why := fmt.Errorf("%s: the certificate from issuer %s "+format, append([]any{o.Certificate, o.Issuer}, a...)...)
	hint := "compare template, role or policy of the issuer with the entry"
	if errors.Is(why, errOtherRoot) {
		hint = "configure the issuer to return the intermediates; or, if you trust that other CA, set root_file: or roots: of issuer " + o.Issuer + " to its root, in PEM"
	}
	return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: &unusable{error: why}}
}

// check is all of CheckIssued that holds of what was adopted too.
func check(o renewer.Order, strict bool, chain renewer.Chain, roots []*x509.Certificate, now time.Time) (under renewer.RootSet, err error) {
	leaf := chain.Leaf
	refuse := func(format string, a ...any) error { return refusal(o, format, a...) }
	if leaf == nil {
		return nil, refuse("is missing")
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(o.Key.Public()) {
		return nil, refuse("has another key than the order")
	}
	if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		return nil, refuse("is a CA certificate")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, refuse("has a keyUsage without digitalSignature, so TLS 1.3 peers refuse it")
	}
	for _, compared := range []struct {
		what       string
		asked, got []string
	}{
		{"SANs", o.SANs, renewer.SANs(leaf)}, {"usages", texts(o.Usages), texts(renewer.UsagesOf(leaf))},
	} {
		if missing := without(compared.asked, compared.got); len(missing) > 0 {
			return nil, refuse("lacks the %s %s", compared.what, strings.Join(missing, ", "))
		}
		if extra := without(compared.got, compared.asked); len(extra) > 0 && strict {
			return nil, refuse("has the %s %s, which was not requested (strict: true)", compared.what, strings.Join(extra, ", "))
		}
	}
	// A public CA leaves it out, or makes it one of the names: that adds nothing.
	if cn := leaf.Subject.CommonName; cn != o.CommonName && strict && cn != "" && !slices.Contains(o.SANs, cn) {
		return nil, refuse("has the common name %q instead of %q (strict: true)", leaf.Subject.CommonName, o.CommonName)
	}
	if err := bounded(chain); err != nil {
		return nil, refuse("%w", err)
	}
	if under, err = checkChain(chain, roots, refuse); err != nil {
		return nil, err
	}
	for _, c := range slices.Concat([]*x509.Certificate{leaf}, chain.Intermediates, only(roots, under)) {
		if c.NotBefore.After(now) {
			return nil, &renewer.Error{
				Class: renewer.ClassRetry, Hint: "compare the clocks of this machine and the issuer",
				Err: fmt.Errorf("%s: issuer %s returned a certificate that is not valid yet: %s is valid from %s, and the clock of this machine is at %s", o.Certificate, o.Issuer, c.Subject, date(c.NotBefore), date(now)),
			}
		}
	}
	if err := asPeers(chain, only(roots, under), o.Usages, now); err != nil {
		return nil, refuse("would be refused by peers: %w", err)
	}
	if end := End(chain, only(roots, under)); end.Sub(now) < o.Lifetime/10 {
		what := "expires at " + date(end)
		if ca := endsFirst(chain, only(roots, under)); ca != nil {
			what = fmt.Sprintf("expires with its CA %s at %s", ca.Subject, date(end))
		}
		return nil, &renewer.Error{
			Class: renewer.ClassRefused, Hint: "raise the maximum lifetime of the issuer, or set a shorter lifetime: of the entry; if the CA expires soon, replace it",
			Err: &unusable{short: true, error: fmt.Errorf("%s: the certificate from issuer %s %s: less than a tenth of the requested %s",
				o.Certificate, o.Issuer, what, o.Lifetime)},
		}
	}
	return under, nil
}

// End is until when peers accept a chain that leads to each of the roots: its leaf may end
// after a CA above it.
func End(chain renewer.Chain, roots []*x509.Certificate) time.Time {
	if ca := endsFirst(chain, roots); ca != nil {
		return ca.NotAfter
	}
	return chain.Leaf.NotAfter
}

// endsFirst is the CA above a leaf that expires first, if that is before the leaf. Of several
// roots the one that lasts longest counts.
func endsFirst(chain renewer.Chain, roots []*x509.Certificate) (first *x509.Certificate) {
	above := slices.Clone(chain.Intermediates)
	if len(roots) > 0 {
		above = append(above, slices.MaxFunc(roots, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }))
	}
	end := chain.Leaf.NotAfter
	for _, ca := range above {
		if ca.NotAfter.Before(end) {
			first, end = ca, ca.NotAfter
		}
	}
	return first
}

// asPeers asks as the peers of the leaf will, with the roots that it leads to.
// What holds now holds at the renew time, which is before the End of the chain. What this
// process signed itself is asked only where its CA has limits.
func asPeers(chain renewer.Chain, roots []*x509.Certificate, usages []renewer.Usage, now time.Time) error {
	if err := netscapeRefuses(chain.Leaf, usages); err != nil {
		return err
	}
	limited := len(chain.Leaf.UnhandledCriticalExtensions) > 0
	for below, ca := range chain.Intermediates {
		limited = limited || Limited(ca, below)
	}
	for _, ca := range roots {
		limited = limited || Limited(ca, len(chain.Intermediates))
	}
	if chain.SignedBy != nil && !limited {
		return nil
	}
	return Accepted(chain, roots, usages, now)
}

func bounded(chain renewer.Chain) error {
	size := len(chain.Leaf.Raw)
	for _, c := range chain.Intermediates {
		size += len(c.Raw)
	}
	if n := len(chain.Intermediates) + 1; n > maxChain || size > maxChainBytes {
		return fmt.Errorf("has a chain of %d certificates and %d bytes, which peers refuse: the limits are %d and %d", n, size, maxChain, maxChainBytes)
	}
	return nil
}

// only returns those of the roots that are in a set.
func only(roots []*x509.Certificate, set renewer.RootSet) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(roots), func(c *x509.Certificate) bool { return !slices.Contains(set, renewer.RootID(c.Raw)) })
}

// checkChain returns the roots that the chain leads to.
func checkChain(chain renewer.Chain, roots []*x509.Certificate, refuse func(string, ...any) error) (renewer.RootSet, error) {
	for _, c := range append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...) {
		if Weak(c) && !bytes.Equal(c.RawSubject, c.RawIssuer) {
			return nil, refuse("is refused by peers: %s is signed with %s by %s; SHA-256 or better is required", c.Subject, c.SignatureAlgorithm, c.Issuer)
		}
	}
	child := chain.Leaf
	for _, parent := range chain.Intermediates {
		if err := checkSignature(chain, child, parent); err != nil {
			return nil, refuse("has an invalid chain: %s is not signed by %s: %w", child.Subject, parent.Subject, err)
		}
		child = parent
	}
	var outlive, under []string // a root and its successor may share name and key: one that lasts is enough
	for _, root := range roots {
		if bytes.Equal(root.RawSubject, child.RawIssuer) && checkSignature(chain, child, root) == nil {
			under = append(under, renewer.RootID(root.Raw))
			if !chain.Leaf.NotAfter.After(root.NotAfter) {
				outlive = append(outlive, renewer.RootID(root.Raw))
			}
		}
	}
	switch {
	case len(outlive) > 0:
		return renewer.NewRootSet(outlive...), nil
	case len(under) > 0:
		return renewer.NewRootSet(under...), nil
	}
	return nil, refuse("chains to %s, %w", child.Issuer, errOtherRoot)
}

// checkSignature verifies a signature, but that of a leaf not again which its
// signer verified as it was made: see renewer.Chain. What is in doubt is verified.
func checkSignature(chain renewer.Chain, child, parent *x509.Certificate) error {
	verified := child == chain.Leaf && chain.SignedBy != nil && chain.SignedBy.Equal(parent)
	if verified && !Weak(child) && child.SignatureAlgorithm != x509.UnknownSignatureAlgorithm && parent.IsCA && parent.KeyUsage&x509.KeyUsageCertSign != 0 {
		return nil
	}
	return child.CheckSignatureFrom(parent)
}

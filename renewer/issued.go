package renewer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CheckIssued compares what an issuer returned with what was asked. An error
// (refused) means that the leaf must never be pushed. Warnings say what the
// issuer added or shortened. The chain has to lead to one of the roots and no
// certificate in it may end before the leaf.
func CheckIssued(o Order, strict bool, chain Chain, roots []*x509.Certificate, now time.Time) (warnings []string, err error) {
	leaf := chain.Leaf
	refuse := func(format string, a ...any) error {
		return &Error{Class: ClassRefused, Err: fmt.Errorf("%s: the certificate from issuer %s "+format, append([]any{o.Certificate, o.Issuer}, a...)...)}
	}
	if leaf == nil {
		return nil, refuse("is missing")
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(o.Key.Public()) {
		return nil, refuse("has another key than the order")
	}
	added := func(what string, asked, got []string) error {
		missing, extra := without(asked, got), without(got, asked)
		switch {
		case len(missing) > 0:
			return refuse("lacks the %s %s", what, strings.Join(missing, ", "))
		case len(extra) > 0 && strict:
			return refuse("has the %s %s, which nobody asked for (strict: true)", what, strings.Join(extra, ", "))
		case len(extra) > 0:
			warnings = append(warnings, fmt.Sprintf("issuer %s added the %s %s", o.Issuer, what, strings.Join(extra, ", ")))
		}
		return nil
	}
	if err := added("SANs", o.SANs, SANs(leaf)); err != nil {
		return nil, err
	}
	if err := added("usages", texts(o.Usages), texts(UsagesOf(leaf))); err != nil {
		return nil, err
	}
	if err := checkChain(chain, roots, refuse); err != nil {
		return nil, err
	}
	given, asked := leaf.NotAfter.Sub(now), o.Lifetime
	switch {
	case leaf.NotBefore.After(now):
		return nil, &Error{
			Class: ClassRetry, Hint: "compare the clocks of this machine and of the issuer",
			Err: fmt.Errorf("%s: the certificate from issuer %s is valid only from %s, and it is %s here", o.Certificate, o.Issuer, date(leaf.NotBefore), date(now)),
		}
	case given < asked/10:
		return nil, refuse("ends at %s: less than a tenth of the %s asked for", date(leaf.NotAfter), asked)
	case given < asked-max(2*time.Minute, asked/100) && given < asked*99/100:
		warnings = append(warnings, fmt.Sprintf("issuer %s shortened the lifetime from %s to %s", o.Issuer, asked, given.Round(time.Second)))
	}
	return warnings, nil
}

func checkChain(chain Chain, roots []*x509.Certificate, refuse func(string, ...any) error) error {
	outlives := func(ca *x509.Certificate) error {
		if chain.Leaf.NotAfter.After(ca.NotAfter) {
			return refuse("ends at %s, after its CA %s, which ends at %s", date(chain.Leaf.NotAfter), ca.Subject, date(ca.NotAfter))
		}
		return nil
	}
	child := chain.Leaf
	for _, parent := range chain.Intermediates {
		if err := child.CheckSignatureFrom(parent); err != nil {
			return refuse("has a chain that does not hold: %s is not signed by %s: %w", child.Subject, parent.Subject, err)
		}
		if err := outlives(parent); err != nil {
			return err
		}
		child = parent
	}
	for _, root := range roots {
		if bytes.Equal(root.RawSubject, child.RawIssuer) && child.CheckSignatureFrom(root) == nil {
			return outlives(root)
		}
	}
	return refuse("leads to %s, which is none of the issuer's roots", child.Issuer)
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool {
		return slices.ContainsFunc(b, func(t string) bool { return strings.EqualFold(s, t) })
	})
}

func texts[T ~string](in []T) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, string(s))
	}
	return out
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

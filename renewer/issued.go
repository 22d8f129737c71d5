package renewer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What CheckIssued refuses, the order being what it was. ErrTooShort is one of
// the ways to be unusable.
var (
	ErrUnusable = errors.New("what the issuer signed cannot be used")
	ErrTooShort = errors.New("the issuer gave less than a tenth of the lifetime")
)

// unusable says what is wrong in words of its own, and is those above.
type unusable struct {
	error
	short bool
}

func (e *unusable) Unwrap() error { return e.error }
func (e *unusable) Is(target error) bool {
	return target == ErrUnusable || e.short && target == ErrTooShort
}

// CheckIssued compares what an issuer returned with what was asked. An error
// (refused, and ErrUnusable) means that the leaf must never be pushed. Warnings
// say what the issuer added or shortened. The chain has to lead to one of the
// roots and no certificate in it may end before the leaf.
func CheckIssued(o Order, strict bool, chain Chain, roots []*x509.Certificate, now time.Time) (warnings []string, err error) {
	leaf := chain.Leaf
	refuse := func(format string, a ...any) error {
		why := fmt.Errorf("%s: the certificate from issuer %s "+format, append([]any{o.Certificate, o.Issuer}, a...)...)
		return &Error{Class: ClassRefused, Hint: "compare the issuer's template, role or policy with the entry", Err: &unusable{error: why}}
	}
	if leaf == nil {
		return nil, refuse("is missing")
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(o.Key.Public()) {
		return nil, refuse("has another key than the order")
	}
	if leaf.IsCA || leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		return nil, refuse("may sign certificates itself: it is a CA")
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, refuse("has a keyUsage without digitalSignature, so no TLS 1.3 peer takes it")
	}
	for _, compared := range []struct {
		what       string
		asked, got []string
	}{
		{"SANs", o.SANs, SANs(leaf)}, {"usages", texts(o.Usages), texts(UsagesOf(leaf))},
	} {
		if missing := without(compared.asked, compared.got); len(missing) > 0 {
			return nil, refuse("lacks the %s %s", compared.what, strings.Join(missing, ", "))
		}
		if extra := without(compared.got, compared.asked); len(extra) > 0 && strict {
			return nil, refuse("has the %s %s, which nobody asked for (strict: true)", compared.what, strings.Join(extra, ", "))
		}
	}
	if leaf.Subject.CommonName != o.CommonName && strict {
		return nil, refuse("has the common name %q instead of %q (strict: true)", leaf.Subject.CommonName, o.CommonName)
	}
	if err := checkChain(chain, roots, refuse); err != nil {
		return nil, err
	}
	switch given := leaf.NotAfter.Sub(now); {
	case leaf.NotBefore.After(now):
		return nil, &Error{
			Class: ClassRetry, Hint: "compare the clocks of this machine and of the issuer",
			Err: fmt.Errorf("%s: the certificate from issuer %s is valid only from %s, and it is %s here", o.Certificate, o.Issuer, date(leaf.NotBefore), date(now)),
		}
	case given < o.Lifetime/10:
		return nil, &Error{
			Class: ClassRefused, Hint: "raise the issuer's longest lifetime, or ask for less: lifetime of the entry; a CA that is about to end has to be replaced",
			Err: &unusable{short: true, error: fmt.Errorf("%s: the certificate from issuer %s ends at %s: less than a tenth of the %s asked for",
				o.Certificate, o.Issuer, date(leaf.NotAfter), o.Lifetime)},
		}
	}
	return NewGeneration(o.Certificate, 0, o.Request, chain, Renewal{}, now).Warnings(nil), nil
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
	err := refuse("leads to %s, which is none of the issuer's roots", child.Issuer)
	for _, root := range roots { // a root and its successor may share name and key: one is enough
		if bytes.Equal(root.RawSubject, child.RawIssuer) && child.CheckSignatureFrom(root) == nil {
			if err = outlives(root); err == nil {
				return nil
			}
		}
	}
	return err
}

// Warnings say what the issuer added to a generation, left out of its subject,
// or shortened. What it did alike to the one before (nil: none) is left out: a
// person who knows is not told at every renewal.
func (g Generation) Warnings(before *Generation) []string {
	if before == nil || before.Request.Issuer != g.Request.Issuer {
		before = &Generation{ // all as it was asked for
			Request: g.Request, SANs: g.Request.SANs, Usages: g.Request.Usages, CommonName: g.Request.CommonName,
			IssuedAt: g.IssuedAt, NotAfter: g.IssuedAt.Add(g.Request.Lifetime),
		}
	}
	var out []string
	added := func(what string, extra, known []string) {
		if news := without(extra, known); len(news) > 0 {
			out = append(out, fmt.Sprintf("issuer %s added the %s %s", g.Request.Issuer, what, strings.Join(extra, ", ")))
		}
	}
	added("SANs", without(g.SANs, g.Request.SANs), without(before.SANs, before.Request.SANs))
	added("usages", without(texts(g.Usages), texts(g.Request.Usages)), without(texts(before.Usages), texts(before.Request.Usages)))
	if g.CommonName != g.Request.CommonName && g.CommonName != before.CommonName {
		out = append(out, fmt.Sprintf("issuer %s gave the common name %q instead of %q", g.Request.Issuer, g.CommonName, g.Request.CommonName))
	}
	if given, asked := g.given(), g.Request.Lifetime; shorter(given, asked) {
		told := before.Request.Lifetime == asked && shorter(before.given(), asked) && !shorter(given, before.given())
		if !told {
			out = append(out, fmt.Sprintf("issuer %s shortened the lifetime from %s to %s; it is renewed by that", g.Request.Issuer, asked, given.Round(time.Second)))
		}
	}
	return out
}

// given is the lifetime that the issuer really gave.
func (g Generation) given() time.Duration { return g.NotAfter.Sub(g.IssuedAt) }

// shorter reports whether a lifetime is less than another by more than clocks
// and rounding explain.
func shorter(given, asked time.Duration) bool {
	return given < asked-max(2*time.Minute, asked/100) && given < asked*99/100
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

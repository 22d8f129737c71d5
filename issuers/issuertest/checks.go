package issuertest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/pki"
)

// slack is for the time that an order takes and for whole seconds.
const slack = 30 * time.Second

// checks return an error instead of failing a test, so that the suite's own
// tests can see them fail.
var checks = []struct {
	name  string
	check func(ctx context.Context, i Issuer, h Harness) error
}{
	{"healthy", func(ctx context.Context, i Issuer, _ Harness) error { return i.Health(ctx) }},
	{"server", func(ctx context.Context, i Issuer, h Harness) error {
		return h.sign(ctx, i, h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
	}},
	{"client", func(ctx context.Context, i Issuer, h Harness) error {
		return h.sign(ctx, i, h.Keys[0], nil, h.Lifetime, renewer.UsageClient)
	}},
	{"both", func(ctx context.Context, i Issuer, h Harness) error {
		return h.sign(ctx, i, h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer, renewer.UsageClient)
	}},
	{"client for minutes", func(ctx context.Context, i Issuer, h Harness) error {
		return h.sign(ctx, i, h.Keys[0], nil, h.Shortest, renewer.UsageClient)
	}},
	{"every key type", func(ctx context.Context, i Issuer, h Harness) error {
		for _, kind := range h.Keys {
			if err := h.sign(ctx, i, kind, h.SANs, h.Lifetime, renewer.UsageServer); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
		return nil
	}},
	{"cancelled", checkCancelled},
	{"same key again", checkSameKey},
	{"many at once", checkConcurrent},
}

func (h Harness) order(kind renewer.KeyType, sans []string, life time.Duration, usages ...renewer.Usage) (renewer.Order, error) {
	key, err := pki.NewKey(kind)
	name := "host-b.example.com"
	if len(sans) > 0 {
		name = sans[len(sans)-1]
	}
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		CommonName: name, SANs: sans, Usages: usages, Key: kind, Lifetime: life,
	}}, err
}

func (h Harness) sign(ctx context.Context, i Issuer, kind renewer.KeyType, sans []string, life time.Duration, usages ...renewer.Usage) error {
	if h.ServersOnly {
		usages = []renewer.Usage{renewer.UsageServer}
	}
	o, err := h.order(kind, sans, life, usages...)
	if err != nil {
		return err
	}
	before := time.Now()
	chain, err := i.Sign(ctx, o)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	roots, err := i.Roots(ctx)
	if err != nil {
		return fmt.Errorf("roots: %w", err)
	}
	return errors.Join(
		h.checkLeaf(o, chain.Leaf),
		h.checkDates(o, chain.Leaf, before),
		checkChain(chain, roots, usages),
		checkIntermediates(i, chain),
	)
}

func (h Harness) checkLeaf(o renewer.Order, leaf *x509.Certificate) error {
	var errs []error
	if pub, ok := o.Key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(leaf.PublicKey) {
		errs = append(errs, errors.New("the certificate is for another key"))
	}
	if leaf.IsCA {
		errs = append(errs, errors.New("the certificate is a CA"))
	}
	if leaf.Subject.CommonName != o.CommonName {
		errs = append(errs, fmt.Errorf("common name %q, want %q", leaf.Subject.CommonName, o.CommonName))
	}
	if leaf.SerialNumber.Sign() <= 0 || len(leaf.SerialNumber.Bytes()) > 20 {
		errs = append(errs, fmt.Errorf("serial %v is not positive or longer than 20 octets", leaf.SerialNumber))
	}
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		errs = append(errs, errors.New("key usage digitalSignature is missing"))
	}
	errs = append(errs,
		h.compare("SAN", o.SANs, renewer.SANs(leaf)),
		h.compare("usage", asText(o.Usages), asText(renewer.UsagesOf(leaf))))
	if n := len(leaf.ExtKeyUsage) + len(leaf.UnknownExtKeyUsage); !h.Adds && n != len(o.Usages) {
		errs = append(errs, fmt.Errorf("%d extended key usages, want %d", n, len(o.Usages)))
	}
	return errors.Join(errs...)
}

func (h Harness) compare(what string, want, got []string) error {
	var errs []error
	for _, w := range want {
		if !slices.Contains(got, w) {
			errs = append(errs, fmt.Errorf("%s %s is missing", what, w))
		}
	}
	for _, g := range got {
		if !h.Adds && !slices.Contains(want, g) {
			errs = append(errs, fmt.Errorf("%s %s was not asked for", what, g))
		}
	}
	return errors.Join(errs...)
}

// checkDates lets an issuer shorten, since the leaf says so: the schedule
// follows the real notAfter.
func (h Harness) checkDates(o renewer.Order, leaf *x509.Certificate, before time.Time) error {
	var errs []error
	if end := time.Now().Add(o.Lifetime + slack); leaf.NotAfter.After(end) {
		errs = append(errs, fmt.Errorf("ends at %s, more than %s from now", leaf.NotAfter, o.Lifetime))
	}
	if !leaf.NotAfter.After(time.Now()) {
		errs = append(errs, fmt.Errorf("ended at %s", leaf.NotAfter))
	}
	if leaf.NotBefore.After(time.Now()) || leaf.NotBefore.Before(before.Add(-h.Backdate-slack)) {
		errs = append(errs, fmt.Errorf("begins at %s, neither now nor %s before", leaf.NotBefore, h.Backdate))
	}
	return errors.Join(errs...)
}

// checkChain wants leaf, intermediates, root, each signed by the next, and
// nothing else.
func checkChain(chain renewer.Chain, roots []*x509.Certificate, usages []renewer.Usage) error {
	path := append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...)
	for i, c := range path[1:] {
		if err := path[i].CheckSignatureFrom(c); err != nil {
			return fmt.Errorf("certificate %d of the chain is not signed by the next: %w", i, err)
		}
		if slices.ContainsFunc(roots, c.Equal) {
			return fmt.Errorf("the root %s is in the chain", c.Subject)
		}
	}
	if by := chain.SignedBy; by != nil && chain.Leaf.CheckSignatureFrom(by) != nil {
		return fmt.Errorf("the issuer says that it verified the signature of %s, which is not that of the leaf", by.Subject)
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	above := x509.NewCertPool()
	for _, c := range chain.Intermediates {
		above.AddCert(c)
	}
	var errs []error
	for _, u := range usages {
		eku := x509.ExtKeyUsageServerAuth
		if u == renewer.UsageClient {
			eku = x509.ExtKeyUsageClientAuth
		}
		if _, err := chain.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{eku}}); err != nil {
			errs = append(errs, fmt.Errorf("a peer would refuse it as %s: %w", u, err))
		}
	}
	return errors.Join(errs...)
}

// checkIntermediates wants an issuer that has CAs below its root to name them:
// they end before it does.
func checkIntermediates(i Issuer, chain renewer.Chain) error {
	var named []*x509.Certificate
	if signs, ok := i.(interface{ Intermediates() []*x509.Certificate }); ok {
		named = signs.Intermediates()
	}
	if !slices.EqualFunc(named, chain.Intermediates, (*x509.Certificate).Equal) {
		return fmt.Errorf("the issuer names %d CAs below its root, the chain has %d, or others", len(named), len(chain.Intermediates))
	}
	return nil
}

func checkCancelled(ctx context.Context, i Issuer, h Harness) error {
	o, err := h.order(h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := i.Sign(ctx, o); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("sign with a cancelled context gave %v", err)
	}
	calls := map[string]func() error{
		"health": func() error { return i.Health(ctx) },
		"roots":  func() error { _, err := i.Roots(ctx); return err },
	}
	if revoker, ok := i.(engine.Revoker); ok {
		calls["revoke"] = func() error {
			return revoker.Revoke(ctx, renewer.Revocation{Certificate: "docker@host-b", Serial: "0a1b"})
		}
	}
	if l, ok := i.(engine.LogIn); ok {
		calls["log in"] = func() error { return l.LogIn(ctx) }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			return fmt.Errorf("%s with a cancelled context gave %v", name, err)
		}
	}
	return nil
}

// checkSameKey is what happens after a crash between order and answer.
func checkSameKey(ctx context.Context, i Issuer, h Harness) error {
	o, err := h.order(h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
	if err != nil {
		return err
	}
	for range 2 {
		chain, err := i.Sign(ctx, o)
		if err != nil {
			return err
		}
		if err := h.checkLeaf(o, chain.Leaf); err != nil {
			return err
		}
	}
	return nil
}

func checkConcurrent(ctx context.Context, i Issuer, h Harness) error {
	const n = 20
	serials := make([]string, n)
	g, ctx := errgroup.WithContext(ctx)
	for k := range n {
		g.Go(func() error {
			o, err := h.order(h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
			if err != nil {
				return err
			}
			chain, err := i.Sign(ctx, o)
			if err != nil {
				return err
			}
			serials[k] = renewer.SerialHex(chain.Leaf)
			return h.checkLeaf(o, chain.Leaf)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.Sort(serials)
	if len(slices.Compact(serials)) != n {
		return fmt.Errorf("a serial was given twice: %v", serials)
	}
	return nil
}

func (h Harness) checkFault(f Fault, err error) error {
	if err == nil {
		return errors.New("nothing went wrong")
	}
	errs := []error{checkText(err)}
	if got := renewer.ClassOf(err); got != f.Class {
		errs = append(errs, fmt.Errorf("class %s, want %s: %w", got, f.Class, err))
	}
	if renewer.Hint(err) == "" && f.Class != renewer.ClassRetry {
		errs = append(errs, fmt.Errorf("no fix is named: %w", err))
	}
	text := err.Error()
	for _, want := range f.Contains {
		if !strings.Contains(text, want) {
			errs = append(errs, fmt.Errorf("%q is not named: %w", want, err))
		}
	}
	shown := fmt.Sprintf("%s\n%+v\n%#v\n%s", text, err, err, renewer.Hint(err))
	for k, secret := range h.Secrets {
		if secret != "" && strings.Contains(shown, secret) {
			errs = append(errs, fmt.Errorf("secret %d stands in the error or its hint", k))
		}
	}
	return errors.Join(errs...)
}

func asText(usages []renewer.Usage) []string {
	var out []string
	for _, u := range usages {
		out = append(out, string(u))
	}
	return out
}

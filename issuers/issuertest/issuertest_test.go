package issuertest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// issuer signs with an intermediate and can be made to misbehave.
type issuer struct {
	t       *testing.T
	ca      *testpki.CA
	options func(o renewer.Order, leaf *testpki.Options)
	chain   func(c *renewer.Chain)
	deaf    bool // to the context
}

func newIssuer(t *testing.T) *issuer {
	return &issuer{t: t, ca: testpki.New(t).Intermediate(t, testpki.Options{CommonName: "Intermediate"})}
}

func (i *issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if !i.deaf && ctx.Err() != nil {
		return renewer.Chain{}, ctx.Err()
	}
	opts := testpki.Options{CommonName: o.CommonName, SANs: o.SANs, Key: o.Key, NotAfter: time.Now().Add(o.Lifetime)}
	for _, u := range o.Usages {
		if u == renewer.UsageServer {
			opts.Usages = append(opts.Usages, testpki.ServerUsage...)
		} else {
			opts.Usages = append(opts.Usages, testpki.ClientUsage...)
		}
	}
	if i.options != nil {
		i.options(o, &opts)
	}
	chain := renewer.Chain{Leaf: i.ca.Leaf(i.t, opts).Cert, Intermediates: slices.Clone(i.ca.Chain)}
	if i.chain != nil {
		i.chain(&chain)
	}
	return chain, nil
}

func (i *issuer) Roots(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{i.ca.Root}, nil
}

func (i *issuer) Intermediates() []*x509.Certificate { return i.ca.Chain }

func (i *issuer) Health(ctx context.Context) error {
	if i.deaf {
		return nil
	}
	return ctx.Err()
}

func TestAnHonestIssuerPasses(t *testing.T) {
	t.Parallel()
	Run(t, Harness{
		New:  func(t *testing.T) Issuer { return newIssuer(t) },
		Keys: []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519},
		Faults: map[string]Fault{"down": {
			Provoke: func(*testing.T) error { return errors.New("dial 10.0.0.1: refused") },
			Class:   renewer.ClassRetry, Contains: []string{"10.0.0.1"},
		}},
	})
}

// Each way of misbehaving is found by the check that is named.
func TestMisbehaviourIsFound(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		spoil func(i *issuer)
		check string
		want  string
	}{
		"another key": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.Key = nil }
		}, "server", "another key"},
		"SAN missing": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.SANs = l.SANs[1:] }
		}, "server", "SAN 10.0.1.2 is missing"},
		"SAN added": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.SANs = []string{"more"} }
		}, "client", "SAN more was not asked for"},
		"usage missing": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.Usages = l.Usages[1:] }
		}, "both", "usage server is missing"},
		"usage added": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.Usages = nil }
		}, "server", "usage client was not asked for"},
		"longer": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.NotAfter = l.NotAfter.Add(time.Hour) }
		}, "client for minutes", "more than 5m0s from now"},
		"in the future": {func(i *issuer) {
			i.options = func(_ renewer.Order, l *testpki.Options) { l.NotBefore = time.Now().Add(time.Minute) }
		}, "server", "begins at"},
		"chain cut": {func(i *issuer) {
			i.chain = func(c *renewer.Chain) { c.Intermediates = nil }
		}, "server", "a peer would refuse it as server"},
		"chain with root": {func(i *issuer) {
			i.chain = func(c *renewer.Chain) { c.Intermediates = append(c.Intermediates, i.ca.Root) }
		}, "server", "is in the chain"},
		"chain upside down": {func(i *issuer) {
			below := i.ca.Intermediate(i.t, testpki.Options{CommonName: "Below"})
			i.ca = below
			i.chain = func(c *renewer.Chain) { slices.Reverse(c.Intermediates) }
		}, "server", "not signed by the next"},
		"claims another signer": {func(i *issuer) {
			i.chain = func(c *renewer.Chain) { c.SignedBy = i.ca.Root }
		}, "server", "says that it verified"},
		"deaf":        {func(i *issuer) { i.deaf = true }, "cancelled", "cancelled context gave <nil>"},
		"same serial": {func(i *issuer) { i.chain = repeat() }, "many at once", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			c.spoil(i)
			for _, k := range checks {
				if k.name != c.check {
					continue
				}
				err := k.check(t.Context(), i, Harness{}.withDefaults())
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s gave %v, want %q", k.name, err, c.want)
				}
				return
			}
			t.Fatalf("no check is named %s", c.check)
		})
	}
}

// repeat answers every order with the first one's certificate.
func repeat() func(*renewer.Chain) {
	first := make(chan renewer.Chain, 1)
	return func(c *renewer.Chain) {
		select {
		case first <- *c:
		default:
			*c = <-first
			first <- *c
		}
	}
}

func TestFaultsAreJudged(t *testing.T) {
	t.Parallel()
	h := Harness{Secrets: []string{"hunter2"}}
	refused := func(hint, text string) error {
		return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: errors.New(text)}
	}
	f := Fault{Class: renewer.ClassRefused, Contains: []string{"host-b"}}
	if err := h.checkFault(f, refused("way out", "host-b is unknown")); err != nil {
		t.Errorf("a good error: %v", err)
	}
	for want, err := range map[string]error{
		"nothing went wrong":    nil,
		"class retry":           errors.New("host-b is unknown"),
		"no way out":            refused("", "host-b is unknown"),
		`"host-b" is not named`: refused("way out", "unknown"),
		"secret 0":              refused("way out with hunter2", "host-b is unknown"),
		"secret 0 stands":       fmt.Errorf("host-b: %w", refused("way out", "hunter2")),
	} {
		if got := h.checkFault(f, err); got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: got %v, want %q", err, got, want)
		}
	}
}

package stepca_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/issuers/stepca"
	"renewer/renewer"
)

// without is an issuer that cannot log in: what it signs, it renews.
func without(t *testing.T, ca *teststepca.CA) *stepca.Issuer {
	cfg := configOf(ca)
	cfg.PasswordFile = filepath.Join(t.TempDir(), "none")
	return open(t, cfg)
}

func again(o renewer.Order, previous renewer.Chain) renewer.Order {
	o.Previous = previous
	return o
}

func TestACertificateThatKeepsItsKeyRenewsItself(t *testing.T) {
	t.Parallel()
	o := orderFor(newKey(t))
	client := orderFor(newKey(t))
	client.SANs, client.Usages = nil, []renewer.Usage{renewer.UsageClient}
	for name, o := range map[string]renewer.Order{"server": o, "client without names": client} {
		first := sign(t, open(t, configOf(shared)), o)
		i := without(t, shared)
		o.SANs = slices.Clone(o.SANs)
		slices.Reverse(o.SANs)
		second := sign(t, i, again(o, first))
		third := sign(t, i, again(o, second))
		if second.Leaf.Equal(first.Leaf) || third.Leaf.Equal(second.Leaf) {
			t.Errorf("%s: the same certificate came back", name)
		}
		if was, is := span(first), span(third); was != is {
			t.Errorf("%s: it lived %s, and lives %s now", name, was, is)
		}
	}
}

func span(c renewer.Chain) time.Duration { return c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) }

// What a renewal would not give is signed with a token.
func TestOtherOrdersAreSignedAfresh(t *testing.T) {
	t.Parallel()
	i := open(t, configOf(shared))
	o := orderFor(newKey(t))
	first := sign(t, i, o)
	for name, change := range map[string]func(o *renewer.Order){
		"lifetime":    func(o *renewer.Order) { o.Lifetime = 2 * time.Hour },
		"shorter":     func(o *renewer.Order) { o.Lifetime = 30 * time.Minute },
		"a name more": func(o *renewer.Order) { o.SANs = append(slices.Clone(o.SANs), "more.example.com") },
		"a name less": func(o *renewer.Order) { o.SANs = o.SANs[:2] },
		"common name": func(o *renewer.Order) { o.CommonName = "host-c" },
		"key":         func(o *renewer.Order) { o.Key = newKey(t) },
	} {
		next := again(o, first)
		change(&next)
		if _, err := without(t, shared).Sign(t.Context(), next); renewer.ClassOf(err) != mis {
			t.Errorf("%s: it was renewed without a token: %v", name, err)
		}
		chain := sign(t, i, next)
		if chain.Leaf.Subject.CommonName != next.CommonName {
			t.Errorf("%s: common name %s", name, chain.Leaf.Subject.CommonName)
		}
		if d := time.Until(chain.Leaf.NotAfter) - next.Lifetime; d > time.Minute || d < -time.Minute {
			t.Errorf("%s: it ends %s after what was asked", name, d)
		}
		if !slices.Equal(slices.Sorted(slices.Values(renewer.SANs(chain.Leaf))), slices.Sorted(slices.Values(next.SANs))) {
			t.Errorf("%s: %v", name, renewer.SANs(chain.Leaf))
		}
	}
}

// A renewal that the server will not do is no reason to go without.
func TestAFreshSignWhereARenewalIsNotPossible(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	o := orderFor(key)
	template := func(from, to time.Duration) *x509.Certificate {
		now := time.Now()
		dns, ips := renewer.SplitSANs(o.SANs)
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: o.CommonName}, DNSNames: dns, IPAddresses: ips, NotBefore: now.Add(from), NotAfter: now.Add(to),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	leaf := func(t *testing.T, tmpl *x509.Certificate) renewer.Chain {
		chain, err := shared.Leaf(tmpl, key)
		must(t, err)
		return chain
	}
	for name, c := range map[string]struct {
		previous func(t *testing.T) renewer.Chain
		ahead    time.Duration
	}{
		"expired":                   {func(t *testing.T) renewer.Chain { return leaf(t, template(-2*time.Hour, -time.Hour)) }, 0},
		"expired on its clock only": {func(t *testing.T) renewer.Chain { return leaf(t, template(-time.Hour, -10*time.Second)) }, -20 * time.Second},
		"server only":               {func(t *testing.T) renewer.Chain { return leaf(t, serverOnly(template(-time.Minute, time.Hour))) }, 0},
		"of another CA":             {func(t *testing.T) renewer.Chain { return foreign(t, key, o) }, 0},
		"revoked": {func(t *testing.T) renewer.Chain {
			i := open(t, configOf(shared))
			chain := sign(t, i, o)
			must(t, i.Revoke(t.Context(), renewer.Revocation{Certificate: o.Certificate, Serial: renewer.SerialHex(chain.Leaf)}))
			return chain
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := open(t, configOf(shared))
			i.SetClock(c.ahead)
			previous := c.previous(t)
			chain := sign(t, i, again(o, previous))
			if chain.Leaf.Equal(previous.Leaf) {
				t.Error("the same certificate came back")
			}
		})
	}
}

func serverOnly(c *x509.Certificate) *x509.Certificate {
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return c
}

func foreign(t *testing.T, key crypto.Signer, o renewer.Order) renewer.Chain {
	ca := testpki.New(t)
	p := ca.Leaf(t, testpki.Options{CommonName: o.CommonName, SANs: o.SANs, Key: key, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(o.Lifetime)})
	return renewer.Chain{Leaf: p.Cert}
}

// A server that is away is asked again, not asked for something else.
func TestARenewalWaitsForTheServer(t *testing.T) {
	t.Parallel()
	ca := start(t, teststepca.Options{})
	i := open(t, configOf(ca))
	o := orderFor(newKey(t))
	first := sign(t, i, o)
	must(t, ca.Stop())
	if _, err := i.Sign(t.Context(), again(o, first)); renewer.ClassOf(err) != retry {
		t.Errorf("got %v", err)
	}
	must(t, ca.Start())
	must(t, os.Remove(ca.PasswordFile))
	sign(t, i, again(o, first))
}

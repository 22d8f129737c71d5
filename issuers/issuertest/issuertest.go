// Package issuertest is one suite that every issuer passes: what package
// engine relies on, whatever signs. An issuer's own tests hand it a Harness:
//
//	issuertest.Run(t, issuertest.Harness{New: newIssuer, Secrets: []string{passphrase}, Faults: faults})
package issuertest

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	"renewer/renewer"
)

// Issuer is what package engine asks of an issuer; see there for the contract.
type Issuer interface {
	Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error)
	Roots(ctx context.Context) ([]*x509.Certificate, error)
	Health(ctx context.Context) error
}

// Harness is one issuer under test. Only New is needed.
type Harness struct {
	// New returns an issuer that works; it is called once.
	New func(t *testing.T) Issuer
	// SANs are names that it may sign; default: two DNS names and an IPv4 and
	// an IPv6 address.
	SANs []string
	// Keys are the key types that it may sign; default: ecdsa-p256.
	Keys []renewer.KeyType
	// Lifetime is asked for; default: an hour.
	Lifetime time.Duration
	// Shortest is the least lifetime that it gives; default: five minutes, for what
	// probes present.
	Shortest time.Duration
	// Backdate is how far before now it lets certificates begin at most;
	// default: five minutes.
	Backdate time.Duration
	// Adds says that the issuer is known to add names and usages; what is
	// missing is a failure all the same.
	Adds bool
	// ServersOnly says that it signs nothing for clients, as public CAs.
	ServersOnly bool
	// Secrets must not stand in any error or hint.
	Secrets []string
	// Faults are the ways in which things go wrong, by name.
	Faults map[string]Fault

	// What follows is nil where an issuer has no such thing.

	// Outage returns an issuer that works and keeps its roots, and has its server
	// go away and come back.
	Outage func(t *testing.T) (i Issuer, down, up func())
	// Replace returns an issuer, and gives it another root, or one more.
	Replace func(t *testing.T) (i Issuer, replace func())
	// Limited returns an issuer and the longest lifetime that it gives.
	Limited func(t *testing.T) (i Issuer, longest time.Duration)
	// Later returns a way to open an issuer, as each start of renewer does, that signs an
	// order only after sign was called for its certificate.
	Later func(t *testing.T) (open func() Issuer, sign func(certificate string))
	// Watched returns a new issuer whose server calls onCall before it answers a
	// request.
	Watched func(t *testing.T, onCall func()) Issuer
}

// Fault is one way in which things go wrong.
type Fault struct {
	// Provoke makes it go wrong and returns the issuer's error.
	Provoke func(t *testing.T) error
	Class   renewer.Class
	// Contains is what the error must name: a file, a date, an address.
	Contains []string
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Helper()
	h = h.withDefaults()
	issuer := h.New(t)
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := c.check(t.Context(), issuer, h); err != nil {
				t.Error(err)
			}
		})
	}
	for _, s := range scenarios {
		if !s.has(h) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if err := s.check(t, h); err != nil {
				t.Error(err)
			}
		})
	}
	for name, f := range h.Faults {
		t.Run("fault/"+name, func(t *testing.T) {
			t.Parallel()
			if err := h.checkFault(f, f.Provoke(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func (h Harness) withDefaults() Harness {
	if h.SANs == nil {
		h.SANs = []string{"10.0.1.2", "fd00::2", "host-b", "host-b.example.com"}
	}
	if h.Keys == nil {
		h.Keys = []renewer.KeyType{renewer.ECDSAP256}
	}
	if h.Lifetime == 0 {
		h.Lifetime = time.Hour
	}
	if h.Shortest == 0 {
		h.Shortest = 5 * time.Minute
	}
	if h.Backdate == 0 {
		h.Backdate = 5 * time.Minute
	}
	return h
}

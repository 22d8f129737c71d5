package stepca_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/renewer"
)

// Revoked certificates stand in the CA's own list, with their reasons, and
// revoking one again changes nothing.
func TestRevoke(t *testing.T) {
	t.Parallel()
	ca := start(t, teststepca.Options{})
	i, x5c := open(t, configOf(ca)), open(t, x5cConfigOf(ca))
	want := map[string]int{}
	for n, reason := range renewer.RevocationReasons {
		o := orderFor(newKey(t))
		chain := sign(t, i, o)
		by := i
		if n%2 == 1 {
			by = x5c
		}
		for range 2 {
			must(t, by.Revoke(t.Context(), renewer.Revocation{Certificate: o.Certificate, Serial: renewer.SerialHex(chain.Leaf), Chain: chain, Reason: reason}))
		}
		want[chain.Leaf.SerialNumber.String()] = reason.Code()
	}
	list := crl(t, ca)
	must(t, list.CheckSignatureFrom(ca.Intermediate))
	if len(list.RevokedCertificateEntries) != len(want) {
		t.Errorf("%d entries, want %d", len(list.RevokedCertificateEntries), len(want))
	}
	for _, e := range list.RevokedCertificateEntries {
		if code, ok := want[e.SerialNumber.String()]; !ok || code != e.ReasonCode {
			t.Errorf("%s for reason %d, want %d", e.SerialNumber, e.ReasonCode, code)
		}
	}
}

func crl(t *testing.T, ca *teststepca.CA) *x509.RevocationList {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ca.URL+"/1.0/crl?pem=true", http.NoBody)
	must(t, err)
	res, err := transport.RoundTrip(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	if block, _ := pem.Decode(body); block != nil {
		body = block.Bytes
	}
	list, err := x509.ParseRevocationList(body)
	must(t, err)
	return list
}

func TestRevokeIsRefused(t *testing.T) {
	t.Parallel()
	i := open(t, configOf(start(t, teststepca.Options{NoDatabase: true})))
	for _, serial := range []string{"0a", "no hex"} {
		err := i.Revoke(t.Context(), renewer.Revocation{Certificate: "docker", Serial: serial})
		if renewer.ClassOf(err) != refused {
			t.Errorf("%s: %v", serial, err)
		}
	}
}

func TestRootsAndFederation(t *testing.T) {
	t.Parallel()
	other := testpki.NewWith(t, testpki.Options{CommonName: "Other", NotAfter: time.Now().Add(time.Hour)})
	file := filepath.Join(t.TempDir(), "other.pem")
	must(t, os.WriteFile(file, other.PEM(), 0o600))
	ca := start(t, teststepca.Options{Federated: []string{file}})
	roots, err := open(t, configOf(ca)).Roots(t.Context())
	must(t, err)
	if len(roots) != 2 || !roots[0].Equal(ca.Root) || !roots[1].Equal(other.Root) {
		t.Errorf("%d roots", len(roots))
	}
}

// A restart while the CA is away does not lose the roots; those of another CA
// are no use.
func TestRootsAreKept(t *testing.T) {
	t.Parallel()
	ca := start(t, teststepca.Options{})
	cfg := configOf(ca)
	cfg.RootsFile = filepath.Join(t.TempDir(), "roots", "corp-step.pem")
	_, err := open(t, cfg).Roots(t.Context())
	must(t, err)
	must(t, ca.Stop())
	i := open(t, cfg)
	roots, err := i.Roots(t.Context())
	must(t, err)
	if len(roots) != 1 || !roots[0].Equal(ca.Root) {
		t.Errorf("%d roots", len(roots))
	}
	if err := i.Health(t.Context()); renewer.ClassOf(err) != retry {
		t.Errorf("its health: %v", err)
	}
	if _, err := i.Roots(cancelled()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	cfg.RootFingerprint = shared.Fingerprint
	if _, err := open(t, cfg).Roots(t.Context()); renewer.ClassOf(err) != retry {
		t.Errorf("of another CA: %v", err)
	}
}

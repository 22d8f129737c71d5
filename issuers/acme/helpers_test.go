package acme_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/testacme"
	"renewer/internal/teststepca"
	"renewer/issuers/acme"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(append(teststepca.Leftovers(), testacme.Leftovers()...)...); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// plainSeal seals nothing, so that a test can see what would be sealed.
type plainSeal struct{}

func (plainSeal) Seal(plain []byte) ([]byte, error)  { return append([]byte("sealed:"), plain...), nil }
func (plainSeal) Open(sealed []byte) ([]byte, error) { return sealed[len("sealed:"):], nil }

// configOf is an issuer at a pebble that answers http-01 on a port of its own.
func configOf(t testing.TB, s *testacme.Server) acme.Config {
	t.Helper()
	return acme.Config{
		Name: "corp-acme", Directory: s.Directory, CACert: s.CACert, Roots: s.Roots, Seal: plainSeal{},
		StateFile: filepath.Join(t.TempDir(), "issuers", "corp-acme", "acme.json"), Challenge: acme.Challenge{Type: acme.HTTP01, Listen: s.HTTPPort},
	}
}

func open(t testing.TB, cfg acme.Config) *acme.Issuer {
	t.Helper()
	i, err := acme.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, i.Close()) })
	return i
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.NewKey(renewer.ECDSAP256)
	must(t, err)
	return key
}

func orderFor(t testing.TB, sans ...string) renewer.Order {
	t.Helper()
	if sans == nil {
		sans = []string{"host-b.example.com", "www.example.com"}
	}
	return renewer.Order{Certificate: "web@host-b", Key: newKey(t), Request: renewer.Request{
		Issuer: "corp-acme", CommonName: sans[0], SANs: sans, Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Lifetime: 24 * time.Hour,
	}}
}

// sign orders a certificate and checks it as the engine would.
func sign(t testing.TB, i *acme.Issuer, o renewer.Order) renewer.Chain {
	t.Helper()
	chain, err := i.Sign(t.Context(), o)
	must(t, err)
	roots, err := i.Roots(t.Context())
	must(t, err)
	_, err = pki.CheckIssued(o, false, chain, roots, time.Now())
	must(t, err)
	return chain
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var quiet = log.New(io.Discard, "", 0)

// poolOf trusts the CA alone.
func poolOf(ca *teststepca.CA) *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Root)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
}

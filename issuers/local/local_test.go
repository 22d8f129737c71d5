package local_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const passphrase = "Pass-Phrase-1"

// config names files in a new directory; with a passphrase file if secret is
// not empty.
func config(t testing.TB, secret string) local.Config {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "issuers", "fleet-ca")
	cfg := local.Config{Name: "fleet-ca", CertFile: filepath.Join(dir, "ca.pem"), KeyFile: filepath.Join(dir, "ca-key.pem")}
	if secret != "" {
		cfg.PassphraseFile = filepath.Join(t.TempDir(), "passphrase")
		testpki.WriteFile(t, cfg.PassphraseFile, []byte(secret), 0o600)
	}
	return cfg
}

func create(t testing.TB) (*local.Authority, local.Config) {
	t.Helper()
	cfg := config(t, "")
	a, err := local.Create(cfg, local.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a, cfg
}

func order(key crypto.Signer) renewer.Order {
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		Issuer: "fleet-ca", CommonName: "host-b", SANs: []string{"10.0.1.2", "127.0.0.1", "host-b", "host-b.example.com"},
		Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Lifetime: 90 * 24 * time.Hour,
	}}
}

// openssl runs in dir and returns what it printed.
func openssl(t testing.TB, dir string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// guideCA makes ca-key.pem and ca.pem as the Docker guide does, with the
// arguments that make the key.
func guideCA(t testing.TB, dir string, genkey ...string) (certFile, keyFile string) {
	t.Helper()
	openssl(t, dir, slices.Insert(slices.Clone(genkey), 1, "-out", "ca-key.pem")...) // a size must stay last
	openssl(t, dir, "req", "-new", "-x509", "-days", "3650", "-key", "ca-key.pem", "-passin", "pass:"+passphrase, "-sha256",
		"-out", "ca.pem", "-subj", "/C=US/ST=Washington/L=Pasco/O=MyOrg/CN=Docker CA")
	return filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
}

func roots(t testing.TB, a *local.Authority) []*x509.Certificate {
	t.Helper()
	out, err := a.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// opensslAccepts verifies a chain for a purpose, sslserver or sslclient. Other
// flags may be given: -x509_strict wants a keyUsage, which the guide's CA lacks.
func opensslAccepts(t testing.TB, a *local.Authority, chain renewer.Chain, purpose string, flags ...string) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"roots.pem": pki.PEM(roots(t, a)...), "above.pem": pki.PEM(chain.Intermediates...), "leaf.pem": pki.PEM(chain.Leaf),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{"verify", "-purpose", purpose, "-CAfile", "roots.pem"}, flags...)
	if len(chain.Intermediates) > 0 {
		args = append(args, "-untrusted", "above.pem")
	}
	openssl(t, dir, append(args, "leaf.pem")...)
}

func TestCreatedCASignsWhatOpensslAccepts(t *testing.T) {
	t.Parallel()
	a, cfg := create(t)
	chain, err := a.Sign(t.Context(), order(testpki.Key(t)))
	if err != nil {
		t.Fatal(err)
	}
	opensslAccepts(t, a, chain, "sslserver", "-x509_strict")

	again, err := local.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Info(), a.Info()) {
		t.Errorf("opened %+v, created %+v", again.Info(), a.Info())
	}
}

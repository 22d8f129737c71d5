package local_test

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// What openssl makes of the list: its signature, what is on it, and that a
// verification that looks at it refuses the one and takes the other.
func TestOpensslReadsTheCRL(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T) (*local.Authority, local.Config){
		"made by renewer": func(t *testing.T) (*local.Authority, local.Config) { return create(t) },
		"an intermediate": func(t *testing.T) (*local.Authority, local.Config) {
			cfg, year := config(t, ""), time.Now().AddDate(1, 0, 0)
			ca := testpki.NewWith(t, testpki.Options{CommonName: "Root", NotAfter: year}).Intermediate(t, testpki.Options{CommonName: "Sub", NotAfter: year})
			if err := os.MkdirAll(filepath.Dir(cfg.CertFile), 0o700); err != nil {
				t.Fatal(err)
			}
			testpki.WriteFile(t, cfg.CertFile, testpki.PEM(ca.Cert, ca.Root), 0o644)
			testpki.WriteFile(t, cfg.KeyFile, testpki.KeyPEM(t, ca.Key), 0o600)
			a, err := local.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return a, cfg
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, cfg := make(t)
			good, bad := sign(t, a), sign(t, a)
			if got := verifyWithCRL(t, a, bad, crlOf(t, a)); !strings.Contains(got, "leaf.pem: OK") {
				t.Fatalf("with an empty list:\n%s", got)
			}
			if err := a.Revoke(t.Context(), revocation(bad, renewer.RevokedKeyCompromise)); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			testpki.WriteFile(t, filepath.Join(dir, "crl.der"), crlOf(t, a), 0o600)
			testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), readFile(t, cfg.CertFile), 0o600)
			text := openssl(t, dir, "crl", "-inform", "DER", "-in", "crl.der", "-CAfile", "ca.pem", "-noout", "-text")
			for _, want := range []string{"verify OK", strings.ToUpper(renewer.SerialHex(bad.Leaf)), "Key Compromise", "X509v3 CRL Number", "X509v3 Authority Key Identifier"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s is missing:\n%s", want, text)
				}
			}
			if got := verifyWithCRL(t, a, good, crlOf(t, a)); !strings.Contains(got, "leaf.pem: OK") {
				t.Errorf("one that was not revoked:\n%s", got)
			}
			if got := verifyWithCRL(t, a, bad, crlOf(t, a)); !strings.Contains(got, "certificate revoked") {
				t.Errorf("the revoked one:\n%s", got)
			}
		})
	}
}

func sign(t *testing.T, a *local.Authority) renewer.Chain {
	t.Helper()
	chain, err := a.Sign(t.Context(), order(testpki.Key(t)))
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func revocation(c renewer.Chain, why renewer.RevocationReason) renewer.Revocation {
	return renewer.Revocation{Certificate: "docker@host-b", Serial: renewer.SerialHex(c.Leaf), Chain: c, Reason: why}
}

func crlOf(t *testing.T, a *local.Authority) []byte {
	t.Helper()
	der, err := a.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func verifyWithCRL(t *testing.T, a *local.Authority, c renewer.Chain, crl []byte) string {
	t.Helper()
	dir := t.TempDir()
	testpki.WriteFile(t, filepath.Join(dir, "roots.pem"), pki.PEM(roots(t, a)...), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "above.pem"), pki.PEM(append(c.Intermediates, roots(t, a)...)...), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "leaf.pem"), pki.PEM(c.Leaf), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "crl.der"), crl, 0o600)
	openssl(t, dir, "crl", "-inform", "DER", "-in", "crl.der", "-out", "crl.pem")
	cmd := exec.CommandContext(t.Context(), "openssl", "verify", "-CAfile", "roots.pem", "-untrusted", "above.pem", "-crl_check", "-CRLfile", "crl.pem", "leaf.pem")
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput() // the text says it all
	return string(out)
}

// Many at once, of two Authorities over the same files: none is lost.
func TestRevokeAtOnce(t *testing.T) {
	t.Parallel()
	a, cfg := create(t)
	b, err := local.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	want := map[string]bool{}
	for k := range 12 {
		c := sign(t, a)
		want[renewer.SerialHex(c.Leaf)] = true
		by := []*local.Authority{a, b}[k%2]
		wg.Go(func() {
			for range 2 { // again is no error
				if err := by.Revoke(t.Context(), revocation(c, renewer.RevokedSuperseded)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, serial := range revoked(t, crlOf(t, a)) {
		if !want[serial] {
			t.Errorf("%s is listed twice, or was not revoked", serial)
		}
		delete(want, serial)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// The guide's CA has no keyUsage: peers would take no list of it.
func TestACAThatMayNotSignACRL(t *testing.T) {
	t.Parallel()
	cert, key := guideCA(t, t.TempDir(), "ecparam", "-name", "prime256v1", "-genkey")
	cfg := config(t, "")
	a, err := local.Import(cfg, cert, key, never(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(t.Context(), revocation(sign(t, a), "")); err != nil {
		t.Errorf("revoke: %v", err)
	}
	_, err = a.CRL(t.Context())
	if !errors.Is(err, local.ErrNoCRL) || renewer.ClassOf(err) != renewer.ClassRefused || !strings.Contains(err.Error(), "no keyUsage") || renewer.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	if found, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.CertFile), "*.der")); len(found) > 0 {
		t.Errorf("left %v", found)
	}
}

func TestWhatIsNotRevoked(t *testing.T) {
	t.Parallel()
	a, _ := create(t)
	other, _ := create(t)
	if err := a.Revoke(t.Context(), revocation(sign(t, other), "")); renewer.ClassOf(err) != renewer.ClassRefused || renewer.Hint(err) == "" {
		t.Errorf("of another CA: %v", err)
	}
	for _, serial := range []string{"", "0", "-5", "xyz"} {
		if err := a.Revoke(t.Context(), renewer.Revocation{Serial: serial}); renewer.ClassOf(err) != renewer.ClassRefused {
			t.Errorf("serial %q: %v", serial, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Revoke(ctx, revocation(sign(t, a), "")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := revoked(t, crlOf(t, a)); len(got) > 0 {
		t.Errorf("listed %v", got)
	}
}

func revoked(t *testing.T, der []byte) (serials []string) {
	t.Helper()
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.RevokedCertificateEntries {
		serials = append(serials, hex.EncodeToString(e.SerialNumber.Bytes()))
	}
	return serials
}

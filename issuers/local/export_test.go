package local_test

import (
	"bytes"
	"crypto/ecdsa"
	"path/filepath"
	"strings"
	"testing"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// What is exported is imported again, by renewer and by openssl.
func TestExportedKeyIsTheCAs(t *testing.T) {
	t.Parallel()
	_, a, cfg := below(t)
	if _, err := local.ExportKey(cfg, nil); renewer.ClassOf(err) != renewer.ClassMisconfigured || renewer.Hint(err) == "" {
		t.Errorf("an encrypted key in the clear: %v", err)
	}
	text, err := local.ExportKey(cfg, []byte("another"))
	if err != nil {
		t.Fatal(err)
	}
	store, err := local.ExportPKCS12(cfg, "another")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"ca.pem": text, "ca.p12": store} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		testpki.WriteFile(t, file, data, 0o600)
		again, err := local.Import(config(t, passphrase), file, "", func() ([]byte, error) { return []byte("another"), nil })
		if err != nil {
			t.Fatal(name, err)
		}
		if again.Info().Fingerprint != a.Info().Fingerprint || !again.Root().Equal(a.Root()) {
			t.Errorf("%s: another CA: %+v", name, again.Info())
		}
	}
	dir := t.TempDir()
	testpki.WriteFile(t, filepath.Join(dir, "ca.p12"), store, 0o600)
	if out := openssl(t, dir, "pkcs12", "-in", "ca.p12", "-passin", "pass:another", "-nokeys"); strings.Count(out, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("openssl reads %s", out)
	}
}

func TestExportWithoutTheKeyNeedsNone(t *testing.T) {
	t.Parallel()
	_, a, cfg := below(t)
	remove(t, cfg.KeyFile)
	certs, err := local.Certificates(cfg)
	if err != nil || len(certs) != 2 || !certs[1].Equal(a.Root()) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	store, err := local.ExportTrust(cfg, "changeit")
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := pkcs12.DecodeTrustStore(store, "changeit")
	if err != nil || len(trusted) != 1 || !trusted[0].Equal(a.Root()) {
		t.Errorf("%d roots, %v", len(trusted), err)
	}
}

func TestExportedPlainKeyIsReadByOpenssl(t *testing.T) {
	t.Parallel()
	a, cfg := create(t)
	text, err := local.ExportKey(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, pki.PEM(a.Root())) {
		t.Error("the certificate does not come first")
	}
	key, err := pki.DecodeKey(text[len(pki.PEM(a.Root())):])
	if err != nil {
		t.Fatal(err)
	}
	if pub, ok := a.Root().PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		t.Error("another key")
	}
}

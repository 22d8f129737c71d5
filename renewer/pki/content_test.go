package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestContent(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	inter := ca.Intermediate(t, testpki.Options{CommonName: "Intermediate"})
	pair := inter.Leaf(t, testpki.Options{SANs: []string{"host-a"}})
	files := map[renewer.FileKind]string{"ca": "a", "cert": "b", "leaf": "c", "key": "d", "bundle": "e"}
	chain := renewer.Chain{Leaf: pair.Cert, Intermediates: []*x509.Certificate{inter.Cert, ca.Root}} // with the root, as some issuers do
	other := testpki.New(t).Root
	got, err := pki.Content(files, chain, pair.Key, []*x509.Certificate{ca.Root, other})
	must(t, err)
	for kind, want := range map[renewer.FileKind][]byte{
		"ca":     testpki.PEM(ca.Root, other),
		"cert":   testpki.PEM(pair.Cert, inter.Cert),
		"leaf":   testpki.PEM(pair.Cert),
		"key":    pair.KeyPEM,
		"bundle": append(bytes.Clone(pair.KeyPEM), testpki.PEM(pair.Cert, inter.Cert)...),
	} {
		if !bytes.Equal(got[kind], want) {
			t.Errorf("%s:\n%s\nwant\n%s", kind, got[kind], want)
		}
	}
	bundle, err := pki.Content(map[renewer.FileKind]string{"ca": "ca.crt"}, renewer.Chain{}, nil, []*x509.Certificate{other})
	must(t, err)
	if !bytes.Equal(bundle["ca"], testpki.PEM(other)) {
		t.Errorf("a trust bundle alone: %s", bundle["ca"])
	}
	for says, c := range map[string]struct {
		files map[renewer.FileKind]string
		chain renewer.Chain
		key   crypto.Signer
		roots []*x509.Certificate
	}{
		"no certificate to place":                    {files, renewer.Chain{}, pair.Key, []*x509.Certificate{ca.Root}},
		"no root for the ca file":                    {files, chain, pair.Key, nil},
		"private key does not match the certificate": {files, chain, testpki.Key(t), []*x509.Certificate{ca.Root}},
		"unknown kind of file":                       {map[renewer.FileKind]string{"p12": "x"}, chain, pair.Key, nil},
	} {
		if _, err := pki.Content(c.files, c.chain, c.key, c.roots); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v does not say %q", err, says)
		}
	}
}

// Whatever form a key comes in, PKCS #8 goes out, and openssl reads it.
func TestKeysOfEveryForm(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	ec := testpki.Key(t).(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ec)
	must(t, err)
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	for name, c := range map[string]struct {
		key  crypto.Signer
		text []byte
	}{
		"PKCS #1": {rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		"SEC 1":   {ec, append(params, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)},
	} {
		key, err := pki.DecodeKey(c.text)
		must(t, err)
		text, err := pki.EncodeKey(key)
		must(t, err)
		file := filepath.Join(t.TempDir(), "key")
		must(t, os.WriteFile(file, text, 0o600))
		got, err := exec.Command("openssl", "pkey", "-in", file, "-pubout", "-outform", "DER").Output()
		must(t, err)
		want, err := x509.MarshalPKIXPublicKey(c.key.Public())
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: another key came out", name)
		}
	}
	for says, text := range map[string]string{
		"no private key in PEM":            "nothing",
		"the private key is encrypted":     "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"the private key cannot be parsed": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		if _, err := pki.DecodeKey([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v does not say %q", err, says)
		}
	}
}

func TestEveryKeyTypeIsMadeAndKnown(t *testing.T) {
	t.Parallel()
	for _, kind := range renewer.KeyTypes {
		if kind == renewer.RSA4096 || kind == renewer.RSA3072 {
			continue // the same code as rsa-2048, and slow
		}
		key, err := pki.NewKey(kind)
		must(t, err)
		if got := pki.KeyTypeOf(key.Public()); got != kind {
			t.Errorf("%s is taken for %q", kind, got)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		if text, err := pki.EncodeKey(key); err != nil || !bytes.Equal(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})) {
			t.Errorf("%s is not written as PKCS #8: %v", kind, err)
		}
	}
	if _, err := pki.NewKey("dsa"); err == nil {
		t.Error("made a key of an unknown type")
	}
}

// What is found on a host was written by others.
func FuzzPEM(f *testing.F) {
	ca := testpki.New(f)
	pair := ca.Leaf(f, testpki.Options{})
	f.Add(pair.CertPEM)
	f.Add(pair.KeyPEM)
	f.Add(append(bytes.Clone(pair.KeyPEM), pair.CertPEM...))
	f.Add([]byte("\xff\xfe-\x00-\x00"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if certs, err := pki.DecodeCertificates(data); err == nil && (len(certs) == 0 || certs[0] == nil) {
			t.Error("no certificate and no error")
		}
		if key, err := pki.DecodeKey(data); err == nil && key == nil {
			t.Error("no key and no error")
		}
	})
}

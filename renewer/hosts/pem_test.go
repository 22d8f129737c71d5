package hosts

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func TestContent(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	inter := ca.Intermediate(t, testpki.Options{CommonName: "Intermediate"})
	pair := inter.Leaf(t, testpki.Options{SANs: []string{"host-a"}})
	files := map[renewer.FileKind]string{"ca": "a", "cert": "b", "leaf": "c", "key": "d", "bundle": "e"}
	chain := renewer.Chain{Leaf: pair.Cert, Intermediates: []*x509.Certificate{inter.Cert, ca.Root}}
	other := testpki.New(t).Root
	got, err := Content(files, chain, pair.KeyPEM, []*x509.Certificate{ca.Root, other})
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

	bundle, err := Content(map[renewer.FileKind]string{"ca": "ca.crt"}, renewer.Chain{}, nil, []*x509.Certificate{other})
	must(t, err)
	equal(t, "bundle alone", string(bundle["ca"]), string(testpki.PEM(other)))

	for says, c := range map[string]struct {
		chain renewer.Chain
		key   []byte
		roots []*x509.Certificate
	}{
		"no certificate to place":              {renewer.Chain{}, pair.KeyPEM, []*x509.Certificate{ca.Root}},
		"no root for the ca file":              {chain, pair.KeyPEM, nil},
		"private key is not the certificate's": {chain, inter.Leaf(t, testpki.Options{}).KeyPEM, []*x509.Certificate{ca.Root}},
		"no private key in PEM":                {chain, []byte("nothing"), []*x509.Certificate{ca.Root}},
		"did not sign":                         {renewer.Chain{Leaf: pair.Cert, Intermediates: []*x509.Certificate{other, ca.Intermediate(t, testpki.Options{}).Cert}}, pair.KeyPEM, []*x509.Certificate{ca.Root}},
		"the private key is encrypted":         {chain, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), []*x509.Certificate{ca.Root}},
		"the private key cannot be parsed":     {chain, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), []*x509.Certificate{ca.Root}},
	} {
		if _, err := Content(files, c.chain, c.key, c.roots); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v does not say %q", err, says)
		}
	}
	if _, err := Content(map[renewer.FileKind]string{"p12": "x"}, chain, nil, nil); err == nil {
		t.Error("made a file of an unknown kind")
	}
}

// Whatever form a key comes in, PKCS #8 goes out, and openssl reads the pair.
func TestContentConvertsKeys(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	ec := testpki.Key(t).(*ecdsa.PrivateKey)
	sec1, err := x509.MarshalECPrivateKey(ec)
	must(t, err)
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	for name, c := range map[string]struct {
		options testpki.Options
		pem     []byte
	}{
		"PKCS #1": {testpki.Options{Key: rsaKey}, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		"SEC 1":   {testpki.Options{Key: ec}, append(params, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})...)},
	} {
		pair := ca.Leaf(t, c.options)
		got, err := Content(map[renewer.FileKind]string{"key": "k", "cert": "c"}, renewer.Chain{Leaf: pair.Cert}, c.pem, nil)
		must(t, err)
		if !bytes.HasPrefix(got["key"], []byte("-----BEGIN PRIVATE KEY-----\n")) {
			t.Errorf("%s: %.30s", name, got["key"])
		}
		openssl, err := exec.LookPath("openssl")
		if err != nil {
			t.Skip("no openssl on this machine")
		}
		where := t.TempDir()
		must(t, os.WriteFile(where+"/k", got["key"], 0o600))
		must(t, os.WriteFile(where+"/c", got["cert"], 0o600))
		fromKey, err := exec.Command(openssl, "pkey", "-in", where+"/k", "-pubout").Output()
		must(t, err)
		fromCert, err := exec.Command(openssl, "x509", "-in", where+"/c", "-noout", "-pubkey").Output()
		must(t, err)
		equal(t, name, string(fromKey), string(fromCert))
	}
}

// What is found on a host was written by others.
func FuzzParse(f *testing.F) {
	ca := testpki.New(f)
	pair := ca.Leaf(f, testpki.Options{})
	f.Add(pair.CertPEM)
	f.Add(pair.KeyPEM)
	f.Add(append(bytes.Clone(pair.KeyPEM), pair.CertPEM...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if certs, err := parseCerts(data); err == nil && (len(certs) == 0 || certs[0] == nil) {
			t.Error("no certificate and no error")
		}
		if key, err := parseKey(data); err == nil && key == nil {
			t.Error("no key and no error")
		}
		usable([]file{{data: data}}, "x")
	})
}

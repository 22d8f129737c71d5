package local_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// A CA is imported in every form that people have it in, opens again and signs.
func TestImportEveryForm(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	key := testpki.KeyPEM(t, ca.Key)
	keyDER, err := x509.MarshalPKCS8PrivateKey(ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	p12 := func(encoder *pkcs12.Encoder, passphrase string) []byte {
		out, err := encoder.Encode(ca.Key, ca.Cert, nil, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	both := append(append([]byte{}, key...), ca.PEM()...)
	for name, tc := range map[string]struct {
		cert, key []byte // no key: both are in cert
		ask       func() ([]byte, error)
	}{
		"byte order marks":                {append([]byte("\ufeff"), ca.PEM()...), append([]byte("\ufeff"), key...), nil},
		"DER":                             {ca.Cert.Raw, keyDER, nil},
		"TRUSTED CERTIFICATE":             {pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(append([]byte{}, ca.Cert.Raw...), 0x30, 0)}), key, nil},
		"key and certificate in one file": {both, nil, nil},
		"both in one file, named twice":   {both, both, nil},
		"PKCS #12":                        {p12(pkcs12.Modern, "open"), nil, ask("open")},
		"PKCS #12 of before":              {p12(pkcs12.LegacyDES, "open"), nil, ask("open")},
		"PKCS #12 by its own passphrase":  {p12(pkcs12.Modern, passphrase), nil, never(t)},
		"PKCS #12 without a passphrase":   {p12(pkcs12.Passwordless, ""), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			certFile, keyFile := filepath.Join(dir, "ca"), ""
			testpki.WriteFile(t, certFile, tc.cert, 0o600)
			if tc.key != nil {
				keyFile = filepath.Join(dir, "key")
				testpki.WriteFile(t, keyFile, tc.key, 0o600)
			}
			cfg := config(t, passphrase)
			if tc.ask == nil {
				cfg = config(t, "")
			}
			if _, err := local.Import(cfg, certFile, keyFile, tc.ask); err != nil {
				t.Fatalf("%v; hint %s", err, renewer.Hint(err))
			}
			a, err := local.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Sign(t.Context(), order(testpki.Key(t))); err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile(cfg.CertFile); err != nil || string(text) != string(ca.PEM()) {
				t.Errorf("stored %q, %v", text, err)
			}
		})
	}
}

// A key that others can read is refused in a combined file as in its own.
func TestImportOfACombinedFileThatOthersCanRead(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	testpki.WriteFile(t, file, append(testpki.KeyPEM(t, ca.Key), ca.PEM()...), 0o644)
	if _, err := local.Import(config(t, ""), file, "", nil); err == nil || !strings.Contains(err.Error(), "0644") {
		t.Errorf("got %v", err)
	}
}

// A certificate that Go does not read for another reason than its curve is not said
// to have an unknown curve, and SHA-1 below a root is named.
func TestImportNamesTheTrueReason(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		req  []string // of the root
		sha1 bool     // the CA is an intermediate, signed with it
		says string
	}{
		"a negative serial": {req: []string{"-set_serial", "-5"}, says: "negative serial number"},
		"critical key identifier": {
			req: []string{"-addext", "subjectKeyIdentifier=critical,hash"}, says: "subject key identifier incorrectly marked critical",
		},
		"a malformed name": {req: []string{"-addext", "subjectAltName=URI:http://%zz"}, says: "cannot parse URI"},
		"SHA-1":            {sha1: true, says: "CA CN=Sub is signed with ECDSA-SHA1, which peers refuse"},
	} {
		dir := t.TempDir()
		ec := []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"}
		openssl(t, dir, append(ec, "key.pem")...)
		openssl(t, dir, append([]string{"req", "-x509", "-key", "key.pem", "-subj", "/CN=Odd CA", "-days", "10", "-out", "ca.pem"}, tc.req...)...)
		if tc.sha1 {
			openssl(t, dir, "req", "-new", "-key", "key.pem", "-subj", "/CN=Sub", "-out", "csr.pem")
			openssl(t, dir, append(ec, "root-key.pem")...)
			openssl(t, dir, "req", "-x509", "-key", "root-key.pem", "-subj", "/CN=Top", "-days", "10", "-out", "root.pem")
			testpki.WriteFile(t, filepath.Join(dir, "ext"), []byte("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n"), 0o600)
			openssl(t, dir, "x509", "-req", "-in", "csr.pem", "-CA", "root.pem", "-CAkey", "root-key.pem", "-sha1", "-days", "5", "-set_serial", "3", "-extfile", "ext", "-out", "sub.pem")
			sub, _ := os.ReadFile(filepath.Join(dir, "sub.pem"))
			root, _ := os.ReadFile(filepath.Join(dir, "root.pem"))
			testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), append(sub, root...), 0o600)
		}
		_, err := local.Import(config(t, ""), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem"), nil)
		if err == nil || !strings.Contains(err.Error(), tc.says) || renewer.Hint(err) == "" {
			t.Errorf("%s: got %v; hint %s", name, err, renewer.Hint(err))
		}
	}
}

// What holds no CA is named as what it is.
func TestImportNamesWhatIsNoCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key.pem")
	ca := testpki.New(t)
	testpki.WriteFile(t, keyFile, testpki.KeyPEM(t, ca.Key), 0o600)
	for says, text := range map[string]string{
		"has no certificate":              "hello\n",
		"looks like PEM, but is damaged":  strings.ReplaceAll(string(ca.PEM()), "-----", "—-—"),
		"is PKCS #7":                      "-----BEGIN PKCS7-----\nMAA=\n-----END PKCS7-----\n",
		"is a certificate request":        "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
		"neither a certificate nor a key": "\x30\x03\x02\x01\x05",
	} {
		file := filepath.Join(dir, "ca")
		testpki.WriteFile(t, file, []byte(text), 0o600)
		if _, err := local.Import(config(t, ""), file, keyFile, nil); err == nil || !strings.Contains(err.Error(), says) || renewer.Hint(err) == "" {
			t.Errorf("%q: got %v; hint %q", says, err, renewer.Hint(err))
		}
	}
	certFile := filepath.Join(dir, "ca.pem")
	testpki.WriteFile(t, certFile, ca.PEM(), 0o644)
	for says, files := range map[string][2]string{
		"has no certificate but a private key": {keyFile, certFile}, // the two are swapped
		"has no private key":                   {certFile, certFile},
		"no such file or directory":            {filepath.Join(dir, "nowhere"), keyFile},
	} {
		if _, err := local.Import(config(t, ""), files[0], files[1], nil); err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(renewer.Hint(err), "set the file") {
			t.Errorf("%q: got %v; hint %q", says, err, renewer.Hint(err))
		}
	}
}

// Of several certificates with the key of the CA, the self-signed one that lasts
// longest is the CA, in whatever order; the others are left out and named.
func TestImportOfOneKeyWithMoreCertificates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old := testpki.NewWith(t, testpki.Options{CommonName: "Old Root", NotAfter: now.AddDate(1, 0, 0)})
	ca := testpki.NewWith(t, testpki.Options{CommonName: "New Root", NotAfter: now.AddDate(5, 0, 0)})
	cross := old.Intermediate(t, testpki.Options{CommonName: "New Root", Key: ca.Key, NotAfter: now.AddDate(1, 0, 0)}).Cert
	renewed := testpki.NewWith(t, testpki.Options{CommonName: "New Root", Key: ca.Key, NotAfter: now.AddDate(9, 0, 0)}).Cert
	sub := ca.Intermediate(t, testpki.Options{CommonName: "Sub", NotAfter: now.AddDate(1, 0, 0)})
	for name, tc := range map[string]struct {
		certs []*x509.Certificate
		key   *testpki.CA
		want  *x509.Certificate
		root  *x509.Certificate
		left  int
	}{
		"cross-signed":                      {[]*x509.Certificate{ca.Cert, cross}, ca, ca.Cert, ca.Cert, 1},
		"cross-signed first":                {[]*x509.Certificate{cross, ca.Cert}, ca, ca.Cert, ca.Cert, 1},
		"cross-signed, with the other root": {[]*x509.Certificate{cross, old.Cert, ca.Cert}, ca, ca.Cert, ca.Cert, 2},
		"the cross-signed one alone":        {[]*x509.Certificate{cross, old.Cert}, ca, cross, old.Cert, 0},
		"renewed":                           {[]*x509.Certificate{ca.Cert, renewed}, ca, renewed, renewed, 1},
		"renewed and cross-signed":          {[]*x509.Certificate{ca.Cert, cross, renewed}, ca, renewed, renewed, 2},
		"with what is below it":             {[]*x509.Certificate{sub.Cert, ca.Cert}, ca, ca.Cert, ca.Cert, 1},
		"an intermediate of a renewed root": {[]*x509.Certificate{sub.Cert, ca.Cert, renewed}, sub, sub.Cert, renewed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
			testpki.WriteFile(t, certFile, pki.PEM(tc.certs...), 0o644)
			testpki.WriteFile(t, keyFile, testpki.KeyPEM(t, tc.key.Key), 0o600)
			a, err := local.Import(config(t, ""), certFile, keyFile, nil)
			if err != nil {
				t.Fatal(err)
			}
			if info := a.Info(); info.Serial != renewer.SerialHex(tc.want) || len(info.LeftOut) != tc.left {
				t.Errorf("info %+v", info)
			}
			if roots, err := a.Roots(t.Context()); err != nil || !roots[0].Equal(tc.root) {
				t.Errorf("root %v, %v", roots, err)
			}
			if _, err := a.Sign(t.Context(), order(testpki.Key(t))); err != nil {
				t.Error(err)
			}
		})
	}
	dir := t.TempDir()
	testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), pki.PEM(ca.Cert, testpki.New(t).Cert), 0o644)
	testpki.WriteFile(t, filepath.Join(dir, "key.pem"), testpki.KeyPEM(t, ca.Key), 0o600)
	if _, err := local.Import(config(t, ""), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem"), nil); err == nil || !strings.Contains(err.Error(), "is not above") {
		t.Errorf("a stranger in the file: %v", err)
	}
}

// What the CA may sign is known from its certificate alone.
func TestJudgeKnowsTheLimitsOfACA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openssl(t, dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem", "-out", "ca.pem", "-days", "10", "-subj", "/CN=Clients",
		"-addext", "extendedKeyUsage=clientAuth", "-addext", "nameConstraints=critical,permitted;DNS:corp.example")
	cfg := local.Config{Name: "ca", CertFile: filepath.Join(dir, "ca.pem"), KeyFile: filepath.Join(dir, "nowhere")}
	judge := local.Judge(cfg)
	request := func(life time.Duration, name string, usages ...renewer.Usage) renewer.Request {
		return renewer.Request{CommonName: "x", SANs: []string{name}, Usages: usages, Lifetime: life}
	}
	for says, r := range map[string]renewer.Request{
		"":                                request(time.Hour, "a.corp.example", "client"),
		"may sign for client only":        request(time.Hour, "a.corp.example", "client", "server"),
		"not authorized to sign for this": request(time.Hour, "a.example", "client"),
		"after its issuer":                request(30*24*time.Hour, "a.corp.example", "client"),
	} {
		if err := judge(r); (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), says) || renewer.Hint(err) == "") {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}

package local_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
)

func ask(answer string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(answer), nil }
}

func never(t *testing.T) func() ([]byte, error) {
	return func() ([]byte, error) { t.Error("asked for a passphrase"); return nil, nil }
}

// What openssl makes, as in the Docker guide: imported, opened again, and its
// leaves accepted by openssl.
func TestImportWhatOpensslMade(t *testing.T) {
	t.Parallel()
	encrypted := []string{"-aes256", "-passout", "pass:" + passphrase}
	cases := map[string]struct {
		genkey    []string
		key       string
		encrypted bool
		reopen    bool // costs two key derivations more
	}{
		"guide, RSA-4096":  {append(append([]string{"genrsa"}, encrypted...), "4096"), "rsa-4096", true, true},
		"RSA, plain":       {[]string{"genrsa", "2048"}, "rsa-2048", false, true},
		"RSA, traditional": {append(append([]string{"genrsa", "-traditional"}, encrypted...), "2048"), "rsa-2048", true, false},
		"EC, parameters":   {[]string{"ecparam", "-name", "prime256v1", "-genkey"}, "ecdsa-p256", false, true},
		"EC P-384":         {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-aes256", "-pass", "pass:" + passphrase}, "ecdsa-p384", true, false},
		"Ed25519":          {[]string{"genpkey", "-algorithm", "ED25519", "-aes-128-cbc", "-pass", "pass:" + passphrase}, "ed25519", true, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certFile, keyFile := guideCA(t, t.TempDir(), c.genkey...)
			const own = "Own-Phrase-3"
			cfg := config(t, "")
			if c.encrypted {
				cfg = config(t, own+"\n") // as an editor leaves it
			}
			a, err := local.Import(cfg, certFile, keyFile, ask(passphrase))
			if err != nil {
				t.Fatal(err)
			}
			stored, err := os.ReadFile(cfg.KeyFile)
			if err != nil || strings.HasPrefix(string(stored), "-----BEGIN ENCRYPTED PRIVATE KEY-----") != c.encrypted {
				t.Errorf("stored as %.30q, %v", stored, err)
			}
			if c.reopen {
				// openssl reads with the issuer's passphrase what was stored, and so does Open.
				openssl(t, filepath.Dir(cfg.KeyFile), "pkey", "-in", "ca-key.pem", "-noout", "-passin", "pass:"+own)
				if a, err = local.Open(cfg); err != nil {
					t.Fatal(err)
				}
			}
			if info := a.Info(); info.Key != c.key || info.Encrypted != c.encrypted || info.CanSignCRL ||
				info.Subject != "CN=Docker CA,O=MyOrg,L=Pasco,ST=Washington,C=US" || info.PathLen != -1 {
				t.Errorf("info %+v", info)
			}
			o := order(testpki.Key(t))
			o.Usages = []renewer.Usage{renewer.UsageServer, renewer.UsageClient}
			chain, err := a.Sign(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			opensslAccepts(t, a, chain, "sslserver")
			opensslAccepts(t, a, chain, "sslclient")
		})
	}
}

func TestImportKeepsPlainPlainAndEncryptedEncrypted(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	testpki.WriteFile(t, certFile, ca.PEM(), 0o644)
	testpki.WriteFile(t, keyFile, testpki.KeyPEM(t, ca.Key), 0o600)

	cfg := config(t, "")
	a, err := local.Import(cfg, certFile, keyFile, never(t))
	if err != nil || a.Info().Encrypted {
		t.Fatalf("plain into plain: %v", err)
	}
	for path, mode := range map[string]os.FileMode{filepath.Dir(cfg.KeyFile): 0o700, cfg.KeyFile: 0o600, cfg.CertFile: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %04o", path, info.Mode(), err, mode)
		}
	}

	// Encrypted with the issuer's own passphrase: no one is asked.
	cfg = config(t, passphrase)
	if a, err = local.Import(cfg, certFile, keyFile, never(t)); err != nil || !a.Info().Encrypted {
		t.Fatalf("plain into encrypted: %v", err)
	}
	second := config(t, passphrase)
	if _, err := local.Import(second, cfg.CertFile, cfg.KeyFile, never(t)); err != nil {
		t.Fatalf("encrypted into encrypted: %v", err)
	}

	// Without one of its own it would become plain.
	plain := config(t, "")
	_, err = local.Import(plain, cfg.CertFile, cfg.KeyFile, ask(passphrase))
	if err == nil || !strings.Contains(err.Error(), "no passphrase_file") || !strings.Contains(renewer.Hint(err), "passphrase_file of issuer fleet-ca") {
		t.Errorf("encrypted into plain: %v, hint %q", err, renewer.Hint(err))
	}
	nothingAt(t, plain)
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	ec := slices.Clip([]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"})
	cases := map[string]struct {
		genkey []string
		after  []string // a command of openssl that changes the key
		answer string
		want   string
		hint   string
	}{
		"wrong passphrase": {
			genkey: append(ec, "-aes256", "-pass", "pass:"+passphrase), answer: wrongPassphrase,
			want: "the passphrase is wrong", hint: "openssl pkey -in",
		},
		"wrong passphrase, traditional": {
			genkey: []string{"genrsa", "-traditional", "-aes256", "-passout", "pass:" + passphrase}, answer: wrongPassphrase,
			want: "the passphrase is wrong", hint: "openssl pkey -in",
		},
		"scrypt": {
			genkey: ec, after: []string{"pkcs8", "-topk8", "-scrypt", "-in", "ca-key.pem", "-out", "new.pem", "-passout", "pass:" + passphrase}, answer: passphrase,
			want: "encryption with scrypt is not supported", hint: "openssl pkcs8 -topk8 -v2 aes-256-cbc",
		},
		"PBES1 with 3DES": {
			genkey: ec, after: []string{"pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", "ca-key.pem", "-out", "new.pem", "-passout", "pass:" + passphrase}, answer: passphrase,
			want: "PBES1 or PKCS #12", hint: "openssl pkcs8 -topk8 -v2 aes-256-cbc",
		},
		"HMAC-SHA-512": {
			genkey: ec, after: []string{"pkcs8", "-topk8", "-v2", "aes256", "-v2prf", "hmacWithSHA512", "-in", "ca-key.pem", "-out", "new.pem", "-passout", "pass:" + passphrase}, answer: passphrase,
			want: "key derivation with 1.2.840.113549.2.11 is not supported", hint: "openssl pkcs8 -topk8 -v2 aes-256-cbc",
		},
		"Camellia": {
			genkey: []string{"genrsa", "-traditional", "-camellia256", "-passout", "pass:" + passphrase}, answer: passphrase,
			want: `"CAMELLIA-256-CBC" is not supported`, hint: "openssl pkcs8 -topk8 -v2 aes-256-cbc",
		},
		"RSA-1024": {
			genkey: []string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"}, answer: passphrase,
			want: "1024 bits", hint: "create a new CA",
		},
		"DSA-like curve": {
			genkey: []string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, answer: passphrase,
			want: "is ECDSA on secp256k1", hint: "renewer ca init",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			certFile, keyFile := guideCA(t, dir, c.genkey...)
			if c.after != nil {
				openssl(t, dir, c.after...)
				keyFile = filepath.Join(dir, "new.pem")
			}
			cfg := config(t, "Own-Phrase-3")
			_, err := local.Import(cfg, certFile, keyFile, ask(c.answer))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) || !strings.Contains(renewer.Hint(err), c.hint) {
				t.Fatalf("got %v, hint %q; want %q, hint %q", err, renewer.Hint(err), c.want, c.hint)
			}
			if renewer.ClassOf(err) != renewer.ClassMisconfigured {
				t.Errorf("class %s", renewer.ClassOf(err))
			}
			for _, secret := range []string{passphrase, wrongPassphrase, "Own-Phrase-3"} {
				if strings.Contains(fmt.Sprintf("%+v %s", err, renewer.Hint(err)), secret) {
					t.Errorf("shows a passphrase: %v", err)
				}
			}
			nothingAt(t, cfg)
		})
	}
}

// The command that the hint names makes an importable key.
func TestConversionFromTheHintWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, _ := guideCA(t, dir, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
	openssl(t, dir, "pkcs8", "-topk8", "-scrypt", "-in", "ca-key.pem", "-out", "scrypt.pem", "-passout", "pass:"+passphrase)
	keyFile := filepath.Join(dir, "scrypt.pem")
	cfg := config(t, "Own-Phrase-3")
	_, err := local.Import(cfg, certFile, keyFile, ask(passphrase))
	command, ok := strings.CutPrefix(renewer.Hint(err), "convert it: openssl ")
	if !ok {
		t.Fatalf("got %v, hint %q", err, renewer.Hint(err))
	}
	args := strings.Fields(strings.ReplaceAll(command, "NEW", "new.pem"))
	openssl(t, dir, append(args, "-passin", "pass:"+passphrase, "-passout", "pass:"+passphrase)...)
	if _, err := local.Import(cfg, certFile, filepath.Join(dir, "new.pem"), ask(passphrase)); err != nil {
		t.Error(err)
	}
}

func TestImportOfAnIntermediate(t *testing.T) {
	t.Parallel()
	root := testpki.New(t)
	upper := root.Intermediate(t, testpki.Options{CommonName: "Upper", NotAfter: time.Now().Add(48 * time.Hour)})
	lower := upper.Intermediate(t, testpki.Options{CommonName: "Lower", NotAfter: time.Now().Add(72 * time.Hour)})
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	testpki.WriteFile(t, keyFile, testpki.KeyPEM(t, lower.Key), 0o600)
	// In any order, with one of them twice.
	testpki.WriteFile(t, certFile, testpki.PEM(root.Cert, lower.Cert, upper.Cert, lower.Cert), 0o644)

	cfg := config(t, "")
	if _, err := local.Import(cfg, certFile, keyFile, nil); err != nil {
		t.Fatal(err)
	}
	a, err := local.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := roots(t, a); len(got) != 1 || !got[0].Equal(root.Cert) {
		t.Errorf("roots %v", got)
	}
	o := order(testpki.Key(t))
	o.Lifetime = time.Hour
	chain, err := a.Sign(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(chain.Intermediates) != 2 || !chain.Intermediates[0].Equal(lower.Cert) || !chain.Intermediates[1].Equal(upper.Cert) {
		t.Errorf("chain of %d", len(chain.Intermediates))
	}
	opensslAccepts(t, a, chain, "sslserver")

	// A leaf must not outlive any certificate above it.
	o.Lifetime = 60 * time.Hour
	if _, err := a.Sign(t.Context(), o); err == nil || !strings.Contains(err.Error(), "CA CN=Upper") {
		t.Errorf("past the upper CA: %v", err)
	}
}

func TestPathLengthsAboveAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openssl(t, dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=Root",
		"-addext", "basicConstraints=critical,CA:TRUE,pathlen:0", "-keyout", "root-key.pem", "-out", "root.pem")
	openssl(t, dir, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "20", "-subj", "/CN=Sub",
		"-addext", "basicConstraints=critical,CA:TRUE", "-CA", "root.pem", "-CAkey", "root-key.pem", "-keyout", "sub-key.pem", "-out", "sub.pem")
	appendFile(t, filepath.Join(dir, "sub.pem"), filepath.Join(dir, "root.pem"))
	_, err := local.Import(config(t, ""), filepath.Join(dir, "sub.pem"), filepath.Join(dir, "sub-key.pem"), nil)
	if err == nil || !strings.Contains(err.Error(), "CA CN=Root allows 0 CAs below it") {
		t.Errorf("got %v", err)
	}
}

// A crash after the key was written: the same call completes it.
func TestHalfOfACAIsCompleted(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", passphrase} {
		cfg := config(t, secret)
		first, err := local.Create(cfg, local.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		remove(t, cfg.CertFile)
		testpki.WriteFile(t, filepath.Join(filepath.Dir(cfg.CertFile), ".renewer-tmp-1"), []byte("half"), 0o600)
		second, err := local.Create(cfg, local.CreateOptions{})
		if err != nil {
			t.Fatalf("ca init after a crash: %v", err)
		}
		if !samePublicKey(roots(t, first)[0].PublicKey, roots(t, second)[0].PublicKey) {
			t.Error("another key was made")
		}
		if names, _ := os.ReadDir(filepath.Dir(cfg.CertFile)); len(names) != 2 {
			t.Errorf("left over: %v", names)
		}
	}

	ca := testpki.New(t)
	certFile, keyFile := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "key.pem")
	testpki.WriteFile(t, certFile, ca.PEM(), 0o644)
	testpki.WriteFile(t, keyFile, testpki.KeyPEM(t, ca.Key), 0o600)
	cfg := config(t, "")
	testpki.WriteFile(t, cfg.KeyFile, testpki.KeyPEM(t, ca.Key), 0o600)
	if _, err := local.Import(cfg, certFile, keyFile, nil); err != nil {
		t.Errorf("ca import after a crash: %v", err)
	}

	cfg = config(t, "")
	testpki.WriteFile(t, cfg.KeyFile, testpki.KeyPEM(t, testpki.Key(t)), 0o600)
	if _, err := local.Import(cfg, certFile, keyFile, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("ca import over another key: %v", err)
	}
}

func TestForeignKeyIsNotTakenByInit(t *testing.T) {
	t.Parallel()
	cfg := config(t, "")
	if err := os.MkdirAll(filepath.Dir(cfg.KeyFile), 0o700); err != nil {
		t.Fatal(err)
	}
	openssl(t, filepath.Dir(cfg.KeyFile), "genrsa", "-out", "ca-key.pem", "2048")
	_, err := local.Create(cfg, local.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "ca init did not make it") || renewer.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

func nothingAt(t *testing.T, cfg local.Config) {
	t.Helper()
	for _, path := range []string{cfg.CertFile, cfg.KeyFile} {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s exists", path)
		}
	}
}

func appendFile(t *testing.T, to, from string) {
	t.Helper()
	var all []byte
	for _, path := range []string{to, from} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	testpki.WriteFile(t, to, all, 0o644)
}

func samePublicKey(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

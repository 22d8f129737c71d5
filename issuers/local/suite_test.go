package local_test

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/issuertest"
	"renewer/issuers/local"
	"renewer/renewer"
)

const wrongPassphrase = "Wrong-Phrase-2"

func TestSuite(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{
		New:     func(t *testing.T) issuertest.Issuer { a, _ := create(t); return a },
		Keys:    []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Secrets: []string{passphrase, wrongPassphrase, "SECRET-BYTES"},
		Faults:  faults(),
		Replace: func(t *testing.T) (issuertest.Issuer, func()) {
			_, cfg := create(t)
			return reopened{cfg}, func() {
				next, err := local.CreateNext(cfg, local.NextOptions{})
				if err == nil {
					err = local.Switch(cfg, next.Info().Fingerprint)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		},
		Limited: func(t *testing.T) (issuertest.Issuer, time.Duration) {
			cfg := config(t, "")
			cfg.Policy.MaxLifetime = 30 * 24 * time.Hour
			a, err := local.Create(cfg, local.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return a, cfg.Policy.MaxLifetime
		},
	})
}

func TestSuiteBelowARoot(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{New: func(t *testing.T) issuertest.Issuer { _, a, _ := below(t); return a }})
}

// reopened opens the CA for each call, as who sees other files does.
type reopened struct{ cfg local.Config }

func (r reopened) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	a, err := local.Open(r.cfg)
	if err != nil {
		return renewer.Chain{}, err
	}
	return a.Sign(ctx, o)
}

func (r reopened) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	a, err := local.Open(r.cfg)
	if err != nil {
		return nil, err
	}
	return a.Roots(ctx)
}

func (r reopened) Health(ctx context.Context) error {
	a, err := local.Open(r.cfg)
	if err != nil {
		return err
	}
	return a.Health(ctx)
}

// opened is a fault of the files: a CA is made, spoiled, and opened.
func opened(class renewer.Class, spoil func(t *testing.T, cfg *local.Config), contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: class, Contains: contains, Provoke: func(t *testing.T) error {
		_, cfg := create(t)
		spoil(t, &cfg)
		a, err := local.Open(cfg)
		if err != nil {
			return err
		}
		return errors.Join(a.Health(t.Context()))
	}}
}

// ordered is a fault of the order.
func ordered(spoil func(o *renewer.Order), contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: renewer.ClassRefused, Contains: contains, Provoke: func(t *testing.T) error {
		a, _ := create(t)
		o := order(testpki.Key(t))
		spoil(&o)
		_, err := a.Sign(t.Context(), o)
		return err
	}}
}

func faults() map[string]issuertest.Fault {
	const mis = renewer.ClassMisconfigured
	pair := func(t *testing.T, cfg *local.Config, p testpki.Pair) {
		testpki.WriteFile(t, cfg.CertFile, p.CertPEM, 0o644)
		testpki.WriteFile(t, cfg.KeyFile, p.KeyPEM, 0o600)
	}
	authority := func(t *testing.T, cfg *local.Config, ca *testpki.CA) {
		pair(t, cfg, testpki.Pair{CertPEM: testpki.PEM(ca.Cert), KeyPEM: testpki.KeyPEM(t, ca.Key)})
	}
	return map[string]issuertest.Fault{
		"no CA": opened(mis, func(t *testing.T, cfg *local.Config) {
			remove(t, cfg.CertFile)
			remove(t, cfg.KeyFile)
		}, "fleet-ca has no CA", "ca.pem"),
		"certificate missing": opened(mis, func(t *testing.T, cfg *local.Config) { remove(t, cfg.CertFile) }, "no certificate", "ca.pem"),
		"key missing":         opened(mis, func(t *testing.T, cfg *local.Config) { remove(t, cfg.KeyFile) }, "no key", "ca-key.pem"),
		"key exposed": opened(mis, func(t *testing.T, cfg *local.Config) {
			if err := os.Chmod(cfg.KeyFile, 0o640); err != nil {
				t.Fatal(err)
			}
		}, "ca-key.pem", "0640"),
		"key of another": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.KeyFile, testpki.KeyPEM(t, testpki.Key(t)), 0o600)
		}, "does not belong", "ca.pem", "ca-key.pem"),
		"key is garbage": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.KeyFile, []byte("SECRET-BYTES"), 0o600)
		}, "ca-key.pem has no private key"),
		"key block is garbage": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.KeyFile, []byte("-----BEGIN PRIVATE KEY-----\nU0VDUkVULUJZVEVT\n-----END PRIVATE KEY-----\n"), 0o600)
		}, "ca-key.pem has no readable RSA, ECDSA or Ed25519 private key"),
		"two keys": opened(mis, func(t *testing.T, cfg *local.Config) {
			key := testpki.KeyPEM(t, testpki.Key(t))
			testpki.WriteFile(t, cfg.KeyFile, append(key, key...), 0o600)
		}, "more than one private key"),
		"key too large": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.KeyFile, make([]byte, 65<<10), 0o600)
		}, "ca-key.pem: larger than 65536 bytes"),
		"certificate is garbage": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.CertFile, []byte("not PEM"), 0o644)
		}, "ca.pem has no certificate"),
		"certificate block is garbage": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.CertFile, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o644)
		}, "ca.pem: certificate 1 cannot be read"),
		"certificate too large": opened(mis, func(t *testing.T, cfg *local.Config) {
			testpki.WriteFile(t, cfg.CertFile, make([]byte, 257<<10), 0o644)
		}, "ca.pem: larger than 262144 bytes"),
		"certificate file is a directory": opened(mis, func(t *testing.T, cfg *local.Config) {
			remove(t, cfg.CertFile)
			if err := os.Mkdir(cfg.CertFile, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"),
		"certificate file holds a key": opened(mis, func(t *testing.T, cfg *local.Config) {
			cfg.CertFile = cfg.KeyFile
		}, "ca-key.pem has no certificate but a private key"),
		"a stranger in the file": opened(mis, func(t *testing.T, cfg *local.Config) {
			data, err := os.ReadFile(cfg.CertFile)
			if err != nil {
				t.Fatal(err)
			}
			testpki.WriteFile(t, cfg.CertFile, append(data, testpki.New(t).PEM()...), 0o644)
		}, "CA CN=Test Root is not above CA CN=renewer fleet-ca CA"),
		"intermediate without root": opened(mis, func(t *testing.T, cfg *local.Config) {
			authority(t, cfg, testpki.New(t).Intermediate(t, testpki.Options{CommonName: "Sub"}))
		}, "CA CN=Sub was signed by \"CN=Test Root\""),
		"not a CA": opened(mis, func(t *testing.T, cfg *local.Config) {
			ca := testpki.New(t)
			p := ca.Leaf(t, testpki.Options{CommonName: "leaf"})
			p.CertPEM = append(p.CertPEM, ca.PEM()...)
			pair(t, cfg, p)
		}, "CA CN=leaf is not a CA"),
		"expired": opened(mis, func(t *testing.T, cfg *local.Config) {
			authority(t, cfg, testpki.NewWith(t, testpki.Options{CommonName: "Old", NotAfter: time.Now().Add(-time.Hour)}))
		}, "CA CN=Old expired at 20"),
		"not yet valid": opened(mis, func(t *testing.T, cfg *local.Config) {
			authority(t, cfg, testpki.NewWith(t, testpki.Options{CommonName: "New", NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}))
		}, "CA CN=New is not valid before 20"),
		"passphrase for a plain key": opened(mis, func(t *testing.T, cfg *local.Config) { cfg.PassphraseFile = config(t, passphrase).PassphraseFile }, "is not encrypted"),
		"passphrase file missing":    opened(mis, func(t *testing.T, cfg *local.Config) { cfg.PassphraseFile = "/nonexistent/passphrase" }, "/nonexistent/passphrase"),
		"passphrase file empty":      opened(mis, func(t *testing.T, cfg *local.Config) { cfg.PassphraseFile = config(t, "\n").PassphraseFile }, "is empty"),

		"init over a CA": {Class: mis, Contains: []string{"not overwritten", "ca.pem"}, Provoke: func(t *testing.T) error {
			_, cfg := create(t)
			before := contents(t, cfg)
			_, err := local.Create(cfg, local.CreateOptions{})
			if after := contents(t, cfg); after != before {
				t.Error("the CA was changed")
			}
			return err
		}},
		"init where nothing can be written": {Class: mis, Contains: []string{"/proc/renewer"}, Provoke: func(*testing.T) error {
			_, err := local.Create(local.Config{Name: "fleet-ca", CertFile: "/proc/renewer/ca.pem", KeyFile: "/proc/renewer/ca-key.pem"}, local.CreateOptions{})
			return err
		}},

		"lifetime past the CA": ordered(func(o *renewer.Order) { o.Lifetime = 11 * 365 * 24 * time.Hour },
			"docker@host-b would expire at 20", "CA CN=renewer fleet-ca CA", "which expires at 20"),
		"no lifetime":   ordered(func(o *renewer.Order) { o.Lifetime = 0 }, "docker@host-b", "lifetime 0s"),
		"no usage":      ordered(func(o *renewer.Order) { o.Usages = nil }, "docker@host-b has no usage"),
		"odd usage":     ordered(func(o *renewer.Order) { o.Usages = []renewer.Usage{"email"} }, `"email"`),
		"no name":       ordered(func(o *renewer.Order) { o.CommonName, o.SANs = "", nil }, "neither a common name nor a SAN"),
		"long name":     ordered(func(o *renewer.Order) { o.CommonName = strings.Repeat("h", 65) }, "65 characters"),
		"name with dot": ordered(func(o *renewer.Order) { o.SANs = []string{"host..b"} }, `"host..b"`),
		"name in UTF-8": ordered(func(o *renewer.Order) { o.SANs = []string{"hôte.example"} }, `"hôte.example"`),
	}
}

func TestOrderWithoutAKeyIsRefused(t *testing.T) {
	t.Parallel()
	a, _ := create(t)
	if _, err := a.Sign(t.Context(), order(nil)); renewer.ClassOf(err) != renewer.ClassRefused {
		t.Errorf("got %v", err)
	}
}

func TestCancelledBeforeSigning(t *testing.T) {
	t.Parallel()
	a, _ := create(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := a.Sign(ctx, order(testpki.Key(t))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// contents is both files as one string.
func contents(t *testing.T, cfg local.Config) string {
	t.Helper()
	var out strings.Builder
	for _, path := range []string{cfg.CertFile, cfg.KeyFile} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(filepath.Base(path) + "\n")
		out.Write(data)
	}
	return out.String()
}

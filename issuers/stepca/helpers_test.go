package stepca_test

import (
	"context"
	"crypto"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/teststepca"
	"renewer/issuers/stepca"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// shared is a step-ca for the tests that do not stop it.
var shared *teststepca.CA

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		os.Exit(serve(dir))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "step-ca")
	if err != nil {
		fmt.Println(err)
		return 2
	}
	defer os.RemoveAll(dir)
	if shared, err = teststepca.Start(dir, teststepca.Options{}); err != nil {
		fmt.Println(err)
		return 2
	}
	code := m.Run()
	if err := shared.Stop(); err != nil {
		fmt.Println(err)
		code = 1
	}
	if err := goleak.Find(teststepca.Leftovers()...); err != nil {
		fmt.Println(err)
		code = 1
	}
	return code
}

func configOf(ca *teststepca.CA) stepca.Config {
	return stepca.Config{
		Name: "corp-step", URL: ca.URL, RootFingerprint: ca.Fingerprint,
		Provisioner: teststepca.Provisioner, PasswordFile: ca.PasswordFile,
	}
}

func x5cConfigOf(ca *teststepca.CA) stepca.Config {
	cfg := configOf(ca)
	cfg.Provisioner, cfg.PasswordFile = teststepca.X5CProvisioner, ""
	cfg.X5CCert, cfg.X5CKey = ca.X5CCertFile, ca.X5CKeyFile
	return cfg
}

func open(t testing.TB, cfg stepca.Config) *stepca.Issuer {
	t.Helper()
	i, err := stepca.New(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, i.Close()) })
	return i
}

func start(t testing.TB, o teststepca.Options) *teststepca.CA {
	t.Helper()
	ca, err := teststepca.Start(t.TempDir(), o)
	must(t, err)
	t.Cleanup(func() { must(t, ca.Stop()) })
	return ca
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.NewKey(renewer.ECDSAP256)
	must(t, err)
	return key
}

func orderFor(key crypto.Signer) renewer.Order {
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		Issuer: "corp-step", CommonName: "host-b", SANs: []string{"host-b", "host-b.example.com", "10.0.1.2", "fd00::2"},
		Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Lifetime: time.Hour,
	}}
}

// sign orders a certificate and checks it as the engine would.
func sign(t testing.TB, i *stepca.Issuer, o renewer.Order) renewer.Chain {
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

// cancelled is a context that is done.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

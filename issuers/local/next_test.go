package local_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fingerprint(a *local.Authority) string { return a.Info().Fingerprint }

// tree copies the files of a CA.
func tree(t *testing.T, cfg local.Config) (local.Config, func(name string) string) {
	t.Helper()
	from, to := filepath.Dir(cfg.CertFile), filepath.Join(t.TempDir(), "ca")
	must(t, os.CopyFS(to, os.DirFS(from)))
	keys, err := filepath.Glob(filepath.Join(to, "ca-key*"))
	must(t, err)
	for _, key := range keys {
		must(t, os.Chmod(key, 0o600))
	}
	cfg.CertFile, cfg.KeyFile = filepath.Join(to, "ca.pem"), filepath.Join(to, "ca-key.pem")
	return cfg, func(name string) string { return filepath.Join(to, name) }
}

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	testpki.WriteFile(t, to, data, mode)
}

// A switch is cut short after each of its effects: at every moment ca.pem is the CA
// that signs and its key is found, nothing is lost, and the same call completes it.
func TestASwitchThatIsCutShortIsCompleted(t *testing.T) {
	t.Parallel()
	for kind, next := range map[string]func(cfg local.Config) (*local.Authority, error){
		"created":  func(cfg local.Config) (*local.Authority, error) { return local.CreateNext(cfg, local.NextOptions{}) },
		"reissued": func(cfg local.Config) (*local.Authority, error) { return local.Reissue(cfg, local.NextOptions{}) },
		"rsa": func(cfg local.Config) (*local.Authority, error) {
			return local.CreateNext(cfg, local.NextOptions{Key: renewer.RSA2048})
		},
	} {
		for _, secret := range []string{"", passphrase} {
			if kind != "created" && secret != "" {
				continue
			}
			whole := config(t, secret)
			was, err := local.Create(whole, local.CreateOptions{})
			must(t, err)
			will, err := next(whole)
			must(t, err)
			old := "old-" + fingerprint(was)[:16]
			for n := range 5 {
				if secret != "" && n != 3 { // opening an encrypted key is expensive
					continue
				}
				cfg, in := tree(t, whole)
				steps := []func(){
					func() { copyFile(t, in("ca-key.pem"), in("ca-key."+old+".pem"), 0o600) },
					func() { copyFile(t, in("ca.pem"), in("ca."+old+".pem"), 0o644) },
					func() { must(t, os.Rename(in("ca.next.pem"), in("ca.pem"))) },
					func() { _ = os.Rename(in("ca-key.next.pem"), in("ca-key.pem")) }, // a reissued CA has none
				}
				for _, step := range steps[:n] {
					step()
				}
				a, err := local.Open(cfg)
				must(t, err)
				if want := map[bool]string{false: fingerprint(was), true: fingerprint(will)}[n >= 3]; fingerprint(a) != want {
					t.Errorf("%s, after %d steps: %s signs", kind, n, a.Info().Subject)
				}
				signs(t, a)
				if n == 3 { // whatever is asked for now, the key that signs is not lost
					must(t, local.DropNext(cfg))
					_, err := local.CreateNext(cfg, local.NextOptions{})
					must(t, err)
					a, err := local.Open(cfg)
					must(t, err)
					signs(t, a)
					must(t, local.DropNext(cfg))
				}
				must(t, local.Switch(cfg, fingerprint(will)))
				must(t, local.Switch(cfg, fingerprint(will)))
				a, err = local.Open(cfg)
				must(t, err)
				if fingerprint(a) != fingerprint(will) || a.Info().Encrypted != (secret != "") {
					t.Errorf("%s, after %d steps: in the end %+v signs", kind, n, a.Info())
				}
				signs(t, a)
				before, err := local.OldCAs(cfg)
				must(t, err)
				if len(before) != 1 || renewer.Fingerprint(before[0].Cert.Raw) != fingerprint(was) || !before[0].Key {
					t.Errorf("%s, after %d steps: %+v", kind, n, before)
				}
				o, err := local.OpenOld(cfg, fingerprint(was))
				must(t, err)
				if _, err := o.CRL(t.Context()); err != nil {
					t.Error(err)
				}
				if _, _, err := local.NextRoot(cfg); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("there is a next CA still: %v", err)
				}
				names := listed(t, cfg)
				if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, ".next.") || strings.HasPrefix(name, ".renewer") }) {
					t.Errorf("%s, after %d steps: left over: %v", kind, n, names)
				}
			}
		}
	}
}

func listed(t *testing.T, cfg local.Config) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(cfg.CertFile))
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func signs(t *testing.T, a *local.Authority) {
	t.Helper()
	o := order(testpki.Key(t))
	chain, err := a.Sign(t.Context(), o)
	must(t, err)
	must(t, chain.Leaf.CheckSignatureFrom(a.Root()))
}

func TestTheNextCAHasTheNextName(t *testing.T) {
	t.Parallel()
	_, cfg := create(t)
	for _, want := range []string{"CN=renewer fleet-ca CA 2", "CN=renewer fleet-ca CA 3", "CN=renewer fleet-ca CA 4"} {
		next, err := local.CreateNext(cfg, local.NextOptions{Lifetime: 100 * time.Hour})
		must(t, err)
		if i := next.Info(); i.Subject != want || i.Key != "ecdsa-p256" || time.Until(i.NotAfter) > 100*time.Hour {
			t.Errorf("%+v", i)
		}
		must(t, local.Switch(cfg, fingerprint(next)))
	}
	if before, err := local.OldCAs(cfg); err != nil || len(before) != 3 {
		t.Errorf("%v, %v", before, err)
	}
}

// What was signed before a CA was reissued leads to it as well, for strict peers too.
func TestAReissuedCAVouchesForWhatItHasSigned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := guideCA(t, dir, "genrsa", "2048") // without keyUsage
	cfg := config(t, "")
	was, err := local.Import(cfg, certFile, keyFile, nil)
	must(t, err)
	chain, err := was.Sign(t.Context(), order(testpki.Key(t)))
	must(t, err)
	a, err := local.Reissue(cfg, local.NextOptions{Lifetime: 20 * 365 * 24 * time.Hour})
	must(t, err)
	must(t, local.Switch(cfg, fingerprint(a)))
	opensslAccepts(t, a, chain, "sslserver", "-x509_strict")
	c := a.Root()
	if !pki.Twins(was.Root(), c) || c.KeyUsage&x509.KeyUsageCRLSign == 0 || !a.Info().CanSignCRL || !c.NotAfter.After(was.Root().NotAfter) {
		t.Errorf("%+v", a.Info())
	}
	for _, want := range []struct {
		oid      string
		critical bool
	}{{"2.5.29.15", true}, {"2.5.29.19", true}, {"2.5.29.14", false}} {
		if !slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.String() == want.oid && e.Critical == want.critical }) {
			t.Errorf("extension %s is missing, or critical is not %t", want.oid, want.critical)
		}
	}
	if next, err := local.Reissue(cfg, local.NextOptions{}); err != nil { // without a choice never a shorter life
		t.Error(err)
	} else if next.Root().NotAfter.Before(c.NotAfter) {
		t.Errorf("it lives until %s", next.Root().NotAfter)
	}
}

// What is not accepted is not written.
func TestANextCAThatIsNotAcceptedIsNotWritten(t *testing.T) {
	t.Parallel()
	cfg := config(t, "")
	_, err := local.Create(cfg, local.CreateOptions{})
	must(t, err)
	other := config(t, "")
	_, err = local.Create(other, local.CreateOptions{})
	must(t, err)
	no, asked := errors.New("no"), 0
	o := local.NextOptions{Accept: func(a *local.Authority) error {
		asked++
		judge, err := a.Judge()
		must(t, err)
		if err := judge(renewer.Request{CommonName: "web", Usages: []renewer.Usage{renewer.UsageServer}, Lifetime: time.Hour}); err != nil {
			t.Error(err)
		}
		return no
	}}
	_, err1 := local.CreateNext(cfg, o)
	_, err2 := local.Reissue(cfg, o)
	_, err3 := local.ImportNext(cfg, other.CertFile, other.KeyFile, nil, o.Accept)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, no) {
			t.Error(err)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(cfg.CertFile), "*.next.*")); len(files) > 0 || asked != 3 {
		t.Errorf("asked %d times, written: %v", asked, files)
	}
}

func TestTheNextCAIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		provoke func(t *testing.T, cfg local.Config) error
		want    string
	}{
		"wrong passphrase for the signing key": {func(t *testing.T, cfg local.Config) error {
			testpki.WriteFile(t, cfg.PassphraseFile, []byte(wrongPassphrase), 0o600)
			_, err := local.CreateNext(cfg, local.NextOptions{})
			return err
		}, "the passphrase is wrong"},
		"wrong passphrase for the next key": {func(t *testing.T, cfg local.Config) error {
			next, err := local.CreateNext(cfg, local.NextOptions{})
			must(t, err)
			other := config(t, wrongPassphrase)
			_, err = local.Create(other, local.CreateOptions{})
			must(t, err)
			copyFile(t, other.KeyFile, filepath.Join(filepath.Dir(cfg.KeyFile), "ca-key.next.pem"), 0o600)
			return local.Switch(cfg, fingerprint(next))
		}, "the passphrase is wrong"},
		"another CA than the one that is meant": {func(t *testing.T, cfg local.Config) error {
			_, err := local.CreateNext(cfg, local.NextOptions{})
			must(t, err)
			return local.Switch(cfg, strings.Repeat("0", 64))
		}, "is CA CN=renewer fleet-ca CA 2, and not"},
		"no next CA": {func(_ *testing.T, cfg local.Config) error { return local.Switch(cfg, strings.Repeat("0", 64)) }, "ca.next.pem"},
		"a next CA is there": {func(t *testing.T, cfg local.Config) error {
			_, err := local.CreateNext(cfg, local.NextOptions{})
			must(t, err)
			_, err = local.CreateNext(cfg, local.NextOptions{})
			return err
		}, "ca.next.pem"},
		"an odd key": {func(_ *testing.T, cfg local.Config) error {
			_, err := local.CreateNext(cfg, local.NextOptions{Key: "dsa-1024"})
			return err
		}, `a CA has no key of type "dsa-1024"`},
		"signed again for a shorter life": {func(_ *testing.T, cfg local.Config) error {
			_, err := local.Reissue(cfg, local.NextOptions{Lifetime: time.Hour})
			return err
		}, "before the current one"},
		"the same CA": {func(_ *testing.T, cfg local.Config) error {
			_, err := local.ImportNext(cfg, cfg.CertFile, cfg.KeyFile, nil, func(*local.Authority) error { return nil })
			return err
		}, "signs with this CA"},
		"an intermediate signed again": {func(t *testing.T, cfg local.Config) error {
			sub := testpki.New(t).Intermediate(t, testpki.Options{CommonName: "Sub"})
			other := config(t, "")
			must(t, os.MkdirAll(filepath.Dir(other.CertFile), 0o700))
			testpki.WriteFile(t, other.CertFile, testpki.PEM(sub.Cert, sub.Root), 0o644)
			testpki.WriteFile(t, other.KeyFile, testpki.KeyPEM(t, sub.Key), 0o600)
			_, err := local.Reissue(other, local.NextOptions{})
			return err
		}, "CA CN=Sub was signed by CA CN=Test Root"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secret := ""
			if strings.HasPrefix(name, "wrong passphrase") { // an encrypted key is expensive
				secret = passphrase
			}
			cfg := config(t, secret)
			was, err := local.Create(cfg, local.CreateOptions{})
			must(t, err)
			err = c.provoke(t, cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || renewer.Hint(err) == "" {
				t.Fatalf("%v, hint %q", err, renewer.Hint(err))
			}
			if secret != "" {
				testpki.WriteFile(t, cfg.PassphraseFile, []byte(secret), 0o600)
			}
			if a, err := local.Open(cfg); err != nil || fingerprint(a) != fingerprint(was) {
				t.Errorf("nothing was to be switched: %v", err)
			}
			if _, _, err := local.NextRoot(cfg); name == "the same CA" && !errors.Is(err, fs.ErrNotExist) {
				t.Error("it was left as the next CA")
			}
		})
	}
}

// The lists of two CAs of an issuer are apart, and the last one of the old CA holds
// until it expires.
func TestTheListsOfTwoCAsAreApart(t *testing.T) {
	t.Parallel()
	was, cfg := create(t)
	chain, err := was.Sign(t.Context(), order(testpki.Key(t)))
	must(t, err)
	next, err := local.CreateNext(cfg, local.NextOptions{})
	must(t, err)
	must(t, local.Switch(cfg, fingerprint(next)))
	old, err := local.OpenOld(cfg, fingerprint(was))
	must(t, err)
	now, err := local.Open(cfg)
	must(t, err)
	serial := renewer.SerialHex(chain.Leaf)
	must(t, old.RevokeAll(t.Context(), []string{serial, serial}, renewer.RevokedSuperseded))
	must(t, old.RevokeAll(t.Context(), []string{serial}, renewer.RevokedSuperseded))
	must(t, local.LastCRL(t.Context(), cfg, fingerprint(was)))
	if gone, err := local.DestroyOld(cfg, fingerprint(was)); !gone || err != nil {
		t.Errorf("%t, %v", gone, err)
	}
	if again, err := local.DestroyOld(cfg, fingerprint(was)); again || err != nil {
		t.Errorf("%t, %v", again, err)
	}
	der, err := local.KeptCRL(cfg, fingerprint(was))
	must(t, err)
	last, err := x509.ParseRevocationList(der)
	must(t, err)
	must(t, last.CheckSignatureFrom(was.Root()))
	if len(last.RevokedCertificateEntries) != 1 || last.NextUpdate.Before(was.Root().NotAfter.Add(-time.Hour)) {
		t.Errorf("%d entries, until %s", len(last.RevokedCertificateEntries), last.NextUpdate)
	}
	der, err = now.CRL(t.Context())
	must(t, err)
	list, err := x509.ParseRevocationList(der)
	must(t, err)
	must(t, list.CheckSignatureFrom(next.Root()))
	if len(list.RevokedCertificateEntries) != 0 {
		t.Error("the new CA's list has what the old one signed")
	}
	if slices.ContainsFunc(listed(t, cfg), func(name string) bool { return strings.HasPrefix(name, "ca-key.old") }) {
		t.Error("the old key is there still")
	}
}

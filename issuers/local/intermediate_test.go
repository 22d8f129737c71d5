package local_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// below makes a root that may have an intermediate, and that.
func below(t *testing.T) (root, a *local.Authority, cfg local.Config) {
	t.Helper()
	top := config(t, "")
	top.Name = "root-ca"
	root, err := local.Create(top, local.CreateOptions{PathLen: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg = config(t, passphrase)
	if a, err = local.Create(cfg, local.CreateOptions{Parent: root}); err != nil {
		t.Fatal(err)
	}
	return root, a, cfg
}

func TestIntermediateSignsWithoutItsParent(t *testing.T) {
	t.Parallel()
	root, _, cfg := below(t)
	a, err := local.Open(cfg) // what is on the disk
	if err != nil {
		t.Fatal(err)
	}
	info := a.Info()
	if info.PathLen != 0 || !info.Encrypted || info.Root != root.Root().Subject.String() || len(info.StrictPeers) > 0 {
		t.Errorf("%+v", info)
	}
	if five := time.Now().AddDate(5, 0, 0); info.NotAfter.Sub(five).Abs() > time.Minute {
		t.Errorf("it ends at %s", info.NotAfter)
	}
	o := order(testpki.Key(t))
	chain, err := a.Sign(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := a.Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.CheckIssued(o, true, chain, roots, time.Now()); err != nil || len(chain.Intermediates) != 1 || !roots[0].Equal(root.Root()) {
		t.Errorf("%d intermediates, %v", len(chain.Intermediates), err)
	}
	dir := t.TempDir()
	testpki.WriteFile(t, filepath.Join(dir, "root.pem"), pki.PEM(roots...), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "above.pem"), pki.PEM(chain.Intermediates...), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "leaf.pem"), pki.PEM(chain.Leaf), 0o600)
	openssl(t, dir, "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "root.pem", "-untrusted", "above.pem", "leaf.pem")
}

func TestIntermediateExpiresWithItsParent(t *testing.T) {
	t.Parallel()
	root, err := local.Create(config(t, ""), local.CreateOptions{PathLen: 1, Lifetime: 1000 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	a, err := local.Create(config(t, ""), local.CreateOptions{Parent: root})
	if err != nil {
		t.Fatal(err)
	}
	if end := a.Info().NotAfter; !end.Equal(root.Info().NotAfter) {
		t.Errorf("it ends at %s, its parent at %s", end, root.Info().NotAfter)
	}
}

func TestNoIntermediateBelowAPathLengthOf0(t *testing.T) {
	t.Parallel()
	root, _ := create(t)
	cfg := config(t, "")
	_, err := local.Create(cfg, local.CreateOptions{Parent: root})
	if renewer.ClassOf(err) != renewer.ClassMisconfigured || !strings.Contains(renewer.Hint(err), "--path-length 1") {
		t.Errorf("%v; hint %q", err, renewer.Hint(err))
	}
	if _, err := os.Stat(cfg.KeyFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
	_, middle, _ := below(t)
	if _, err = local.Create(config(t, ""), local.CreateOptions{Parent: middle}); err == nil {
		t.Error("below an intermediate with path length 0")
	}
}

// Only the CA above can replace an intermediate; a root that may have one below it is
// replaced by another such root.
func TestIntermediateIsReplacedFromAbove(t *testing.T) {
	t.Parallel()
	_, _, cfg := below(t)
	if _, err := local.CreateNext(cfg, local.NextOptions{}); renewer.ClassOf(err) != renewer.ClassMisconfigured || !strings.Contains(renewer.Hint(err), "ca import fleet-ca --as-next") {
		t.Errorf("%v; hint %q", err, renewer.Hint(err))
	}
	top := config(t, "")
	if _, err := local.Create(top, local.CreateOptions{PathLen: 1}); err != nil {
		t.Fatal(err)
	}
	next, err := local.CreateNext(top, local.NextOptions{})
	if err != nil || next.Info().PathLen != 1 {
		t.Errorf("%v, path length %d", err, next.Info().PathLen)
	}
}

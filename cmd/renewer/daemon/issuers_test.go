package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/issuers/keptroots"
	"renewer/issuers/local"
	"renewer/renewer"
)

// A CA whose files somebody moved away is down at once, and not after the next
// restart; its roots are still known, and putting the files back is enough.
func TestLocalCAWhoseFilesAreGoneIsDown(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	dir := filepath.Join(state, "issuers", "fleet-ca")
	kept := keptroots.File{Issuer: "fleet-ca", Path: filepath.Join(state, "roots", "fleet-ca.pem")}
	cfg := local.Config{Name: "fleet-ca", CertFile: filepath.Join(dir, "ca.pem"), KeyFile: filepath.Join(dir, "ca-key.pem")}
	if _, err := local.Create(cfg, local.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ca := &lazyCA{cfg: cfg, kept: kept}
	if _, err := ca.Roots(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ca.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := ca.open()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ca.open(); err != nil || again != first {
		t.Errorf("files that did not change were read again, with error %v", err)
	}

	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	for when, ca := range map[string]*lazyCA{"at once": ca, "after a restart": {cfg: cfg, kept: kept}} {
		err := ca.Health(t.Context())
		if err == nil || !strings.Contains(err.Error(), "it was there before") || !strings.Contains(renewer.Hint(err), "put "+cfg.CertFile+" and "+cfg.KeyFile+" back") {
			t.Errorf("%s: healthy without its files: %v, hint %q", when, err, renewer.Hint(err))
		}
		if roots, err := ca.Roots(t.Context()); err != nil || len(roots) != 1 {
			t.Errorf("%s: %d roots, error %v; they signed what is still served", when, len(roots), err)
		}
	}
	if err := (&lazyCA{cfg: cfg}).Health(t.Context()); err == nil || strings.Contains(err.Error(), "before") || !strings.Contains(renewer.Hint(err), "creates one") {
		t.Errorf("one that never was: %v, hint %q", err, renewer.Hint(err))
	}

	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := ca.Health(t.Context()); err != nil {
		t.Errorf("its files are back, and it is still down: %v", err)
	}

	other := local.Config{Name: "fleet-ca", CertFile: filepath.Join(dir, "2.pem"), KeyFile: filepath.Join(dir, "2-key.pem")}
	if _, err := local.Create(other, local.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{other.CertFile: cfg.CertFile, other.KeyFile: cfg.KeyFile} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	was, _ := first.Roots(t.Context())
	if roots, err := ca.Roots(t.Context()); err != nil || roots[0].Equal(was[0]) {
		t.Errorf("another CA lies there, and the old one still signs (error %v)", err)
	}
}

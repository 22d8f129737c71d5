package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"renewer/issuers/local"
)

// A CA whose files somebody moved away is down at once, and not after the next
// restart; its roots are still known, and putting the files back is enough.
func TestLocalCAWhoseFilesAreGoneIsDown(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	cfg := local.Config{Name: "fleet-ca", CertFile: filepath.Join(dir, "ca.pem"), KeyFile: filepath.Join(dir, "ca-key.pem")}
	if _, err := local.Create(cfg, local.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ca := &lazyCA{cfg: cfg}
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
	if err := ca.Health(t.Context()); err == nil {
		t.Error("healthy without its files")
	}
	if roots, err := ca.Roots(t.Context()); err != nil || len(roots) != 1 {
		t.Errorf("%d roots, error %v; they signed what is still served", len(roots), err)
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

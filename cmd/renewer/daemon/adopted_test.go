package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// adoptee is a house whose CA was imported, with files in place that openssl
// made.
func adoptee(t *testing.T) (*house, *testpki.CA) {
	t.Helper()
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/web, common_name: web, default_sans: false, sans: [web.example.com], lifetime: 1h}\n")
	dir := filepath.Join(h.dir, "state", "issuers", "ca")
	must(t, os.RemoveAll(dir))
	ca := writeCA(t, dir, rootCA(t, "Fleet"))
	pair := ca.Leaf(t, testpki.Options{CommonName: "web", SANs: []string{"web.example.com"}})
	for name, text := range map[string][]byte{"tls.crt": pair.CertPEM, "ca.crt": ca.PEM()} {
		testpki.WriteFile(t, filepath.Join(h.dir, "web", name), text, 0o444)
	}
	testpki.WriteFile(t, filepath.Join(h.dir, "web", "tls.key"), pair.KeyPEM, 0o400)
	return h, ca
}

func (h *house) adopt() (got renewer.Adoption) {
	h.t.Helper()
	h.command(func(a *App) {
		var err error
		got, err = a.Adopt(context.Background(), "here", "web")
		must(h.t, err)
	})
	return got
}

func TestAdoptedAsItIsIsValid(t *testing.T) {
	t.Parallel()
	h, _ := adoptee(t)
	if got := h.adopt(); len(got.Warnings) > 0 {
		t.Errorf("%+v", got)
	}
	h.valid("web", 0)
	was := h.text("web", "tls.crt")
	h.pass()
	h.valid("web", 0)
	if now := h.text("web", "tls.crt"); now != was {
		t.Error("another certificate is in place")
	}
}

// Adopt reports every fault of the adopted files at once. From then on a fault is
// drift; a push of the files fixes it and keeps the current certificate.
func TestFaultsOfAdoptedFilesAreReportedAndFixed(t *testing.T) {
	t.Parallel()
	damages := map[string]struct {
		file   string
		damage func(t *testing.T, path string, ca *testpki.CA)
	}{
		"garbage in the ca file":    {"ca.crt", content("garbage\n")},
		"an empty ca file":          {"ca.crt", content("")},
		"the root of another CA":    {"ca.crt", func(t *testing.T, path string, _ *testpki.CA) { testpki.WriteFile(t, path, evil(t), 0o444) }},
		"a certificate that is cut": {"ca.crt", func(t *testing.T, path string, ca *testpki.CA) { testpki.WriteFile(t, path, ca.PEM()[:200], 0o444) }},
		"a leaf in the ca file": {"ca.crt", func(t *testing.T, path string, ca *testpki.CA) {
			testpki.WriteFile(t, path, ca.Leaf(t, testpki.Options{}).CertPEM, 0o444)
		}},
		"a private key in the ca file": {"ca.crt", func(t *testing.T, path string, ca *testpki.CA) {
			testpki.WriteFile(t, path, append(ca.PEM(), testpki.KeyPEM(t, ca.Key)...), 0o444)
		}},
		"a ca file that only its owner can read": {"ca.crt", mode(0o400)},
		"a key that all can read":                {"tls.key", mode(0o444)},
	}
	if os.Getuid() == 0 { // only root can change the owner of a file
		damages["a key of another owner"] = damages["a key that all can read"]
		owned := damages["a key of another owner"]
		owned.damage = func(t *testing.T, path string, _ *testpki.CA) { must(t, os.Chown(path, 65534, 65534)) }
		damages["a key of another owner"] = owned
	}
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, ca := adoptee(t)
			d.damage(t, filepath.Join(h.dir, "web", d.file), ca)
			if got := h.adopt(); !slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, d.file) }) {
				t.Errorf("adopt does not name %s: %+v", d.file, got)
			}
			crt, key := h.text("web", "tls.crt"), h.text("web", "tls.key")
			h.drifted("web")
			h.pass()
			h.valid("web", 0)
			if h.text("web", "tls.crt") != crt || h.text("web", "tls.key") != key {
				t.Error("another certificate is in place")
			}
			if roots := h.rootsIn("web", "ca.crt"); !slices.Contains(roots, "Fleet CA") {
				t.Errorf("the ca file has the roots of %q", roots)
			}
			if strings.Contains(h.text("web", "ca.crt"), "PRIVATE KEY") {
				t.Error("the ca file holds a private key")
			}
			for file, want := range map[string]os.FileMode{"ca.crt": 0o444, "tls.key": 0o400} {
				info, err := os.Stat(filepath.Join(h.dir, "web", file))
				must(t, err)
				if info.Mode() != want {
					t.Errorf("%s has mode %o", file, info.Mode())
				}
			}
			h.command(func(a *App) {
				events, err := a.Events(context.Background(), renewer.EventFilter{})
				must(t, err)
				if slices.ContainsFunc(events, func(e renewer.Event) bool { return e.Type == renewer.EventIssued }) {
					t.Error("a certificate was issued")
				}
			})
		})
	}
}

func content(text string) func(*testing.T, string, *testpki.CA) {
	return func(t *testing.T, path string, _ *testpki.CA) { testpki.WriteFile(t, path, []byte(text), 0o444) }
}

func mode(m os.FileMode) func(*testing.T, string, *testpki.CA) {
	return func(t *testing.T, path string, _ *testpki.CA) { must(t, os.Chmod(path, m)) }
}

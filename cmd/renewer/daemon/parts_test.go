package daemon

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"renewer/configs"
	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestRootsOfATrustFileGoIntoTheCAFile(t *testing.T) {
	t.Parallel()
	h := &house{t: t, dir: t.TempDir()}
	h.file = filepath.Join(h.dir, "renewer.yaml")
	file := filepath.Join(h.dir, "partner.pem")
	put := func(names ...string) {
		text := "\ufeff"
		for _, name := range names {
			text += string(testpki.NewWith(t, testpki.Options{CommonName: name}).PEM())
		}
		must(t, os.WriteFile(file, []byte(text), 0o600))
	}
	put("partner")
	h.write("  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h, trust: [ca, {file: DIR/partner.pem}]}\n")
	_, err := CAInit(h.load(), "ca")
	must(t, err)
	a := h.open()
	trusted := func() string {
		t.Helper()
		res, err := a.RunOnce(t.Context(), nil)
		if err != nil || res.Failed() {
			t.Fatalf("%+v, %v", res, err)
		}
		text, err := os.ReadFile(filepath.Join(h.dir, "out", "ca.crt"))
		must(t, err)
		certs, err := pki.DecodeCertificates(text)
		must(t, err)
		var names []string
		for _, c := range certs {
			names = append(names, c.Subject.CommonName)
		}
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	if got := trusted(); got != "partner, renewer ca CA" {
		t.Errorf("at first: %s", got)
	}
	put("partner", "partner 2")
	if got := trusted(); !strings.Contains(got, "partner 2") {
		t.Errorf("with another root in the file: %s", got)
	}
	issuer := a.parts.Load().issuers[renewer.TrustFile(file)]
	if _, err := issuer.Sign(t.Context(), renewer.Order{}); renewer.ClassOf(err) != renewer.ClassRefused {
		t.Errorf("a file signs: %v", err)
	}
	must(t, issuer.Health(t.Context()))
	must(t, os.WriteFile(file, []byte("nothing\n"), 0o600))
	err = issuer.Health(t.Context())
	if renewer.ClassOf(err) != renewer.ClassMisconfigured || !strings.Contains(err.Error(), file) || renewer.Hint(err) == "" {
		t.Errorf("a file without roots: %v, hint %q", err, renewer.Hint(err))
	}
	st, err := a.Status(t.Context())
	must(t, err)
	if !slices.ContainsFunc(st.Issuers, func(is renewer.IssuerStatus) bool {
		return is.Name == renewer.TrustFile(file) && is.Type == typeFile && !is.Up && strings.Contains(is.Error, "has no roots") && is.Hint != ""
	}) {
		t.Errorf("status does not say it: %+v", st.Issuers)
	}
}

func TestReloadSeesNewIncludedFiles(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/web, lifetime: 1h}\ninclude: [fleet.d/*.yaml]\n")
	a := h.open()
	a.daemon.Store(&renewer.DaemonStatus{Running: true})
	listed := func() string {
		var names []string
		must(t, a.List(t.Context(), renewer.ListFilter{}, func(r renewer.Row) error {
			names = append(names, r.Name)
			return nil
		}))
		slices.Sort(names)
		return strings.Join(names, ", ")
	}
	more := filepath.Join(h.dir, "fleet.d", "more.yaml")
	must(t, os.Mkdir(filepath.Dir(more), 0o700))
	must(t, os.WriteFile(more, []byte("certificates:\n  - {name: more, profile: files, issuer: ca, hosts: [here], dir: "+h.dir+"/more, lifetime: 1h}\n"), 0o600))
	if got := listed(); got != "web" {
		t.Errorf("before the reload: %s", got)
	}
	must(t, a.reload(t.Context(), h.file))
	if got := listed(); got != "more, web" {
		t.Errorf("after it: %s", got)
	}
	must(t, os.WriteFile(more, []byte("certificate: []\n"), 0o600))
	if err := a.reload(t.Context(), h.file); err == nil || !strings.HasPrefix(err.Error(), more+":1:1: unknown key") {
		t.Errorf("with a fault: %v", err)
	}
	if got := listed(); got != "more, web" {
		t.Errorf("with a fault: %s", got)
	}
}

func TestRetiredHostsAreLeftAlone(t *testing.T) {
	t.Parallel()
	fleet, err := configs.Parse("f", []byte("state_dir: "+t.TempDir()+"\nissuers: {ca: {type: local}}\nhosts: {here: {type: local}, old: {retired: true}}\n"+
		"certificates: [{name: web, profile: files, issuer: ca, hosts: [here, old], dir: /srv/web, per_host: true}]\n"))
	must(t, err)
	p, err := build(fleet, nil, nil, nil, nil, nil)
	must(t, err)
	f := p.engineFleet()
	if _, ok := f.Hosts["old"]; ok || !f.Retired["old"] || len(f.Certificates) != 1 || f.Certificates[0].Name != "web@here" {
		t.Errorf("hosts %v, retired %v, certificates %+v", f.Hosts, f.Retired, f.Certificates)
	}
	h := &health{}
	h.ask(t.Context(), p)
	if _, ok := h.hosts["old"]; ok || len(h.hosts) != 1 {
		t.Errorf("asked %v", h.hosts)
	}
}

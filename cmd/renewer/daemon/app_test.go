package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"renewer/configs"
	"renewer/renewer"
)

// house is a fleet file with its state in a directory of the test.
type house struct {
	t    *testing.T
	dir  string
	file string
}

func newHouse(t *testing.T, certificates string) *house {
	t.Helper()
	h := &house{t: t, dir: shortDir(t)}
	h.file = filepath.Join(h.dir, "renewer.yaml")
	h.write(certificates)
	_, err := CAInit(h.load(), "ca")
	must(t, err)
	return h
}

// shortDir is a directory of the test whose path does not grow with the test's
// name: there is a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "renewer-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func (h *house) write(certificates string) {
	h.t.Helper()
	text := strings.ReplaceAll(`state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers: {ca: {type: local}}
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
`+certificates, "DIR", h.dir)
	must(h.t, os.WriteFile(h.file, []byte(text), 0o600))
}

func (h *house) load() *configs.Fleet {
	h.t.Helper()
	f, err := configs.Load(h.file)
	must(h.t, err)
	return f
}

func (h *house) open() *App {
	h.t.Helper()
	a, err := Open(context.Background(), h.load(), Options{})
	must(h.t, err)
	h.t.Cleanup(func() { _ = a.Close() })
	return a
}

// again closes the state and reopens it, as the next command does.
func (h *house) again(a *App) *App {
	h.t.Helper()
	must(h.t, a.Close())
	return h.open()
}

func (a *App) row(t *testing.T, name string) renewer.Row {
	t.Helper()
	var out renewer.Row
	must(t, a.List(context.Background(), renewer.ListFilter{}, func(r renewer.Row) error {
		if r.Name == name {
			out = r
		}
		return nil
	}))
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunOncePlacesAndProves(t *testing.T) {
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n")
	a := h.open()
	if row := a.row(t, "web"); row.Status != renewer.StatusPending {
		t.Fatalf("before: %+v", row)
	}
	steps, err := a.planned(context.Background())
	must(t, err)
	if len(steps) != 3 || steps[0].Action != "issue" {
		t.Fatalf("plan %+v", steps)
	}
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if len(res.Rollouts) != 1 || res.Failed() {
		t.Fatalf("result %+v", res)
	}
	row := a.row(t, "web")
	if row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified || row.Hosts[0].Served != row.Fingerprint {
		t.Fatalf("after: %+v", row)
	}
	target, err := os.Readlink(filepath.Join(h.dir, "out", "tls.crt"))
	must(t, err)
	if target != filepath.Join(".renewer", "web", "current", "tls.crt") {
		t.Errorf("the live name leads to %s", target)
	}
	if steps, err = a.planned(context.Background()); err != nil || len(steps) != 0 {
		t.Errorf("plan afterwards %+v, %v", steps, err)
	}
}

// TestDoctorTellsOfABlockedRollout: the host itself may be well.
func TestDoctorTellsOfABlockedRollout(t *testing.T) {
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h, activate: {command: [/bin/false]}}\n")
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if row := a.row(t, "web"); row.Status != renewer.StatusBlocked {
		t.Fatalf("row %+v", row)
	}
	for _, host := range []string{"", "here"} {
		found, err := a.Doctor(context.Background(), host)
		must(t, err)
		if !slices.ContainsFunc(found, func(f renewer.Finding) bool {
			return f.Check == "blocked" && f.Level == renewer.FindingFail && f.Certificate == "web" && strings.Contains(f.Text, "/bin/false") && strings.HasSuffix(f.Fix, "renewer renew web")
		}) {
			t.Errorf("doctor %s: %+v", host, found)
		}
	}
}

func TestDriftIsDetectedAndRestored(t *testing.T) {
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}\n")
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	a = h.again(a)
	crt := filepath.Join(h.dir, "out", "tls.crt")
	must(t, os.Remove(crt))
	must(t, os.WriteFile(crt, []byte("by hand\n"), 0o600))

	found, err := a.Verify(context.Background(), nil)
	must(t, err)
	if found[0].OK || len(found[0].Problems) == 0 {
		t.Fatalf("verify says %+v", found)
	}
	if row := a.row(t, "web"); row.Status != renewer.StatusDue || row.Hosts[0].State != renewer.HostDrifted {
		t.Fatalf("row %+v", row)
	}
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	if res.Failed() {
		t.Fatalf("result %+v", res)
	}
	if row := a.row(t, "web"); row.Status != renewer.StatusValid || row.Generation != 1 {
		t.Fatalf("row %+v", row)
	}
}

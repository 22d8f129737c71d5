package daemon

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/teststepca"
	"renewer/renewer"
)

// stepHouse is a fleet file whose issuer is a step-ca, with a TLS service.
func stepHouse(t *testing.T, login string) (*house, *teststepca.CA) {
	t.Helper()
	return stepHouseOf(t, login, teststepca.Options{})
}

func stepHouseOf(t *testing.T, login string, o teststepca.Options) (*house, *teststepca.CA) {
	t.Helper()
	ca, err := teststepca.Start(t.TempDir(), o)
	must(t, err)
	t.Cleanup(func() { must(t, ca.Stop()) })
	h := &house{t: t, dir: t.TempDir()}
	h.file = filepath.Join(h.dir, "renewer.yaml")
	text := strings.NewReplacer("LOGIN", login).Replace(`state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers:
  corp: {type: step-ca, url: "URL", root_fingerprint: FINGERPRINT, LOGIN}
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
  - {name: web, profile: files, issuer: corp, hosts: [here], dir: DIR/out, lifetime: 1h, probe: {tls: {address: "SERVICE", mutual: false}}}
`)
	text = strings.NewReplacer("DIR", h.dir, "URL", ca.URL, "FINGERPRINT", ca.Fingerprint, "SERVICE", serveTLS(t, filepath.Join(h.dir, "out")),
		"PASSWORD", ca.PasswordFile, "X5CCERT", ca.X5CCertFile, "X5CKEY", ca.X5CKeyFile).Replace(text)
	must(t, os.WriteFile(h.file, []byte(text), 0o600))
	return h, ca
}

const jwkLogin = "provisioner: renewer, password_file: PASSWORD"

func TestStepCAGivesAVerifiedService(t *testing.T) {
	for name, login := range map[string]string{"password": jwkLogin, "x5c": "provisioner: x5c, x5c: {cert: X5CCERT, key: X5CKEY}"} {
		t.Run(name, func(t *testing.T) {
			h, _ := stepHouse(t, login)
			a := h.open()
			res, err := a.RunOnce(context.Background(), nil)
			must(t, err)
			if res.Failed() {
				t.Fatalf("result %+v", res)
			}
			row := a.row(t, "web")
			if row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified || row.Hosts[0].Served != row.Fingerprint {
				t.Fatalf("row %+v", row)
			}
		})
	}
}

// A CA that is away when a renewal is due costs events: the service goes on with
// what it has, commands and restarts work, and the renewal is done when the CA
// is back, in one order.
func TestACAThatIsAwayCostsEvents(t *testing.T) {
	h, ca := stepHouse(t, jwkLogin)
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	first := a.row(t, "web")

	must(t, ca.Stop())
	text, err := os.ReadFile(h.file)
	must(t, err)
	must(t, os.WriteFile(h.file, []byte(strings.Replace(string(text), "name: web,", "name: web, sans: [more.example.com],", 1)), 0o600))
	for range 3 {
		a = h.again(a)
		res, err := a.RunOnce(context.Background(), nil)
		must(t, err)
		if !res.Failed() || len(res.Rollouts) != 1 || !strings.Contains(res.Rollouts[0].Error, "connection refused") || !strings.Contains(res.Rollouts[0].Hint, ca.Address) {
			t.Fatalf("with the CA away: %+v", res)
		}
		if row := a.row(t, "web"); row.Generation != 1 || row.Fingerprint != first.Fingerprint || row.Hosts[0].Served != first.Fingerprint {
			t.Fatalf("with the CA away: %+v", row)
		}
		found, err := a.Verify(context.Background(), nil)
		must(t, err)
		if len(found) != 1 || found[0].Served != first.Fingerprint {
			t.Errorf("verify with the CA away: %+v", found)
		}
	}
	events, err := a.Events(context.Background(), renewer.EventFilter{})
	must(t, err)
	if !slices.ContainsFunc(events, func(e renewer.Event) bool { return e.Type == renewer.EventRenewalFailed && e.Certificate == "web" }) {
		t.Error("no event says so")
	}

	must(t, ca.Start())
	a = h.again(a)
	res, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	row := a.row(t, "web")
	if res.Failed() || row.Generation != 2 || row.Status != renewer.StatusValid || row.Hosts[0].Served != row.Fingerprint || row.Fingerprint == first.Fingerprint {
		t.Errorf("with the CA back: %+v, %+v", res, row)
	}
}

// What a provisioner would refuse is said before it is ordered.
func TestCheckOnlineNamesWhatTheProvisionerRefuses(t *testing.T) {
	h, _ := stepHouseOf(t, jwkLogin, teststepca.Options{OwnLimit: 30 * time.Minute})
	_, _, found, err := CheckOnline(t.Context(), h.load())
	must(t, err)
	want := renewer.Finding{
		Check: "lifetime", Certificate: "web", Level: renewer.FindingFail,
		Text: "asks for 1h, and issuer corp gives at most 30m: it will be refused",
		Fix:  "set lifetime: 30m, or step ca provisioner update renewer --x509-max-dur 3600s, on the CA",
	}
	if !slices.Contains(found, want) {
		t.Errorf("found %+v", found)
	}
}

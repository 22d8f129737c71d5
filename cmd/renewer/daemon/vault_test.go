package daemon

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/testvault"
	"renewer/renewer"
)

// serveTLS serves what is in dir at each handshake and returns the address.
func serveTLS(t *testing.T, dir string) string {
	t.Helper()
	return serveConfig(t, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
			return &pair, err
		},
	})
}

// serveConfig shakes hands, and no more.
func serveConfig(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			func(c net.Conn) {
				defer c.Close()
				_ = c.(*tls.Conn).Handshake()
			}(c)
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

// vaultHouse is a fleet file whose issuer is a Vault, with a TLS service.
func vaultHouse(t *testing.T, extra string) (*house, *testvault.Server) {
	t.Helper()
	s := testvault.Start(t, "../../../issuers/vault/testdata")
	id, secret := s.Ready("pki", "docker")
	h := &house{t: t, dir: t.TempDir()}
	h.file = filepath.Join(h.dir, "renewer.yaml")
	for name, text := range map[string]string{"role-id": id, "secret-id": secret, "vault-ca.pem": string(s.Trust)} {
		testpki.WriteFile(t, filepath.Join(h.dir, name), []byte(text), 0o600)
	}
	text := strings.NewReplacer("DIR", h.dir, "URL", s.URL, "SERVICE", serveTLS(t, filepath.Join(h.dir, "out")), "EXTRA", extra).Replace(`state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers:
  corp:
    type: vault
    address: URL
    ca_cert: DIR/vault-ca.pem
    mount: pki
    role: docker
    auth: {method: approle, role_id_file: DIR/role-id, secret_id_file: DIR/secret-id EXTRA}
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
  - {name: web, profile: files, issuer: corp, hosts: [here], dir: DIR/out, lifetime: 1h, probe: {tls: {address: "SERVICE", mutual: false}}}
`)
	must(t, os.WriteFile(h.file, []byte(text), 0o600))
	return h, s
}

func TestVaultGivesAVerifiedService(t *testing.T) {
	h, _ := vaultHouse(t, "")
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
}

// A wrapping token works once: a reload must not lose what it gave.
func TestReloadKeepsAnUnwrappedSecretID(t *testing.T) {
	h, s := vaultHouse(t, ", wrapped: true")
	must(t, os.WriteFile(filepath.Join(h.dir, "secret-id"), []byte(s.Wrap("renewer")), 0o600))
	first, err := build(h.load(), nil, nil, nil, nil, nil)
	must(t, err)
	must(t, first.issuers["corp"].Health(t.Context()))
	changed := h.load()
	changed.Issuers[0].Rate = 5
	next, err := build(changed, first, nil, nil, nil, nil)
	must(t, err)
	must(t, first.close(next))
	must(t, next.issuers["corp"].Health(t.Context()))
	if next.issuers["corp"] != first.issuers["corp"] {
		t.Error("the issuer was created again")
	}
	other := h.load()
	other.Issuers[0].Role = "other"
	third, err := build(other, next, nil, nil, nil, nil)
	must(t, err)
	if third.issuers["corp"] == next.issuers["corp"] {
		t.Error("the issuer of another role was kept")
	}
	must(t, next.close(third))
	must(t, third.close(nil))
}

// What a role would shorten is said before it is ordered.
func TestCheckOnlineNamesWhatTheRoleShortens(t *testing.T) {
	h, s := vaultHouse(t, "")
	s.Limit("pki", "docker", "30m")
	issuers, _, found, err := CheckOnline(t.Context(), h.load())
	must(t, err)
	if len(issuers) != 1 || !issuers[0].Up {
		t.Fatalf("issuers %+v", issuers)
	}
	want := renewer.Finding{
		Check: "lifetime", Certificate: "web", Level: renewer.FindingWarn,
		Text: "asks for 1h, and issuer corp gives at most 30m: it will be issued for that long only",
		Fix:  "set lifetime: 30m, or vault patch pki/roles/docker max_ttl=3600s",
	}
	if !slices.Contains(found, want) {
		t.Errorf("found %+v", found)
	}
	text, err := os.ReadFile(h.file)
	must(t, err)
	must(t, os.WriteFile(h.file, []byte(strings.Replace(string(text), "lifetime: 1h", "lifetime: 1h, tolerate: 15m", 1)), 0o600))
	want.Level, want.Text = renewer.FindingFail, "asks for 1h, and issuer corp gives at most 30m: its tolerate: does not fit into that"
	if _, _, found, err = CheckOnline(t.Context(), h.load()); err != nil || !slices.Contains(found, want) {
		t.Errorf("found %+v, %v", found, err)
	}
	s.Limit("pki", "docker", "1h")
	if _, _, found, err = CheckOnline(t.Context(), h.load()); err != nil || slices.ContainsFunc(found, func(f renewer.Finding) bool { return f.Check == "lifetime" }) {
		t.Errorf("found %+v, %v", found, err)
	}
}

// A pass replaces a secret id that is old, and what reads only does not.
func TestAPassReplacesAnOldSecretID(t *testing.T) {
	h, _ := vaultHouse(t, "")
	text, err := os.ReadFile(h.file)
	must(t, err)
	must(t, os.WriteFile(h.file, []byte(strings.Replace(string(text), "    role: docker\n", "    role: docker\n    rotate_secret_id: 30d\n", 1)), 0o600))
	file := filepath.Join(h.dir, "secret-id")
	old, err := os.ReadFile(file)
	must(t, err)
	past := time.Now().Add(-31 * 24 * time.Hour)
	must(t, os.Chtimes(file, past, past))
	a := h.open()
	_, err = a.Status(t.Context())
	must(t, err)
	if now, err := os.ReadFile(file); err != nil || string(now) != string(old) {
		t.Fatalf("status replaced it (%v)", err)
	}
	_, err = a.RunOnce(t.Context(), nil)
	must(t, err)
	now, err := os.ReadFile(file)
	must(t, err)
	if string(now) == string(old) {
		t.Fatal("it was not replaced")
	}
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s", info.Mode())
	}
}

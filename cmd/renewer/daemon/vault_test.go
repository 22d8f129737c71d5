package daemon

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/internal/testvault"
	"renewer/renewer"
)

// serveTLS serves what is in dir at each handshake and returns the address.
func serveTLS(t *testing.T, dir string) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
			return &pair, err
		},
	})
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
		t.Error("the issuer was made anew")
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

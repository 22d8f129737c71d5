package daemon

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/internal/testvault"
	"renewer/renewer"
)

// strictPeers has both sides of a TLS connection verify as Python 3.13 and later
// do by default, and OpenSSL with -x509_strict.
const strictPeers = `
import ssl, sys
def context(protocol):
    c = ssl.SSLContext(protocol)
    c.verify_flags |= ssl.VERIFY_X509_STRICT
    c.load_verify_locations("ca.crt")
    c.load_cert_chain("tls.crt", "tls.key")
    c.verify_mode = ssl.CERT_REQUIRED
    return c
up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
server = context(ssl.PROTOCOL_TLS_SERVER).wrap_bio(up, down, server_side=True)
client = context(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(down, up, server_hostname="127.0.0.1")
for _ in range(4):
    for side in client, server:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
print("ok", server.getpeercert()["serialNumber"], client.getpeercert()["serialNumber"])
`

// The same fleet file, but for where the issuer is, gives a verified service whose
// certificate strict peers accept as server and as client.
func TestTheSameFleetFileUnderStrictPeers(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	issuers := map[string]func(t *testing.T, dir string) string{
		"local": func(*testing.T, string) string { return "{type: local}" },
		"local below a root": func(*testing.T, string) string {
			return "{type: local}\n  root-ca: {type: local}"
		},
		"step-ca": func(t *testing.T, _ string) string {
			ca, err := teststepca.Start(t.TempDir(), teststepca.Options{})
			must(t, err)
			t.Cleanup(func() { must(t, ca.Stop()) })
			return `{type: step-ca, url: "` + ca.URL + `", root_fingerprint: ` + ca.Fingerprint + `, provisioner: renewer, password_file: ` + ca.PasswordFile + `}`
		},
		"vault":   func(t *testing.T, dir string) string { return vaultAt(t, dir, testvault.Start(t, vaultRecordings)) },
		"openbao": func(t *testing.T, dir string) string { return vaultAt(t, dir, testvault.StartBao(t, vaultRecordings)) },
	}
	for name, issuer := range issuers {
		t.Run(name, func(t *testing.T) {
			h := &house{t: t, dir: t.TempDir()}
			h.file = filepath.Join(h.dir, "renewer.yaml")
			out := filepath.Join(h.dir, "out")
			text := strings.NewReplacer("DIR", h.dir, "ISSUER", issuer(t, h.dir), "SERVICE", serveTLS(t, out)).Replace(`state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers:
  corp: ISSUER
hosts: {here: {type: local, address: 127.0.0.1}}
certificates:
  - {name: web, profile: files, issuer: corp, hosts: [here], dir: DIR/out, lifetime: 1d, probe: {tls: {address: "SERVICE", mutual: false}}}
`)
			must(t, os.WriteFile(h.file, []byte(text), 0o600))
			switch name {
			case "local":
				_, err := CAInit(h.load(), "corp")
				must(t, err)
			case "local below a root":
				_, err := CAInitBelow(h.load(), "root-ca", "", 1)
				must(t, err)
				_, err = CAInitBelow(h.load(), "corp", "root-ca", 0)
				must(t, err)
			}
			a := h.open()
			res, err := a.RunOnce(t.Context(), nil)
			must(t, err)
			row := a.row(t, "web")
			if res.Failed() || row.Status != renewer.StatusValid || row.Hosts[0].State != renewer.HostVerified || row.Hosts[0].Served != row.Fingerprint {
				t.Fatalf("result %+v, row %+v", res, row)
			}
			for _, purpose := range []string{"sslserver", "sslclient"} {
				run(t, out, "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.crt", "-untrusted", "tls.crt", "tls.crt")
			}
			if got := run(t, out, python, "-c", strictPeers); !strings.HasPrefix(got, "ok ") {
				t.Errorf("python says %s", got)
			}
		})
	}
}

const vaultRecordings = "../../../issuers/vault/testdata"

// vaultAt is an issuer on a stand-in, whose files are put into dir.
func vaultAt(t *testing.T, dir string, s *testvault.Server) string {
	t.Helper()
	id, secret := s.Ready("pki", "docker")
	for name, text := range map[string]string{"role-id": id, "secret-id": secret, "vault-ca.pem": string(s.Trust)} {
		testpki.WriteFile(t, filepath.Join(dir, name), []byte(text), 0o600)
	}
	return strings.ReplaceAll("{type: vault, address: "+s.URL+", ca_cert: AT/vault-ca.pem, mount: pki, role: docker, auth: {method: approle, role_id_file: AT/role-id, secret_id_file: AT/secret-id}}", "AT", dir)
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, args[0], err, out)
	}
	return string(out)
}

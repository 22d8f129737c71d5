package daemon

import (
	"bufio"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// strictService is a service that asks for client certificates. It loads its files at
// SIGHUP, and verifies as Python 3.13 and later do where there is a file strict.
const strictService = `
import os, signal, socket, ssl, sys, threading
held = []
def load(*_):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if os.path.exists("strict"):
        c.verify_flags |= ssl.VERIFY_X509_STRICT
    c.load_verify_locations("svc/ca.crt")
    c.load_cert_chain("svc/tls.crt", "svc/tls.key")
    c.verify_mode = ssl.CERT_REQUIRED
    held[:] = [c]
    with open("loads", "a") as f:
        f.write("x")
    print("loaded", flush=True)
def answer(raw):
    with raw:
        raw.settimeout(5)
        try:
            with held[0].wrap_socket(raw, server_side=True) as c:
                c.sendall(b"hello")
        except (OSError, IndexError):
            pass
signal.signal(signal.SIGHUP, load)
s = socket.create_server(("127.0.0.1", 0))
open("svc.pid", "w").write(str(os.getpid()))
print("127.0.0.1:%d" % s.getsockname()[1], flush=True)
while True:
    threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
`

// withoutKeyUsage is the CA that openssl req -x509 makes.
func withoutKeyUsage(t *testing.T, dir string) {
	t.Helper()
	key := testpki.Key(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Docker CA"}, SubjectKeyId: []byte{1, 2, 3},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(9, 0, 0), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	must(t, os.MkdirAll(dir, 0o700))
	testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), pki.PEM(cert), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "ca-key.pem"), testpki.KeyPEM(t, key), 0o600)
}

// A service that verifies strictly refuses every certificate of a CA without keyUsage.
// The reissued CA fixes that, with one load of the service: it would use only one of
// two roots with the same name.
func TestReissuedCAFixesAServiceThatVerifiesStrictly(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	for name, c := range map[string]struct {
		client string
		first  bool // it verifies strictly from the start
	}{
		"it becomes strict":                           {},
		"it becomes strict, probed with a placed one": {client: ", client: cli"},
		"it is strict from the start":                 {first: true},
		"strict from the start, probed with a placed": {first: true, client: ", client: cli"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &house{t: t, dir: shortDir(t)}
			h.file = filepath.Join(h.dir, "renewer.yaml")
			withoutKeyUsage(t, filepath.Join(h.dir, "state", "issuers", "ca"))
			must(t, os.Chmod(filepath.Join(h.dir, "state"), 0o700))
			service := exec.CommandContext(t.Context(), python, "-c", strictService)
			service.Dir = h.dir
			out, err := service.StdoutPipe()
			must(t, err)
			must(t, service.Start())
			t.Cleanup(func() { _, _ = service.Process.Kill(), service.Wait() })
			says := bufio.NewReader(out)
			address, err := says.ReadString('\n')
			must(t, err)
			h.write(`  - {name: svc, profile: files, issuer: ca, hosts: [here], usages: [server], dir: DIR/svc, lifetime: 1d, activate: {signal: {pid_file: DIR/svc.pid, signal: HUP}}, probe: {tls: {address: "` +
				strings.TrimSpace(address) + `", mutual: true, timeout: 1s` + c.client + `}}}
  - {name: cli, profile: files, issuer: ca, hosts: [here], usages: [client], default_sans: false, dir: DIR/cli, lifetime: 1d}
`)
			strict := func() { testpki.WriteFile(t, filepath.Join(h.dir, "strict"), nil, 0o600) }
			if c.first {
				strict()
			}
			a := h.open()
			for range 2 {
				_, err = a.RunOnce(t.Context(), nil)
				must(t, err)
			}
			if state := a.row(t, "svc").Hosts[0].State; c.first == (state == renewer.HostVerified) {
				t.Fatalf("at first it is %s", state)
			}
			if !c.first {
				_, err = says.ReadString('\n')
				must(t, err)
				strict()
				must(t, service.Process.Signal(syscall.SIGHUP))
				_, err = says.ReadString('\n')
				must(t, err)
			}
			loads := func() int {
				text, err := os.ReadFile(filepath.Join(h.dir, "loads"))
				must(t, err)
				return len(text)
			}
			before := loads()
			v, err := a.Rotate(t.Context(), renewer.RotateRequest{Issuer: "ca", Kind: "reissue", Wait: true}, nil)
			must(t, err)
			if v.Stage != "done" || loads() != before+1 {
				t.Fatalf("after %d loads: %+v", loads()-before, v)
			}
			must(t, a.Close())
			for _, name := range []string{"svc", "cli"} {
				if bad := h.differs(name); bad != nil {
					t.Errorf("%s: %q", name, bad)
				}
				if n := strings.Count(run(t, h.dir, "cat", name+"/ca.crt"), "BEGIN"); n != 1 {
					t.Errorf("%s has %d roots", name, n)
				}
			}
			run(t, h.dir, "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "cli/ca.crt", "svc/tls.crt")
			run(t, h.dir, "openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "svc/ca.crt", "cli/tls.crt")
		})
	}
}

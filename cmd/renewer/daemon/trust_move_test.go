//go:build !race

package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	stepacme "github.com/smallstep/certificates/acme"

	"renewer/internal/testacme"
	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/internal/testvault"
	"renewer/renewer/pki"
)

// issuerKinds are the kinds of issuer that a fleet may move between. Each makes an issuer with a
// CA of its own, whose root gets the name of the kind in the world, and returns its entry.
var issuerKinds = []issuerKind{
	{name: "local", entry: func(w *world) string { return w.local("local") }},
	{name: "step-ca", entry: stepCAKind},
	{name: "vault", entry: vaultKind},
	{name: "command", entry: commandKind},
	{name: "files", entry: filesKind},
	{name: "acme", entry: acmeKind},                    // step-ca's
	{name: "pebble", entry: pebbleKind, servers: true}, // as public CAs do
}

type issuerKind struct {
	name    string
	entry   func(w *world) string
	servers bool // it signs for servers alone
}

// named is mutualTLS for issuers that sign names which they have proven: the probe presents
// the certificate of the client.
const named = `
  - {name: svc, usages: [server], common_name: localhost, default_sans: false, sans: [localhost], dir: DIR/svc, activate: ACTIVATE-SVC, probe: {tls: {address: "ADDRESS-SVC", server_name: localhost, mutual: true, client: cli, timeout: 20s}}, SVC}
  - {name: cli, usages: [client], common_name: localhost, default_sans: false, sans: [localhost], dir: DIR/cli, CLI}
`

// validated is where step-ca's ACME provisioner validates http-01, in this process.
var validated = sync.OnceValues(func() (string, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	at := l.Addr().String()
	stepacme.InsecurePortHTTP01 = l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // of a TCP listener
	return at, l.Close()
})

func acmeKind(w *world) string {
	dir := w.in("acme")
	must(w.t, os.Mkdir(dir, 0o700))
	listen, err := validated()
	must(w.t, err)
	ca, err := teststepca.Start(dir, teststepca.Options{})
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, ca.Stop()) })
	w.cas["acme"] = &testpki.CA{Cert: ca.Intermediate, Root: ca.Root}
	testpki.WriteFile(w.t, w.in("acme-root.pem"), testpki.PEM(ca.Root), 0o600)
	return fmt.Sprintf("acme: {type: acme, directory: %q, ca_cert: DIR/acme-root.pem, roots: DIR/acme-root.pem, challenge: {http-01: {listen: %q}}}", ca.URL+"/acme/acme/directory", listen)
}

func pebbleKind(w *world) string {
	s := testacme.Start(w.t, testacme.Options{})
	text, err := os.ReadFile(s.Roots)
	must(w.t, err)
	roots, err := pki.DecodeCertificates(text)
	must(w.t, err)
	w.cas["pebble"] = &testpki.CA{Root: roots[0]}
	return fmt.Sprintf("pebble: {type: acme, directory: %q, ca_cert: %s, roots: %s, challenge: {http-01: {listen: %q}}}", s.Directory, s.CACert, s.Roots, s.HTTPPort)
}

func stepCAKind(w *world) string {
	dir := w.in("step-ca")
	must(w.t, os.Mkdir(dir, 0o700))
	ca, err := teststepca.Start(dir, teststepca.Options{})
	must(w.t, err)
	w.t.Cleanup(func() { must(w.t, ca.Stop()) })
	w.cas["step-ca"] = &testpki.CA{Cert: ca.Intermediate, Root: ca.Root}
	return fmt.Sprintf("step-ca: {type: step-ca, url: %q, root_fingerprint: %s, provisioner: renewer, password_file: %s}", ca.URL, ca.Fingerprint, ca.PasswordFile)
}

func vaultKind(w *world) string {
	s := testvault.Start(w.t, "../../../issuers/vault/testdata")
	id, secret := s.Ready("pki", "docker")
	w.cas["vault"] = &testpki.CA{Root: vaultRoot(w.t, s, "pki")}
	for file, text := range map[string]string{"role-id": id, "secret-id": secret, "vault-ca.pem": string(s.Trust)} {
		testpki.WriteFile(w.t, w.in(file), []byte(text), 0o600)
	}
	return `vault: {type: vault, address: "` + s.URL + `", ca_cert: DIR/vault-ca.pem, mount: pki, role: docker, auth: {method: approle, role_id_file: DIR/role-id, secret_id_file: DIR/secret-id}}`
}

// commandKind is the example for cfssl, with the real one.
func commandKind(w *world) string {
	for _, program := range []string{"cfssl", "cfssljson", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			w.t.Skipf("needs %s: %v", program, err)
		}
	}
	sign, err := filepath.Abs("../../../examples/issuers/cfssl/sign")
	must(w.t, err)
	dir := w.in("cfssl")
	must(w.t, os.Mkdir(dir, 0o700))
	w.cas["command"] = writeCA(w.t, dir, rootCA(w.t, "command"))
	out, err := exec.CommandContext(w.t.Context(), "openssl", "pkey", "-traditional", "-in", dir+"/ca-key.pem").Output()
	must(w.t, err)
	testpki.WriteFile(w.t, dir+"/ca-key.pem", out, 0o600)
	return fmt.Sprintf("command: {type: command, sign: [%q, %q], root_file: DIR/cfssl/ca.pem}", sign, dir)
}

// filesKind is an offline CA that openssl is. What is written to the directory is signed
// between two passes.
func filesKind(w *world) string {
	if _, err := exec.LookPath("openssl"); err != nil {
		w.t.Skip(err)
	}
	dir := w.in("offline")
	must(w.t, os.Mkdir(dir, 0o700))
	w.cas["files"] = writeCA(w.t, dir, rootCA(w.t, "files"))
	w.between = func() {
		for _, file := range w.ls("orders") {
			name, is := strings.CutSuffix(file, ".csr")
			asked, signed := w.in("orders", file), w.in("orders", name+".crt")
			if _, err := os.Stat(signed); err == nil || !is {
				continue
			}
			out, err := exec.CommandContext(w.t.Context(), "openssl", "x509", "-req", "-in", asked, "-CA", dir+"/ca.pem", "-CAkey", dir+"/ca-key.pem",
				"-copy_extensions", "copyall", "-days", "1", "-out", signed).CombinedOutput()
			if err != nil {
				w.t.Fatalf("openssl: %v\n%s", err, out)
			}
		}
	}
	return "files: {type: files, dir: DIR/orders, root_file: DIR/offline/ca.pem}"
}

// move is a fleet that moves from one kind of issuer to another. Where one of them signs
// for servers alone, the client stays under a CA of its own.
func move(w *world, was, is issuerKind) {
	w.t.Helper()
	first, second := was.entry(w), is.entry(w)
	under := func(k issuerKind) (svc, cli string) { return "issuer: " + k.name, "issuer: " + k.name }
	end := is.name
	if was.servers || is.servers {
		end = "clients"
		clients := w.local(end)
		first += ", " + clients
		under = func(k issuerKind) (svc, cli string) {
			return "issuer: " + k.name + ", trust: [clients]", "issuer: clients, trust: [" + k.name + "]"
		}
	}
	scenario{
		start: func(w *world) {
			svc, cli := under(was)
			w.want(first, svc, cli)
			w.rocky = true // the certificate that the probe presents is not there at first
			w.settle()
			w.rocky = false
		},
		steps: then(func(w *world) {
			svc, cli := under(is)
			w.want(first+", "+second, svc, cli)
		}),
		svc: end, cli: is.name,
	}.play(w)
}

// A live pair that authenticates each other moves between any two kinds of issuer, and no
// request is refused.
func TestAPairMovesBetweenAnyTwoKindsOfIssuer(t *testing.T) {
	for from, was := range issuerKinds {
		for to, is := range issuerKinds {
			if from == to {
				continue
			}
			t.Run(was.name+" to "+is.name, func(t *testing.T) {
				t.Parallel()
				move(newWorld(t, named, (from+to)%2 == 0), was, is)
			})
		}
	}
}

// The same where the probe presents a certificate of a moment, if the issuer mints one.
func TestAPairThatIsProbedWithAMintedCertificateMoves(t *testing.T) {
	for _, name := range []string{"local to files", "files to local"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := []issuerKind{issuerKinds[0], issuerKinds[4]}
			if name == "files to local" {
				slices.Reverse(pair)
			}
			move(newWorld(t, mutualTLS, true), pair[0], pair[1])
		})
	}
}

// kill -9 at every commit, on the way to an issuer that signs later: the request stays, and
// no request of a client is refused.
func TestAPairMovesToAnOfflineCAWithAKillAtEveryStage(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprintf("before=%t", before), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mutualTLS, before)
			w.settle = w.killed(before)
			move(w, issuerKinds[0], issuerKinds[4])
		})
	}
}

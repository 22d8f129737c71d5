//go:build !race

package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/internal/testvault"
)

// issuerKinds are the kinds of issuer that a fleet may move between. Each makes an issuer with a
// CA of its own, whose root gets the name of the kind in the world, and returns its entry.
var issuerKinds = []struct {
	name  string
	entry func(w *world) string
}{
	{"local", func(w *world) string { return w.local("local") }},
	{"step-ca", stepCAKind},
	{"vault", vaultKind},
	{"command", commandKind},
	{"files", filesKind},
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

// move is a fleet that moves from one kind of issuer to another.
func move(w *world, from, to int) {
	w.t.Helper()
	was, is := issuerKinds[from], issuerKinds[to]
	first, second := was.entry(w), is.entry(w)
	scenario{
		start: func(w *world) {
			w.want(first, "issuer: "+was.name, "issuer: "+was.name)
			w.settle()
		},
		steps: then(func(w *world) { w.want(first+", "+second, "issuer: "+is.name, "issuer: "+is.name) }),
		svc:   is.name, cli: is.name,
	}.play(w)
}

// A live pair that authenticates each other moves between any two kinds of issuer, and no
// request is refused.
func TestAPairMovesBetweenAnyTwoKindsOfIssuer(t *testing.T) {
	for from := range issuerKinds {
		for to := range issuerKinds {
			if from == to {
				continue
			}
			t.Run(issuerKinds[from].name+" to "+issuerKinds[to].name, func(t *testing.T) {
				t.Parallel()
				move(newWorld(t, mutualTLS, (from+to)%2 == 0), from, to)
			})
		}
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
			move(w, 0, len(issuerKinds)-1)
		})
	}
}

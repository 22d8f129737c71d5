//go:build e2e

package e2e

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/teststepca"
)

// stepProcess is a step-ca in a process of its own, built from the module
// without cgo, as a company would run it.
type stepProcess struct {
	*teststepca.CA
	t   *testing.T
	exe string
	cmd *exec.Cmd
}

func newStepProcess(t *testing.T) *stepProcess {
	t.Helper()
	ca, err := teststepca.Make(t.TempDir(), teststepca.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := &stepProcess{CA: ca, t: t, exe: filepath.Join(t.TempDir(), "step-ca")}
	build := exec.Command("go", "build", "-o", s.exe, "github.com/smallstep/certificates/cmd/step-ca")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build step-ca: %v\n%s", err, out)
	}
	t.Cleanup(s.kill)
	s.start()
	return s
}

// start runs it and waits until it answers.
func (s *stepProcess) start() {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.t.TempDir(), "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(s.exe, s.ConfigFile)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = append(os.Environ(), "STEPPATH="+s.t.TempDir())
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(30 * time.Second); ; <-tick.C {
		if conn, err := net.Dial("tcp", s.Address); err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(late) {
			out, _ := os.ReadFile(log.Name())
			s.t.Fatalf("step-ca does not answer:\n%s", out)
		}
	}
}

// kill ends it without a word.
func (s *stepProcess) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// serveFiles is a TLS service that reads its pair at each handshake.
func serveFiles(t *testing.T, dir string) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
			return &pair, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// TestStepCA: a certificate from a step-ca that runs as its own process, as it
// is set up, misconfigured, away for a renewal, and asked to revoke.
func TestStepCA(t *testing.T) {
	ca := newStepProcess(t)
	o := newOperator(t)
	service := serveFiles(t, filepath.Join(o.dir, "out"))
	good := strings.NewReplacer("DIR", o.dir, "URL", ca.URL, "FINGERPRINT", ca.Fingerprint, "PASSWORD", ca.PasswordFile, "SERVICE", service).Replace(`state_dir: DIR/state
http: {listen: 127.0.0.1:0}
issuers:
  corp: {type: step-ca, url: "URL", root_fingerprint: FINGERPRINT, provisioner: renewer, password_file: PASSWORD}
hosts: {host-a: {type: local, address: 127.0.0.1}}
certificates:
  - {name: web, issuer: corp, profile: files, hosts: [host-a], dir: DIR/out, lifetime: 24h, rekey: false,
     probe: {tls: {address: "SERVICE", mutual: false}}}
`)
	fleet := func(text string) { write(t, filepath.Join(o.dir, "renewer.yaml"), text) }
	served := func(generation int) {
		t.Helper()
		if r := o.row("web"); r.Status != "valid" || r.Generation != generation || r.Hosts[0].State != "verified" || r.Hosts[0].Served != r.Fingerprint {
			t.Errorf("generation %d: %+v", generation, r)
		}
	}
	for wrong, c := range map[string][2]string{
		"fingerprint": {ca.Fingerprint, strings.Repeat("ab", 32)},
		"provisioner": {"provisioner: renewer", "provisioner: nosuch"},
		"password":    {"password_file: " + ca.PasswordFile, "password_file: " + ca.ConfigFile},
		"url":         {ca.URL, "https://" + service},
	} {
		fleet(strings.Replace(good, c[0], c[1], 1))
		if out, err := o.try("check", "--online"); err == nil || !strings.Contains(out, "corp") {
			t.Errorf("a wrong %s: %v\n%s", wrong, err, out)
		} else {
			t.Logf("a wrong %s:\n%s", wrong, out)
		}
	}
	fleet(good)
	o.must("check", "--online")
	o.must("run", "--once")
	served(1)

	// It keeps its key, so it renews itself: the password is not needed.
	if err := os.Rename(ca.PasswordFile, ca.PasswordFile+".away"); err != nil {
		t.Fatal(err)
	}
	o.must("renew", "web")
	served(2)
	if err := os.Rename(ca.PasswordFile+".away", ca.PasswordFile); err != nil {
		t.Fatal(err)
	}

	// Away when a renewal is asked for: nothing but words.
	ca.kill()
	if out, err := o.try("renew", "web"); err == nil || !strings.Contains(out, "connection refused") {
		t.Errorf("renew with the CA away: %v\n%s", err, out)
	}
	o.must("verify", "--exit-code", "web")
	if r := o.row("web"); r.Generation != 2 || r.Hosts[0].Served != r.Fingerprint {
		t.Errorf("with the CA away: %+v", r)
	}
	ca.start()
	o.must("run", "--once")
	o.must("verify", "--exit-code", "web")
	served(3)

	t.Log(o.must("revoke", "web"))
}

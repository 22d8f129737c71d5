package remote

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"renewer/internal/testpki"
	"renewer/internal/testssh"
)

// elsewhere runs a Docker host in a process of its own: this test binary, with
// an SSH server and one that answers as dockerd does, serving a pair of ca.
func elsewhere(b *testing.B, dir string, ca *testpki.CA, pair testpki.Pair) (cfg Config, docker string) {
	b.Helper()
	pair.Write(b, dir)
	write(b, filepath.Join(dir, "ca.pem"), string(ca.PEM()))
	self, err := os.Executable()
	must(b, err)
	cmd := exec.Command(self, "-test.run=^TestServeElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), "RENEWER_TEST_SERVE="+dir)
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	// As a Docker host is mostly reached: its directory is root's.
	cfg = Config{Name: "host-b", Address: "127.0.0.1", User: testssh.User, Sudo: true, IdentityFile: dir + "/id", KnownHostsFile: dir + "/known_hosts"}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if ports, ok := strings.CutPrefix(lines.Text(), "ports "); ok {
			_, err := fmt.Sscan(ports, &cfg.Port, &docker)
			must(b, err)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return cfg, docker
		}
	}
	b.Fatal("the servers did not start")
	return cfg, ""
}

func TestServeElsewhere(t *testing.T) {
	dir := os.Getenv("RENEWER_TEST_SERVE")
	if dir == "" {
		return // a benchmark's other process
	}
	s := testssh.Start(t, testssh.Options{})
	for name, file := range map[string]string{"id": s.Login.File, "known_hosts": s.KnownHosts(t)} {
		data, err := os.ReadFile(file)
		must(t, err)
		write(t, filepath.Join(dir, name), string(data))
	}
	fmt.Printf("\nports %d %s\n", s.Port, serveDocker(t, dir))
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark has ended
}

// serveDocker answers what a probe asks of dockerd, and returns where.
func serveDocker(t *testing.T, dir string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	must(t, err)
	root, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	must(t, err)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(root)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})
	must(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"ApiVersion":"1.51"}`) })
	server := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

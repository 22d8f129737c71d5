package vault

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/testvault"
	"renewer/renewer/pki"
)

const serveEnv = "RENEWER_TEST_VAULT_BENCH"

// serveRecordings is a server in a process of its own, so that its work is not
// counted: it answers each order with one recording, until its stdin closes.
func serveRecordings() int {
	t := &testing.T{}
	answers := map[string][]byte{}
	for suffix, name := range map[string]string{"/login": "auth-approle-login-ok", "/sign/docker": "sign-ok", "/cert/ca_chain": "read-cert-ca-chain-json"} {
		answers[suffix] = recorded(name)
	}
	ca := testpki.New(t)
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for suffix, body := range answers {
			if strings.HasSuffix(r.URL.Path, suffix) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(body)
			}
		}
	}))
	h.EnableHTTP2 = true
	h.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}, NotAfter: time.Now().Add(24 * time.Hour)}).TLS}, MinVersion: tls.VersionTLS12}
	h.StartTLS()
	defer h.Close()
	fmt.Println(h.URL, base64.StdEncoding.EncodeToString(ca.PEM()))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// recorded is the body of a recorded answer.
func recorded(name string) []byte {
	data, err := os.ReadFile(filepath.Join(recordings, name+".json"))
	var e testvault.Exchange
	if err := errors.Join(err, json.Unmarshal(data, &e)); err != nil {
		panic(err)
	}
	return e.Response.Body
}

// BenchmarkSign prints the client's CPU time of an order over TLS, as a ratio
// to what cannot be saved: the key, the CSR, and reading the answer's
// certificates. Both are measured turn by turn in the same run.
func BenchmarkSign(b *testing.B) {
	child := exec.CommandContext(b.Context(), os.Args[0])
	child.Env = append(os.Environ(), serveEnv+"=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = stdin.Close(); _ = child.Wait() }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	url, trust, _ := strings.Cut(strings.TrimSpace(line), " ")
	pem, err := base64.StdEncoding.DecodeString(trust)
	if err != nil {
		b.Fatal(err)
	}
	g := &ground{t: b}
	i, err := New(Config{
		Name: "corp-vault", Address: url, CACert: g.file("ca.pem", string(pem)), Mount: "pki", Role: "docker",
		Auth: Auth{Method: "approle", RoleIDFile: g.file("role-id", "r"), SecretIDFile: g.file("secret-id", "s")},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer i.Close()
	chain, err := i.Sign(b.Context(), order(b, nil))
	if err != nil {
		b.Fatal(err)
	}
	var least, ours time.Duration
	for b.Loop() {
		start := cpuTime(b)
		o := order(b, nil)
		if _, err := o.CSR(); err != nil {
			b.Fatal(err)
		}
		for _, c := range append(chain.Intermediates, chain.Leaf) {
			if _, err := x509.ParseCertificate(c.Raw); err != nil {
				b.Fatal(err)
			}
		}
		middle := cpuTime(b)
		if chain, err = i.Sign(b.Context(), order(b, nil)); err != nil {
			b.Fatal(err)
		}
		_ = pki.PEM(chain.Leaf)
		least += middle - start
		ours += cpuTime(b) - middle
	}
	b.ReportMetric(float64(ours)/float64(least), "x-floor")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "cpu-µs/order")
	b.ReportMetric(float64((ours-least).Microseconds())/float64(b.N), "µs-over-floor")
}

// cpuTime is that of the whole process, the garbage collector's included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// asChild makes the test binary be the service.
const asChild = "TLSSERVICE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestLoadsAtStartAndOnHangupOnly(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	dir := t.TempDir()
	first, second := serverPair(t, ca), serverPair(t, ca)
	client := ca.Client(ca.Leaf(t, testpki.Options{CommonName: "visitor", Usages: testpki.ClientUsage}))

	s := start(t, dir)
	s.await(t, "waiting for the files")
	pid, err := os.ReadFile(s.pidFile)
	if err != nil || strings.TrimSpace(string(pid)) != strconv.Itoa(s.Process.Pid) {
		t.Fatalf("pid file %q, %v; want %d", pid, err, s.Process.Pid)
	}
	s.signal(t, syscall.SIGHUP) // as an activation that comes before the files
	testpki.WriteFile(t, filepath.Join(dir, "ca.crt"), ca.PEM(), 0o644)
	place(t, dir, first)
	_, url, _ := strings.Cut(s.await(t, "INFO serving"), "address=")
	url = "https://" + strings.TrimSpace(url)

	body := get(t, url, client)
	if want := "serving certificate " + renewer.SerialHex(first.Cert); !strings.Contains(body, want) {
		t.Errorf("body %q does not say %q", body, want)
	}
	if want := "you are visitor"; !strings.Contains(body, want) {
		t.Errorf("body %q does not say %q", body, want)
	}
	if got := served(t, url, client); got != renewer.SerialHex(first.Cert) {
		t.Errorf("served %s, want the first %s", got, renewer.SerialHex(first.Cert))
	}

	t.Run("no one without a certificate", func(t *testing.T) {
		if resp, err := request(url, ca.Client(testpki.Pair{})); err == nil {
			resp.Body.Close()
			t.Error("a client without a certificate was answered")
		}
		stranger := testpki.New(t).Leaf(t, testpki.Options{Usages: testpki.ClientUsage})
		if resp, err := request(url, ca.Client(stranger)); err == nil {
			resp.Body.Close()
			t.Error("a client of another CA was answered")
		}
	})

	place(t, dir, second)
	if got := served(t, url, client); got != renewer.SerialHex(first.Cert) {
		t.Errorf("before SIGHUP served %s, want the first %s", got, renewer.SerialHex(first.Cert))
	}
	s.signal(t, syscall.SIGHUP)
	s.await(t, "serial="+renewer.SerialHex(second.Cert))
	if got := served(t, url, client); got != renewer.SerialHex(second.Cert) {
		t.Errorf("after SIGHUP served %s, want the second %s", got, renewer.SerialHex(second.Cert))
	}

	testpki.WriteFile(t, filepath.Join(dir, "tls.crt"), first.CertPEM, 0o644) // with the second's key
	s.signal(t, syscall.SIGHUP)
	s.await(t, "kept the old certificate")
	if got := served(t, url, client); got != renewer.SerialHex(second.Cert) {
		t.Errorf("with a bad pair served %s, want the second %s", got, renewer.SerialHex(second.Cert))
	}

	s.signal(t, syscall.SIGTERM)
	s.await(t, "INFO stopped")
	if err := s.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	if _, err := os.Stat(s.pidFile); !os.IsNotExist(err) {
		t.Errorf("the pid file is still there: %v", err)
	}
}

func TestGivesUpWaiting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options{
		cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), ca: filepath.Join(dir, "ca.crt"),
		pidFile: filepath.Join(dir, "pid"), wait: time.Millisecond,
	}
	err := run(t.Context(), o, nil)
	if err == nil || !strings.Contains(err.Error(), "waited 1ms for the files") || !strings.Contains(err.Error(), o.cert) {
		t.Errorf("error %v; want the wait and the file", err)
	}
	if _, err := os.Stat(o.pidFile); !os.IsNotExist(err) {
		t.Errorf("the pid file is still there: %v", err)
	}
}

func TestEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, options{wait: time.Hour}, nil); err != nil {
		t.Error(err)
	}
}

func TestPIDFileOfAnotherStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	remove, err := writePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	testpki.WriteFile(t, path, []byte("1\n"), 0o644)
	remove()
	if text, err := os.ReadFile(path); err != nil || string(text) != "1\n" {
		t.Errorf("the other's pid file: %q, %v", text, err)
	}
}

func TestClientCAWithoutCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	place(t, dir, serverPair(t, testpki.New(t)))
	s := &service{options: options{
		cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), ca: filepath.Join(dir, "ca.crt"),
	}}
	testpki.WriteFile(t, s.ca, []byte("nothing\n"), 0o644)
	if err := s.load(); err == nil || !strings.Contains(err.Error(), s.ca+" holds no certificate") {
		t.Errorf("error %v", err)
	}
	if s.loaded.Load() != nil {
		t.Error("half of it was loaded")
	}
}

// child is the service as a process.
type child struct {
	*exec.Cmd
	pidFile string
	log     *bufio.Scanner
}

func start(t *testing.T, dir string) *child {
	t.Helper()
	s := &child{pidFile: filepath.Join(dir, "pid")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // bounds the reads of its log too
	s.Cmd = exec.CommandContext(ctx, os.Args[0], "-listen", "127.0.0.1:0", "-dir", dir, "-pid-file", s.pidFile)
	s.Env = append(os.Environ(), asChild+"=1")
	stderr, err := s.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.log = bufio.NewScanner(stderr)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = s.Wait()
	})
	return s
}

// await reads the log up to a line with the text.
func (s *child) await(t *testing.T, text string) string {
	t.Helper()
	var seen []string
	for s.log.Scan() {
		if strings.Contains(s.log.Text(), text) {
			return s.log.Text()
		}
		seen = append(seen, s.log.Text())
	}
	t.Fatalf("the log ended without %q:\n%s", text, strings.Join(seen, "\n"))
	return ""
}

func (s *child) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func serverPair(t *testing.T, ca *testpki.CA) testpki.Pair {
	t.Helper()
	return ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}, Usages: testpki.ServerUsage})
}

// place puts the key first: until the certificate follows, the pair does not
// load.
func place(t *testing.T, dir string, p testpki.Pair) {
	t.Helper()
	testpki.WriteFile(t, filepath.Join(dir, "tls.key"), p.KeyPEM, 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "tls.crt"), p.CertPEM, 0o644)
}

// request asks on a new connection.
func request(url string, config *tls.Config) (*http.Response, error) {
	c := http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
	}
	return c.Get(url)
}

func get(t *testing.T, url string, config *tls.Config) string {
	t.Helper()
	resp, err := request(url, config)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// served returns the serial number in the handshake.
func served(t *testing.T, url string, config *tls.Config) string {
	t.Helper()
	resp, err := request(url, config)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return renewer.SerialHex(resp.TLS.PeerCertificates[0])
}

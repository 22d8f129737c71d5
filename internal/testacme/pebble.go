// Package testacme runs an ACME server for tests: pebble, the one that Let's Encrypt
// tests clients with, in this process on a loopback port, and a DNS server that it asks
// (see DNS). Its roots and accounts are in memory alone.
package testacme

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"go.uber.org/goleak"

	"renewer/renewer/pki"
)

// Of the external account that is known where Options.EAB is set; the key is in
// base64url.
const (
	EABKeyID = "kid-1"
	EABHMAC  = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// ShortLived is the lifetime of the profile shortlived: 160 hours, as that of Let's
// Encrypt.
const ShortLived = 160 * time.Hour

// Options of a server; the zero value is a usual one.
type Options struct {
	EAB bool // accounts need an external one
	// AlternateRoots are signed under beside the first.
	AlternateRoots int
	// RetryAfter is what it says while it is busy, in seconds; 0: it does not say.
	RetryAfter int
	Blocked    []string // names that it refuses
	ShortLived bool     // there is a profile shortlived
	// Like has it ask the same DNS server as another one, and validate at the same ports.
	Like *Server
	// Front gets every request before pebble does; it returns true where it answered.
	Front func(w http.ResponseWriter, r *http.Request) bool
}

// Server is a pebble, running or stopped.
type Server struct {
	Directory string // URL
	Address   string // host:port
	CACert    string // file with what signed its TLS certificate
	Roots     string // file with its roots
	HTTPPort  string // host:port where it validates http-01
	TLSPort   string // and tls-alpn-01
	DNS       *DNS
	ca        *ca.CAImpl
	manage    http.Handler
	config    *tls.Config
	handler   http.Handler

	mu     sync.Mutex
	server *http.Server
	ended  chan struct{}
}

var settings sync.Once

// Start makes a server and runs it until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	settings.Do(func() { // pebble reads them from the environment alone
		for k, v := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
			if os.Getenv(k) == "" {
				must(t, os.Setenv(k, v))
			}
		}
	})
	dir := t.TempDir()
	s := &Server{CACert: filepath.Join(dir, "tls.pem"), Roots: filepath.Join(dir, "roots.pem")}
	if o.Like != nil {
		s.DNS, s.HTTPPort, s.TLSPort = o.Like.DNS, o.Like.HTTPPort, o.Like.TLSPort
	} else {
		s.DNS = StartDNS(t)
		s.HTTPPort, s.TLSPort = free(t, s.DNS.IP), free(t, s.DNS.IP)
	}
	s.Address = free(t, s.DNS.IP)
	s.Directory = "https://" + s.Address + "/dir"
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {Description: "the default", PromoteCommonName: true, ValidityPeriod: 90 * 24 * 3600}}
	if o.ShortLived { // without a profile in an order, pebble takes any
		profiles["shortlived"] = ca.Profile{Description: "160 hours", ValidityPeriod: uint64(ShortLived / time.Second)}
	}
	s.ca = ca.New(quiet, store, "", "ecdsa", o.AlternateRoots, 1, profiles)
	validator := va.New(quiet, port(s.HTTPPort), port(s.TLSPort), false, s.DNS.Address, store)
	if o.EAB {
		must(t, store.AddExternalAccountKeyByID(EABKeyID, EABHMAC))
	}
	for _, name := range o.Blocked {
		must(t, store.AddBlockedDomain(name))
	}
	front := wfe.New(quiet, store, validator, s.ca, []string{"ca.test"}, false, o.EAB, o.RetryAfter, o.RetryAfter)
	pebble := front.Handler()
	s.manage = front.ManagementHandler()
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.Front == nil || !o.Front(w, r) {
			pebble.ServeHTTP(w, r)
		}
	})
	s.config = &tls.Config{Certificates: []tls.Certificate{selfSigned(t, s.CACert, s.DNS.IP)}, MinVersion: tls.VersionTLS12}
	var roots []*x509.Certificate
	for k := range o.AlternateRoots + 1 {
		roots = append(roots, s.Root(k))
	}
	must(t, os.WriteFile(s.Roots, pki.PEM(roots...), 0o600))
	must(t, s.Up())
	t.Cleanup(s.Down)
	return s
}

// Root returns one of the roots.
func (s *Server) Root(k int) *x509.Certificate { return s.ca.GetRootCert(k).Cert }

// Up runs a server that is stopped.
func (s *Server) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.server, s.ended = &http.Server{Handler: s.handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}, make(chan struct{})
	go func(srv *http.Server, ended chan struct{}) {
		defer close(ended)
		_ = srv.Serve(tls.NewListener(l, s.config))
	}(s.server, s.ended)
	return nil
}

// Down stops it; what it knows stays.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		_ = s.server.Close()
		<-s.ended
		s.server = nil
	}
}

// Leftovers are goroutines of pebble that do not end.
func Leftovers() []goleak.Option {
	return []goleak.Option{goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks")}
}

func free(t testing.TB, ip net.IP) string {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(ip.String(), "0"))
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func port(address string) int {
	_, p, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(p)
	return n
}

func selfSigned(t testing.TB, file string, ip net.IP) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{ip}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	must(t, os.WriteFile(file, pki.PEM(cert), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Become has what this server is answered by another one from now on: its CA was replaced.
func (s *Server) Become(other *Server) {
	s.Down()
	s.handler = other.handler
	if err := s.Up(); err != nil {
		panic(err)
	}
}

// Suggest has it want a certificate renewed between two times (ARI).
func (s *Server) Suggest(t testing.TB, leaf *x509.Certificate, start, end time.Time, why string) {
	t.Helper()
	info, err := json.Marshal(map[string]any{"suggestedWindow": map[string]time.Time{"start": start, "end": end}, "explanationURL": why})
	must(t, err)
	body, err := json.Marshal(map[string]any{
		"certificate": string(pki.PEM(leaf)), "ariResponse": string(info),
	})
	must(t, err)
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/set-renewal-info/", bytes.NewReader(body))
	r.Header.Set("User-Agent", "renewer")
	s.manage.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("pebble answers %d %s", w.Code, w.Body)
	}
}

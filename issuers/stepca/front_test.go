package stepca_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"renewer/internal/teststepca"
	"renewer/issuers/stepca"
)

// front stands before a step-ca, with a TLS certificate of its CA, and passes
// on what the fault does not take for itself.
func front(t testing.TB, ca *teststepca.CA, fault func(w http.ResponseWriter, r *http.Request) bool) *httptest.Server {
	t.Helper()
	return frontWith(t, ca, frontPair(t, ca, &x509.Certificate{NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), fault)
}

// frontPair is a server certificate of the CA.
func frontPair(t testing.TB, ca *teststepca.CA, tmpl *x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	chain, err := ca.Leaf(tmpl, key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{chain.Leaf.Raw, ca.Intermediate.Raw}, PrivateKey: key}
}

func frontWith(t testing.TB, ca *teststepca.CA, pair tls.Certificate, fault func(w http.ResponseWriter, r *http.Request) bool) *httptest.Server {
	t.Helper()
	at, err := url.Parse(ca.URL)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	behind := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.Transport = behind
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault == nil || !fault(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		behind.CloseIdleConnections()
	})
	return s
}

// at is a fault of one path.
func at(path string, f http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		f(w, r)
		return true
	}
}

// answers is a handler with one answer.
func answers(status int, kind, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// behind is an issuer with the address of a front.
func behind(t testing.TB, s *httptest.Server) *stepca.Issuer {
	t.Helper()
	cfg := configOf(shared)
	cfg.URL = s.URL
	return open(t, cfg)
}

package acme_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	stepacme "github.com/smallstep/certificates/acme"

	"renewer/internal/testacme"
	"renewer/internal/teststepca"
	"renewer/issuers/acme"
	"renewer/issuers/issuertest"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// stepConfig is an issuer at the ACME provisioner of a step-ca.
func stepConfig(t *testing.T, ca *teststepca.CA, listen string) acme.Config {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root.pem")
	must(t, os.WriteFile(root, pki.PEM(ca.Root), 0o600))
	return acme.Config{
		Name: "corp-acme", Directory: ca.URL + "/acme/acme/directory", CACert: root, Roots: root, Seal: plainSeal{},
		StateFile: filepath.Join(t.TempDir(), "issuers", "corp-acme", "acme.json"), Challenge: acme.Challenge{Type: acme.HTTP01, Listen: listen},
	}
}

func startStep(t *testing.T) *teststepca.CA {
	t.Helper()
	ca, err := teststepca.Start(t.TempDir(), teststepca.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, ca.Stop()) })
	return ca
}

// step-ca resolves names, and validates them, as this process does.
func TestSuiteWithStepCA(t *testing.T) {
	dns := testacme.StartDNS(t)
	was := net.DefaultResolver
	net.DefaultResolver = dns.Resolver()
	l, err := net.Listen("tcp", net.JoinHostPort(dns.IP.String(), "0"))
	must(t, err)
	listen := l.Addr().String()
	must(t, l.Close())
	_, port, err := net.SplitHostPort(listen)
	must(t, err)
	stepacme.InsecurePortHTTP01, err = strconv.Atoi(port)
	must(t, err)
	t.Cleanup(func() { net.DefaultResolver, stepacme.InsecurePortHTTP01 = was, 0 })
	ca := startStep(t)
	issuertest.Run(t, issuertest.Harness{
		New:  func(t *testing.T) issuertest.Issuer { return open(t, stepConfig(t, ca, listen)) },
		SANs: []string{dns.IP.String(), "host-b.example.com"},
		Keys: []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Adds: true,
		Outage: func(t *testing.T) (issuertest.Issuer, func(), func()) {
			ca := startStep(t)
			return open(t, stepConfig(t, ca, listen)), func() { must(t, ca.Stop()) }, func() { must(t, ca.Start()) }
		},
		Limited: func(t *testing.T) (issuertest.Issuer, time.Duration) {
			return open(t, stepConfig(t, ca, listen)), 31 * 24 * time.Hour
		},
		Watched: func(t *testing.T, onCall func()) issuertest.Issuer {
			cfg := stepConfig(t, ca, listen)
			cfg.Directory, cfg.CACert = watched(t, ca, onCall)
			return open(t, cfg)
		},
		Faults: map[string]issuertest.Fault{
			"no such provisioner": {Class: mis, Contains: []string{"404"}, Provoke: func(t *testing.T) error {
				cfg := stepConfig(t, ca, listen)
				cfg.Directory = ca.URL + "/acme/nosuch/directory"
				return open(t, cfg).LogIn(t.Context())
			}},
		},
	})
}

// watched is a proxy before the CA. What answers say of URLs is what it was asked with.
func watched(t *testing.T, ca *teststepca.CA, onCall func()) (directory, cert string) {
	at, err := url.Parse(ca.URL)
	must(t, err)
	pool := poolOf(ca)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		onCall()
		proxy := &httputil.ReverseProxy{Transport: pool, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(at); p.Out.Host = p.In.Host }, ErrorLog: quiet}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.Close(); pool.CloseIdleConnections() })
	cert = filepath.Join(t.TempDir(), "proxy.pem")
	must(t, os.WriteFile(cert, pki.PEM(s.Certificate()), 0o600))
	return s.URL + "/acme/acme/directory", cert
}

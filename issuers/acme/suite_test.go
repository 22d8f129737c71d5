package acme_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testacme"
	"renewer/internal/testpki"
	"renewer/issuers/acme"
	"renewer/issuers/issuertest"
	"renewer/renewer"
)

const (
	retry   = renewer.ClassRetry
	refused = renewer.ClassRefused
	mis     = renewer.ClassMisconfigured
)

func TestSuiteWithPebble(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	issuertest.Run(t, issuertest.Harness{
		New:         func(t *testing.T) issuertest.Issuer { return open(t, configOf(t, s)) },
		SANs:        []string{s.DNS.IP.String(), "host-b.example.com"},
		Keys:        []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.RSA2048},
		ServersOnly: true, Adds: true, // the common name is a SAN too
		Secrets: []string{"PRIVATE KEY", testacme.EABHMAC, testacme.TSIGSecret},
		Faults:  faults(),
		Outage: func(t *testing.T) (issuertest.Issuer, func(), func()) {
			s := testacme.Start(t, testacme.Options{Like: s})
			return open(t, configOf(t, s)), s.Down, func() { must(t, s.Up()) }
		},
		Replace: func(t *testing.T) (issuertest.Issuer, func()) {
			a, b := testacme.Start(t, testacme.Options{Like: s}), testacme.Start(t, testacme.Options{Like: s})
			return open(t, configOf(t, a)), func() {
				a.Become(b)
				roots, err := os.ReadFile(b.Roots)
				must(t, err)
				must(t, os.WriteFile(a.Roots, roots, 0o600))
			}
		},
		Watched: func(t *testing.T, onCall func()) issuertest.Issuer {
			s := testacme.Start(t, testacme.Options{Like: s, Front: func(http.ResponseWriter, *http.Request) bool { onCall(); return false }})
			return open(t, configOf(t, s))
		},
	})
}

// updates is a name server that takes updates of example.com.
func updates(t testing.TB, d *testacme.DNS) acme.RFC2136 {
	file := filepath.Join(t.TempDir(), "tsig.key")
	must(t, os.WriteFile(file, []byte(`key "`+testacme.TSIGName+`" {
	algorithm hmac-sha256;
	secret "`+testacme.TSIGSecret+`";
};
`), 0o600))
	return acme.RFC2136{Server: d.Address, Zone: "example.com", TSIGFile: file}
}

// ordered is a fault that an order meets, with a server and an issuer that are spoilt.
func ordered(class renewer.Class, o testacme.Options, spoil func(t *testing.T, s *testacme.Server, cfg *acme.Config), contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: class, Contains: append(contains, "corp-acme"), Provoke: func(t *testing.T) error {
		s := testacme.Start(t, o)
		cfg := configOf(t, s)
		if spoil != nil {
			spoil(t, s, &cfg)
		}
		_, err := open(t, cfg).Sign(t.Context(), orderFor(t))
		return err
	}}
}

// answering has the server answer every request to a path with something else.
func answering(path string, status int, kind, body string, header ...string) testacme.Options {
	return testacme.Options{Front: func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Replay-Nonce", "bm9uY2U")
		for k := 0; k+1 < len(header); k += 2 {
			w.Header().Set(header[k], header[k+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
		return true
	}}
}

const (
	problem = "application/problem+json"
	acmeURN = `{"type": "urn:ietf:params:acme:error:`
)

func faults() map[string]issuertest.Fault {
	file := func(t *testing.T, content string) string {
		path := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	return map[string]issuertest.Fault{
		"down": ordered(retry, testacme.Options{}, func(_ *testing.T, s *testacme.Server, _ *acme.Config) { s.Down() }, "connection refused"),
		"TLS of another CA": ordered(mis, testacme.Options{}, func(t *testing.T, _ *testacme.Server, cfg *acme.Config) {
			cfg.CACert = file(t, string(testpki.New(t).PEM()))
		}, "unknown authority"),
		"no CA certificate": ordered(mis, testacme.Options{}, func(_ *testing.T, _ *testacme.Server, cfg *acme.Config) { cfg.CACert = "/nonexistent/ca.pem" }, "/nonexistent/ca.pem"),
		"no directory":      ordered(mis, answering("/dir", 404, "text/html", "<html>not here"), nil, "not from an ACME server", "404"),
		"another directory": ordered(mis, answering("/dir", 200, "application/json", `{"hello": "world"}`), nil, "not the directory of an ACME server"),
		"a page":            ordered(retry, answering("/dir", 200, "text/html", "<html>welcome"), nil, "not from an ACME server", "text/html"),
		"redirect":          ordered(mis, answering("/dir", 307, "text/html", "", "Location", "http://127.0.0.1:1/"), nil, "307"),
		"busy":              ordered(retry, answering("/order-plz", 503, "text/html", "<html>later", "Retry-After", "7"), nil, "503"),
		"garbage":           ordered(retry, answering("/order-plz", 201, "application/json", "\x00\x01"), nil, "JSON"),
		"rate limit":        ordered(retry, answering("/order-plz", 429, problem, acmeURN+`rateLimited", "detail": "too many certificates\nfor example.com."}`, "Retry-After", "3600"), nil, "too many certificates for example.com (rateLimited)"),
		"broken":            ordered(retry, answering("/order-plz", 500, problem, acmeURN+`serverInternal", "detail": "database is locked"}`), nil, "database is locked (serverInternal)"),
		"a refused name":    ordered(refused, testacme.Options{Blocked: []string{"example.com"}}, nil, "rejectedIdentifier"),
		"no such account":   ordered(mis, answering("/order-plz", 400, problem, acmeURN+`accountDoesNotExist", "detail": "unknown"}`), nil, "accountDoesNotExist"),
		"EAB needed":        ordered(mis, testacme.Options{EAB: true}, nil, "externalAccountRequired"),
		"EAB wrong": ordered(mis, testacme.Options{EAB: true}, func(t *testing.T, _ *testacme.Server, cfg *acme.Config) {
			cfg.EABKeyID, cfg.EABHMAC = file(t, testacme.EABKeyID+"\n"), file(t, "d3JvbmctaG1hYy1rZXktdGhhdC1pcy0zMi1ieXRlcy1sb25n\n")
		}, "the ACME account"),
		"EAB key unknown": ordered(mis, testacme.Options{EAB: true}, func(t *testing.T, _ *testacme.Server, cfg *acme.Config) {
			cfg.EABKeyID, cfg.EABHMAC = file(t, "kid-9"), file(t, testacme.EABHMAC)
		}, "the ACME account"),
		"EAB unreadable": ordered(mis, testacme.Options{EAB: true}, func(t *testing.T, _ *testacme.Server, cfg *acme.Config) {
			cfg.EABKeyID, cfg.EABHMAC = file(t, testacme.EABKeyID), file(t, "not base64 !")
		}, "base64url"),
		"no such profile": ordered(mis, testacme.Options{ShortLived: true}, func(_ *testing.T, _ *testacme.Server, cfg *acme.Config) { cfg.Profile = "nosuch" }, "has no profile nosuch", "shortlived"),
		"port in use": ordered(mis, testacme.Options{}, func(t *testing.T, s *testacme.Server, cfg *acme.Config) {
			cfg.Challenge.Listen = s.Address // pebble's own
		}, "address already in use"),
		"not reached": ordered(retry, testacme.Options{}, func(t *testing.T, s *testacme.Server, cfg *acme.Config) {
			cfg.Challenge.Listen = s.DNS.IP.String() + ":0"
		}, "example.com was not validated with http-01", "connection"),
		"a challenge that is not offered": ordered(mis, testacme.Options{Front: notOffered()}, nil, "offers", "not http-01"),
		"DNS that does not answer": ordered(retry, testacme.Options{}, func(t *testing.T, s *testacme.Server, cfg *acme.Config) {
			cfg.Challenge = acme.Challenge{Type: acme.DNS01, RFC2136: updates(t, s.DNS)}
			cfg.Challenge.RFC2136.Server = "127.0.0.1:1"
		}, "name server 127.0.0.1:1", "connection refused"),
		"DNS that refuses": ordered(mis, testacme.Options{}, func(t *testing.T, s *testacme.Server, cfg *acme.Config) {
			cfg.Challenge = acme.Challenge{Type: acme.DNS01, RFC2136: updates(t, s.DNS)}
			s.DNS.Refuse(true)
		}, "refuses the update of zone example.com: REFUSED"),
		"another TSIG secret": ordered(mis, testacme.Options{}, func(t *testing.T, s *testacme.Server, cfg *acme.Config) {
			cfg.Challenge = acme.Challenge{Type: acme.DNS01, RFC2136: updates(t, s.DNS)}
			cfg.Challenge.RFC2136.TSIGFile = file(t, "hmac-sha256:"+testacme.TSIGName+":d3Jvbmc=")
		}, "refuses"),
		"no TSIG key": ordered(mis, testacme.Options{}, func(t *testing.T, s *testacme.Server, cfg *acme.Config) {
			cfg.Challenge = acme.Challenge{Type: acme.DNS01, RFC2136: updates(t, s.DNS)}
			cfg.Challenge.RFC2136.TSIGFile = file(t, "nothing")
		}, "has no TSIG key"),
		"no persistent record": ordered(retry, testacme.Options{}, func(_ *testing.T, _ *testacme.Server, cfg *acme.Config) {
			cfg.Challenge = acme.Challenge{Type: acme.DNSPersist01}
		}, "was not validated with dns-persist-01"),
		"no name": {Class: refused, Contains: []string{"signs DNS names only"}, Provoke: func(t *testing.T) error {
			s := testacme.Start(t, testacme.Options{})
			o := orderFor(t)
			o.CommonName, o.SANs = "renewer probe", nil
			_, err := open(t, configOf(t, s)).Sign(t.Context(), o)
			return err
		}},
		"a damaged state file": ordered(mis, testacme.Options{}, func(t *testing.T, _ *testacme.Server, cfg *acme.Config) {
			must(t, os.MkdirAll(filepath.Dir(cfg.StateFile), 0o700))
			must(t, os.WriteFile(cfg.StateFile, []byte("{"), 0o600))
		}, "acme.json is damaged"),
		"no roots": ordered(mis, testacme.Options{}, func(_ *testing.T, _ *testacme.Server, cfg *acme.Config) { cfg.Roots = "/nonexistent/roots.pem" }, "/nonexistent/roots.pem"),
		"slow": {Class: retry, Contains: []string{"corp-acme", "no answer", "in time"}, Provoke: func(t *testing.T) error {
			s := testacme.Start(t, testacme.Options{Front: func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }})
			i := open(t, configOf(t, s))
			i.SetTimeout(200 * time.Millisecond)
			return i.LogIn(t.Context())
		}},
	}
}

// notOffered answers authorizations without http-01.
func notOffered() func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/authZ/") {
			return false
		}

		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Replay-Nonce", "bm9uY2U")
		_, _ = w.Write([]byte(`{"status": "pending", "identifier": {"type": "dns", "value": "host-b.example.com"}, "challenges": [{"type": "dns-01", "url": "https://127.0.0.1:1/x", "token": "t", "status": "pending"}]}`))
		return true
	}
}

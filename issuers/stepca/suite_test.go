package stepca_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/internal/teststepca"
	"renewer/issuers/issuertest"
	"renewer/issuers/stepca"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const (
	wrongPassword = "Wrong-Horse-9"
	page          = "<html><body>Please log in</body></html>"
	opaque        = `{"status":401,"message":"The request lacked necessary authorization to be completed."}`
)

const (
	retry   = renewer.ClassRetry
	refused = renewer.ClassRefused
	mis     = renewer.ClassMisconfigured
)

func TestSuite(t *testing.T) {
	t.Parallel()
	faults := networkFaults()
	for _, more := range []map[string]issuertest.Fault{answerFaults(), loginFaults(), orderFaults()} {
		for name, f := range more {
			faults[name] = f
		}
	}
	issuertest.Run(t, issuertest.Harness{
		New:     func(t *testing.T) issuertest.Issuer { return open(t, configOf(shared)) },
		Keys:    []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Adds:    true, // its default template has both usages, and a name where there is none
		Secrets: []string{teststepca.Password, wrongPassword, "eyJ", "PRIVATE KEY"},
		Faults:  faults,
		Outage: func(t *testing.T) (issuertest.Issuer, func(), func()) {
			ca := start(t, teststepca.Options{})
			return open(t, keeping(t, configOf(ca))), func() { must(t, ca.Stop()) }, func() { must(t, ca.Start()) }
		},
		Replace: func(t *testing.T) (issuertest.Issuer, func()) { // the pinned root stays, another one is trusted with it
			ca := start(t, teststepca.Options{})
			return open(t, configOf(ca)), func() {
				file := filepath.Join(t.TempDir(), "next.pem")
				testpki.WriteFile(t, file, testpki.New(t).PEM(), 0o600)
				must(t, errors.Join(ca.Stop(), ca.Federate(file), ca.Start()))
			}
		},
		Limited: func(t *testing.T) (issuertest.Issuer, time.Duration) {
			return open(t, configOf(start(t, teststepca.Options{MaxLifetime: 24 * time.Hour}))), 24 * time.Hour
		},
		Watched: func(t *testing.T, onCall func()) issuertest.Issuer {
			return behind(t, front(t, shared, func(http.ResponseWriter, *http.Request) bool { onCall(); return false }))
		},
	})
}

// keeping has the roots kept.
func keeping(t *testing.T, cfg stepca.Config) stepca.Config {
	cfg.RootsFile = filepath.Join(t.TempDir(), "roots", "corp-step.pem")
	return cfg
}

func TestSuiteWithX5C(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{
		New:     func(t *testing.T) issuertest.Issuer { return open(t, x5cConfigOf(shared)) },
		Adds:    true,
		Secrets: []string{"eyJ", "PRIVATE KEY"},
		Faults:  x5cFaults(),
	})
}

// signed is a fault that an order meets.
func signed(class renewer.Class, issuer func(t *testing.T) *stepca.Issuer, contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: class, Contains: append(contains, "corp-step", "docker@host-b"), Provoke: func(t *testing.T) error {
		_, err := issuer(t).Sign(t.Context(), orderFor(newKey(t)))
		return err
	}}
}

// loggingIn is a fault that a login finds, in one line.
func loggingIn(spoil func(t *testing.T, cfg *stepca.Config), contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: mis, Contains: append(contains, "corp-step"), Provoke: func(t *testing.T) error {
		cfg := configOf(shared)
		spoil(t, &cfg)
		err := open(t, cfg).LogIn(t.Context())
		if err != nil && strings.Contains(err.Error()+renewer.Hint(err), "\n") {
			t.Errorf("more than one line: %q", err)
		}
		return err
	}}
}

func answering(class renewer.Class, h http.HandlerFunc, contains ...string) issuertest.Fault {
	return signed(class, func(t *testing.T) *stepca.Issuer { return behind(t, front(t, shared, at("/sign", h))) }, contains...)
}

// standing is a server instead of the CA, not one before it.
func standing(t *testing.T, s *httptest.Server) *stepca.Issuer {
	t.Cleanup(s.Close)
	return behind(t, s)
}

func networkFaults() map[string]issuertest.Fault {
	withCert := func(tmpl func() *x509.Certificate) func(t *testing.T) *stepca.Issuer {
		return func(t *testing.T) *stepca.Issuer {
			return behind(t, frontWith(t, shared, frontPair(t, shared, tmpl()), nil))
		}
	}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	return map[string]issuertest.Fault{
		"down": signed(retry, func(t *testing.T) *stepca.Issuer {
			cfg := configOf(shared)
			cfg.URL = "https://127.0.0.1:1"
			return open(t, cfg)
		}, "127.0.0.1:1", "connection refused"),
		"slow": signed(retry, func(t *testing.T) *stepca.Issuer {
			i := behind(t, front(t, shared, at("/sign", func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // to see the client go
				<-r.Context().Done()
			})))
			must(t, i.LogIn(t.Context()))
			i.SetTimeout(100 * time.Millisecond)
			return i
		}, "no answer from https://127.0.0.1", "within 100ms"),
		"cut": answering(retry, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"crt":"-----BEGIN`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "read the answer"),
		"TLS of another root": signed(mis, func(t *testing.T) *stepca.Issuer {
			ca := testpki.New(t)
			p := ca.Leaf(t, testpki.Options{CommonName: "127.0.0.1", SANs: []string{"127.0.0.1"}})
			pair, err := tls.X509KeyPair(p.CertPEM, p.KeyPEM)
			must(t, err)
			return behind(t, frontWith(t, shared, pair, nil))
		}, "unknown authority"),
		"TLS for another name": signed(mis, withCert(func() *x509.Certificate {
			return &x509.Certificate{NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"ca.example.com"}}
		}), "127.0.0.1"),
		"TLS expired": signed(mis, withCert(func() *x509.Certificate {
			return &x509.Certificate{NotAfter: time.Now().Add(-time.Minute), IPAddresses: loopback}
		}), "expired"),
		"no TLS": signed(mis, func(t *testing.T) *stepca.Issuer {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			cfg := configOf(shared)
			cfg.URL = strings.Replace(s.URL, "http:", "https:", 1)
			return open(t, cfg)
		}, "does not look like a TLS handshake"),
		"another server": signed(mis, func(t *testing.T) *stepca.Issuer {
			return standing(t, httptest.NewTLSServer(http.NotFoundHandler()))
		}, "404", "not from a step-ca"),
	}
}

func answerFaults() map[string]issuertest.Fault {
	const jsonType, html = "application/json", "text/html; charset=utf-8"
	echo := func(w http.ResponseWriter, r *http.Request) {
		var said struct{ OTT string }
		_ = json.NewDecoder(r.Body).Decode(&said)
		answers(http.StatusForbidden, jsonType, `{"status":403,"message":"you said `+said.OTT+`"}`)(w, r)
	}
	return map[string]issuertest.Fault{
		"garbage":            answering(retry, answers(200, "application/octet-stream", "\x00\x01\x02"), "not from a step-ca", "octet-stream"),
		"garbage in JSON":    answering(retry, answers(200, jsonType, `{"crt":"nonsense"}`)),
		"no certificate":     answering(retry, answers(200, jsonType, `{}`), "has no certificate"),
		"a page":             answering(retry, answers(200, html, page), "not from a step-ca", "text/html"),
		"a page with 502":    answering(retry, answers(502, html, page), "502 Bad Gateway", "text/html"),
		"a page with 403":    answering(mis, answers(403, html, page), "403 Forbidden", "text/html"),
		"redirect":           answering(mis, answers(307, html, page, "Location", "http://127.0.0.1:1/"), "307"),
		"too many":           answering(retry, answers(429, jsonType, `{"status":429,"message":"slow down"}`), "slow down"),
		"busy":               answering(retry, answers(503, html, page), "503"),
		"broken":             answering(retry, answers(500, jsonType, `{"status":500,"message":"database is locked"}`), "500", "database is locked"),
		"bad request":        answering(refused, answers(400, jsonType, `{"status":400,"message":"key of type X is not supported"}`), "key of type X"),
		"repeats the token":  answering(refused, echo, "you said [token]"),
		"words over lines":   answering(refused, answers(403, jsonType, `{"message":"a\nb\u001b[31m"}`), ": a b [31m"),
		"401 again":          answering(mis, answers(401, jsonType, opaque, "X-Request-Id", "r-17"), "provisioner renewer", "the clocks agree", "lacked necessary"),
		"unhealthy":          healthFault(answers(200, jsonType, `{"status":"sick"}`), "health is sick"),
		"a root that is not": healthlessRoots(),
	}
}

func healthFault(h http.HandlerFunc, contains ...string) issuertest.Fault {
	return issuertest.Fault{Class: retry, Contains: contains, Provoke: func(t *testing.T) error {
		return behind(t, front(t, shared, at("/health", h))).Health(t.Context())
	}}
}

func healthlessRoots() issuertest.Fault {
	return issuertest.Fault{Class: retry, Contains: []string{"root missing"}, Provoke: func(t *testing.T) error {
		_, err := behind(t, front(t, shared, at("/roots", answers(200, "application/json", `{"crts":[null]}`)))).Roots(t.Context())
		return err
	}}
}

func loginFaults() map[string]issuertest.Fault {
	password := func(content string) func(t *testing.T, cfg *stepca.Config) {
		return func(t *testing.T, cfg *stepca.Config) {
			cfg.PasswordFile = filepath.Join(t.TempDir(), "password")
			must(t, os.WriteFile(cfg.PasswordFile, []byte(content), 0o600))
		}
	}
	skewed := func(ahead time.Duration, contains ...string) issuertest.Fault {
		return signed(mis, func(t *testing.T) *stepca.Issuer {
			i := open(t, configOf(shared))
			i.SetClock(ahead)
			return i
		}, append(contains, "401")...)
	}
	return map[string]issuertest.Fault{
		"wrong fingerprint": loggingIn(func(_ *testing.T, cfg *stepca.Config) { cfg.RootFingerprint = strings.Repeat("ab", 32) },
			"no root with the root_fingerprint abab"),
		"another root for the fingerprint": loggingIn(func(t *testing.T, cfg *stepca.Config) {
			text := strings.ReplaceAll(string(testpki.New(t).PEM()), "\n", `\n`)
			cfg.URL = front(t, shared, at("/root/"+shared.Fingerprint, answers(200, "application/json", `{"ca":"`+text+`"}`))).URL
		}, "a root that does not match root_fingerprint"),
		"wrong password":        loggingIn(password(wrongPassword), "does not decrypt the key of provisioner renewer"),
		"empty password file":   loggingIn(password("\n"), "is empty"),
		"no password file":      loggingIn(func(_ *testing.T, cfg *stepca.Config) { cfg.PasswordFile = "/nonexistent/password" }, "/nonexistent/password"),
		"unknown provisioner":   loggingIn(func(_ *testing.T, cfg *stepca.Config) { cfg.Provisioner = "nosuch" }, "has no provisioner nosuch"),
		"provisioner of a kind": loggingIn(func(_ *testing.T, cfg *stepca.Config) { cfg.Provisioner = "acme" }, "provisioner acme is of type ACME"),
		"wrong port": loggingIn(func(t *testing.T, cfg *stepca.Config) {
			s := httptest.NewTLSServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			cfg.URL = s.URL
		}, "404", "not from a step-ca"),
		"our clock 5 minutes ahead": skewed(5*time.Minute+30*time.Second, "clock is 5m", "behind this machine's"),
		"our clock 7 minutes late":  skewed(-7*time.Minute-30*time.Second, "clock is 7m", "ahead of this machine's"),
		"login with a wrong clock": {Class: mis, Contains: []string{"clock is 5m", "behind this machine's"}, Provoke: func(t *testing.T) error {
			i := open(t, configOf(shared))
			i.SetClock(5*time.Minute + 30*time.Second)
			return i.LogIn(t.Context())
		}},
	}
}

func orderFaults() map[string]issuertest.Fault {
	ordered := func(spoil func(o *renewer.Order), contains ...string) issuertest.Fault {
		return issuertest.Fault{Class: refused, Contains: append(contains, "docker@host-b"), Provoke: func(t *testing.T) error {
			o := orderFor(newKey(t))
			spoil(&o)
			_, err := open(t, configOf(shared)).Sign(t.Context(), o)
			return err
		}}
	}
	return map[string]issuertest.Fault{
		"longer than allowed": ordered(func(o *renewer.Order) { o.Lifetime = 90 * 24 * time.Hour }, "403", "more than the authorized maximum"),
		"no name":             ordered(func(o *renewer.Order) { o.CommonName, o.SANs = "", nil }, "neither a common name nor a SAN"),
		"no lifetime":         ordered(func(o *renewer.Order) { o.Lifetime = 0 }, "lifetime 0s"),
	}
}

func x5cFaults() map[string]issuertest.Fault {
	fault := func(spoil func(t *testing.T, cfg *stepca.Config), contains ...string) issuertest.Fault {
		return issuertest.Fault{Class: mis, Contains: append(contains, "corp-step"), Provoke: func(t *testing.T) error {
			cfg := x5cConfigOf(shared)
			spoil(t, &cfg)
			return open(t, cfg).LogIn(t.Context())
		}}
	}
	pair := func(o testpki.Options) func(t *testing.T, cfg *stepca.Config) {
		return func(t *testing.T, cfg *stepca.Config) {
			p := testpki.New(t).Leaf(t, o)
			cfg.X5CCert, cfg.X5CKey = p.Write(t, t.TempDir())
		}
	}
	return map[string]issuertest.Fault{
		"of another CA": fault(pair(testpki.Options{CommonName: "stranger", Usages: testpki.ClientUsage}), "will not accept x5c.cert", "unknown authority"),
		"expired": fault(pair(testpki.Options{CommonName: "old", Usages: testpki.ClientUsage, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}),
			"expired at 20"),
		"no certificate":      fault(func(_ *testing.T, cfg *stepca.Config) { cfg.X5CCert = "/nonexistent/x5c.crt" }, "/nonexistent/x5c.crt"),
		"no key":              fault(func(_ *testing.T, cfg *stepca.Config) { cfg.X5CKey = "/nonexistent/x5c.key" }, "/nonexistent/x5c.key"),
		"key of another":      fault(func(t *testing.T, cfg *stepca.Config) { cfg.X5CKey = writeKey(t) }, "not a usable pair"),
		"JWK provisioner":     fault(func(_ *testing.T, cfg *stepca.Config) { cfg.Provisioner = teststepca.Provisioner }, "provisioner renewer is of type JWK"),
		"unknown provisioner": fault(func(_ *testing.T, cfg *stepca.Config) { cfg.Provisioner = "nosuch" }, "has no provisioner nosuch"),
		"lives longer than what it logs in with": {Class: refused, Contains: []string{"403"}, Provoke: func(t *testing.T) error {
			ca := start(t, teststepca.Options{MaxLifetime: 400 * 24 * time.Hour})
			o := orderFor(newKey(t))
			o.Lifetime = 350 * 24 * time.Hour
			_, err := open(t, x5cConfigOf(ca)).Sign(t.Context(), o)
			return err
		}},
	}
}

func writeKey(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "other.key")
	text, err := pki.EncodeKey(newKey(t))
	must(t, err)
	must(t, os.WriteFile(path, text, 0o600))
	return path
}

// Package testvault is a stand-in for a Vault server with PKI mounts, for
// tests: over TLS on loopback, with a CA that really signs. What it answers is
// the recorded answer of a real Vault 1.21.4 with the changing values
// replaced, and every refusal is a recorded one as it is, so it can be no
// better than its recordings. A directory with them is handed to Start; a test
// of this package sends the recorded requests again and compares.
//
// It knows AppRole, token, TLS certificate, Kubernetes and JWT logins (the last two
// were not recorded: they answer as AppRole does), policies, wrapped secret ids,
// the life of tokens, and of PKI what renewer and the set-up of its tests use.
// Setting it up goes through the API, with RootToken, as with the real one.
//
// StartBao is the same as an OpenBao 2.6 answers, as far as that differs: its
// version, one text for every 403, and namespaces, of which it has none.
package testvault

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"renewer/internal/testpki"
)

// RootToken may do everything.
const RootToken = "hvs.test-root-token" //nolint:gosec // of a server that lasts as long as a test

// Fault answers a request in the server's place, and says whether it did.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// Server is a running stand-in.
type Server struct {
	URL   string
	Trust []byte // PEM of the CA of its own TLS

	t       testing.TB
	dir     string
	mu      sync.Mutex
	ahead   time.Duration // its clock before ours
	faults  []Fault
	seal    bool
	bao     bool
	count   map[string]int // requests by path
	last    map[string]int // numbers of what was made, by kind
	mounts  map[string]*mount
	auths   map[string]*auth
	tokens  map[string]*token
	wrapped map[string]map[string]any
	policy  map[string][]grant
}

// Start runs a server until the test ends; recordings is the directory of the
// recorded exchanges.
func Start(t testing.TB, recordings string) *Server {
	t.Helper()
	return start(t, recordings, false)
}

// StartBao runs one that answers as an OpenBao.
func StartBao(t testing.TB, recordings string) *Server {
	t.Helper()
	return start(t, recordings, true)
}

func start(t testing.TB, recordings string, bao bool) *Server {
	t.Helper()
	s := &Server{
		t: t, dir: recordings, bao: bao, count: map[string]int{}, last: map[string]int{}, mounts: map[string]*mount{}, auths: map[string]*auth{},
		tokens: map[string]*token{}, wrapped: map[string]map[string]any{}, policy: map[string][]grant{"default": defaultPolicy},
	}
	s.tokens[RootToken] = &token{policies: []string{"root"}}
	ca := testpki.NewWith(t, testpki.Options{CommonName: "Vault TLS Root"})
	h := httptest.NewUnstartedServer(s)
	h.EnableHTTP2 = true
	h.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Leaf(t, testpki.Options{SANs: []string{"127.0.0.1"}}).TLS},
		ClientAuth:   tls.RequestClientCert, MinVersion: tls.VersionTLS12,
	}
	h.Config.ErrorLog = nil
	h.StartTLS()
	t.Cleanup(h.Close)
	s.URL, s.Trust = h.URL, ca.PEM()
	return s
}

// Exchange is a recorded request with its answer.
type Exchange struct {
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
	}
}

// Load reads a recording by its name.
func (s *Server) Load(name string) Exchange {
	data, err := os.ReadFile(filepath.Join(s.dir, name+".json"))
	if err != nil {
		panic(err) // in a handler's goroutine, where a test cannot be ended
	}
	var e Exchange
	if err := json.Unmarshal(data, &e); err != nil {
		panic(name + ": " + err.Error())
	}
	return e
}

// Write answers with a recording, as it is: status, headers, body. The Date is
// the server's own.
func (s *Server) Write(w http.ResponseWriter, name string) { s.edit(w, name, nil) }

// edit answers with a recording whose body was changed.
func (s *Server) edit(w http.ResponseWriter, name string, change func(body map[string]any)) {
	e := s.Load(name)
	for k, v := range e.Response.Headers {
		if k != "Date" {
			w.Header().Set(k, v)
		}
	}
	body := []byte(e.Response.Body)
	if s.bao && e.Response.Status == http.StatusForbidden {
		body, change = []byte(`{"errors":["permission denied"]}`), nil
	}
	if change != nil {
		var fields map[string]any
		if err := json.Unmarshal(body, &fields); err != nil {
			panic(name + ": " + err.Error())
		}
		change(fields)
		body, _ = json.Marshal(fields) // of what was JSON
	}
	w.WriteHeader(e.Response.Status)
	if string(body) != "null" {
		_, _ = w.Write(append(body, '\n'))
	}
}

// Fail has f answer what it likes to, before anything else; nil ends all
// faults.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		s.faults = nil
		return
	}
	s.faults = append(s.faults, f)
}

// Replay answers requests whose path ends in suffix with a recording.
func (s *Server) Replay(suffix, name string) {
	s.Fail(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		s.Write(w, name)
		return true
	})
}

// Seal seals or unseals.
func (s *Server) Seal(sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seal = sealed
}

// Advance moves the server's clock, by which it dates answers and
// certificates and ends tokens.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

// Count returns how many requests had a path with this suffix.
func (s *Server) Count(suffix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, c := range s.count {
		if strings.HasSuffix(path, suffix) {
			n += c
		}
	}
	return n
}

// now is called with mu held.
func (s *Server) now() time.Time { return time.Now().Add(s.ahead) }

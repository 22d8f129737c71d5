package acme_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"renewer/internal/testacme"
	"renewer/internal/testpki"
	"renewer/issuers/acme"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestEachChallengeProvesNames(t *testing.T) {
	t.Parallel()
	wildcard := []string{"*.example.com", "example.com", "www.example.com"}
	for name, c := range map[string]struct {
		challenge func(t *testing.T, s *testacme.Server) acme.Challenge
		sans      []string
	}{
		"http-01": {func(_ *testing.T, s *testacme.Server) acme.Challenge {
			return acme.Challenge{Type: acme.HTTP01, Listen: s.HTTPPort}
		}, nil},
		"tls-alpn-01": {func(_ *testing.T, s *testacme.Server) acme.Challenge {
			return acme.Challenge{Type: acme.TLSALPN01, Listen: s.TLSPort}
		}, nil},
		"http-01 by a file": {func(t *testing.T, s *testacme.Server) acme.Challenge {
			return acme.Challenge{Type: acme.HTTP01, Files: webServer(t, s)}
		}, nil},
		"dns-01 by updates": {func(t *testing.T, s *testacme.Server) acme.Challenge {
			return acme.Challenge{Type: acme.DNS01, RFC2136: updates(t, s.DNS)}
		}, wildcard},
		"dns-01 by a command": {func(_ *testing.T, s *testacme.Server) acme.Challenge {
			return acme.Challenge{Type: acme.DNS01, Exec: []string{"/bin/sh", "hook"}, Run: hook(s.DNS)}
		}, wildcard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testacme.Start(t, testacme.Options{})
			cfg := configOf(t, s)
			cfg.Challenge = c.challenge(t, s)
			i := open(t, cfg)
			must(t, i.LogIn(t.Context()))
			sign(t, i, orderFor(t, c.sans...))
			if n := s.DNS.Records(); n != 0 {
				t.Errorf("%d records are left", n)
			}
			if text, err := os.ReadFile(cfg.StateFile); err != nil || strings.Contains(string(text), "orders") {
				t.Errorf("an order is left: %v", err)
			}
		})
	}
}

func TestAnAddressIsProvenWithTLSALPN(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	cfg := configOf(t, s)
	cfg.Challenge = acme.Challenge{Type: acme.TLSALPN01, Listen: s.TLSPort}
	sign(t, open(t, cfg), orderFor(t, "web.example.com", s.DNS.IP.String()))
}

// A record that stays is all that dns-persist-01 needs: the error of the first order
// names it, and so does Persistent.
func TestAPersistentRecordIsNamedAndProves(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	cfg := configOf(t, s)
	cfg.Challenge = acme.Challenge{Type: acme.DNSPersist01}
	i := open(t, cfg)
	o := orderFor(t, "*.example.com")
	_, err := i.Sign(t.Context(), o)
	must(t, i.LogIn(t.Context()))
	records, failed := acme.Persistent(cfg, []string{"example.com", "*.example.com"})
	if must(t, failed); len(records) != 1 {
		t.Fatalf("records %v", records)
	}
	if hint := renewer.Hint(err); !strings.Contains(hint, records[0].String()) {
		t.Errorf("hint %q, record %s", hint, records[0])
	}
	if !strings.HasSuffix(records[0].Value, "; policy=wildcard") || !strings.Contains(records[0].Value, "ca.test; accounturi=https://") {
		t.Errorf("record %s", records[0])
	}
	s.DNS.Set(records[0].Name, records[0].Value)
	sign(t, i, o)
}

// webServer serves a directory at the port where a server validates http-01.
func webServer(t *testing.T, s *testacme.Server) acme.Files {
	d := dirFiles{t.TempDir()}
	web := httptest.NewUnstartedServer(http.FileServer(http.Dir(d.dir)))
	l, err := listen(s.HTTPPort)
	must(t, err)
	must(t, web.Listener.Close())
	web.Listener = l
	web.Start()
	t.Cleanup(func() {
		web.Close()
		if left, err := filepath.Glob(filepath.Join(d.dir, ".well-known/acme-challenge/*")); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v %v", left, err)
		}
	})
	return d
}

type dirFiles struct{ dir string }

func (d dirFiles) Where() string { return d.dir }

func (d dirFiles) Put(_ context.Context, name string, content []byte) error {
	path := filepath.Join(d.dir, name)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644))
}

func (d dirFiles) Remove(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(d.dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// hook is what a command for dns-01 does: it gets present or cleanup, a name and a value.
func hook(d *testacme.DNS) acme.Run {
	var mu sync.Mutex
	return func(_ context.Context, argv []string) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if len(argv) != 5 || !strings.HasSuffix(argv[3], ".") {
			return nil, errors.New("wrong arguments: " + strings.Join(argv, " "))
		}
		switch values := d.TXT(argv[3]); argv[2] {
		case "present":
			d.Set(argv[3], append(values, argv[4])...)
		case "cleanup":
			d.Set(argv[3], slices.DeleteFunc(values, func(v string) bool { return v == argv[4] })...)
		}
		return nil, nil
	}
}

func TestACommandThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	cfg := configOf(t, s)
	cfg.Challenge = acme.Challenge{Type: acme.DNS01, Exec: []string{"/usr/local/bin/dns"}, Run: func(context.Context, []string) ([]byte, error) {
		return []byte("zone is\nlocked\n"), errors.New("exit status 1")
	}}
	_, err := open(t, cfg).Sign(t.Context(), orderFor(t))
	if err == nil || !strings.Contains(err.Error(), "exit status 1: zone is locked") || renewer.ClassOf(err) != retry || !strings.Contains(renewer.Hint(err), "/usr/local/bin/dns present _acme-challenge.") {
		t.Errorf("error %v, hint %q", err, renewer.Hint(err))
	}
}

// What a command leaves in the DNS is a warning, with the name; the names are proven all the same.
func TestAFailedCleanUpKeepsNoOrderBack(t *testing.T) {
	for name, c := range map[string]struct {
		cleanUp func(ctx context.Context) error
		says    string
	}{
		"it fails": {func(context.Context) error { return errors.New("exit status 3") }, "exit status 3"},
		"it hangs": {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "not finished within 20ms"},
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
			defer slog.SetDefault(before)
			s := testacme.Start(t, testacme.Options{})
			cfg := configOf(t, s)
			present := hook(s.DNS)
			cfg.Challenge = acme.Challenge{Type: acme.DNS01, Exec: []string{"/bin/sh", "hook"}, Run: func(ctx context.Context, argv []string) ([]byte, error) {
				if argv[2] == "cleanup" {
					return nil, c.cleanUp(ctx)
				}
				return present(ctx, argv)
			}}
			i := open(t, cfg)
			i.SetCleanTimeout(20 * time.Millisecond)
			sign(t, i, orderFor(t, "web.example.com"))
			if text := said.String(); !strings.Contains(text, c.says) || !strings.Contains(text, "name=web.example.com") {
				t.Errorf("said %q", text)
			}
		})
	}
}

func TestPreferredChain(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{AlternateRoots: 2})
	for k := range 3 {
		cfg := configOf(t, s)
		cfg.PreferredChain = s.Root(k).Subject.CommonName
		chain := sign(t, open(t, cfg), orderFor(t))
		if top := chain.Intermediates[len(chain.Intermediates)-1]; top.Issuer.CommonName != cfg.PreferredChain {
			t.Errorf("the chain stops below %s, want %s", top.Issuer.CommonName, cfg.PreferredChain)
		}
	}
	cfg := configOf(t, s)
	cfg.PreferredChain = "nosuch"
	sign(t, open(t, cfg), orderFor(t)) // any is better than none
	cfg.PreferredChain = ""
	must(t, os.WriteFile(cfg.Roots, pki.PEM(s.Root(1)), 0o600))
	sign(t, open(t, cfg), orderFor(t)) // the one that leads to a root that is trusted
}

func TestAProfileIsAskedFor(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{ShortLived: true})
	cfg := configOf(t, s)
	cfg.Profile = "shortlived"
	i, o := open(t, cfg), orderFor(t)
	chain, err := i.Sign(t.Context(), o)
	must(t, err)
	roots, err := i.Roots(t.Context())
	must(t, err)
	o.CommonName, o.Lifetime = "web", time.Until(chain.Leaf.NotAfter) // as the engine takes it
	if _, err := pki.CheckIssued(o, true, chain, roots, time.Now()); err != nil {
		t.Errorf("strictly: %v", err)
	}
	if life := chain.Leaf.NotAfter.Sub(chain.Leaf.NotBefore); life < testacme.ShortLived-time.Minute || life > testacme.ShortLived {
		t.Errorf("it lives %s", life)
	}
	if chain.Leaf.Subject.CommonName != "" {
		t.Errorf("common name %q", chain.Leaf.Subject.CommonName)
	}
}

func TestAnExternalAccountBinds(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{EAB: true})
	cfg := configOf(t, s)
	dir := t.TempDir()
	cfg.EABKeyID, cfg.EABHMAC = filepath.Join(dir, "kid"), filepath.Join(dir, "hmac")
	must(t, os.WriteFile(cfg.EABKeyID, []byte(testacme.EABKeyID+"\n"), 0o600))
	must(t, os.WriteFile(cfg.EABHMAC, []byte(testacme.EABHMAC+"\n"), 0o600))
	sign(t, open(t, cfg), orderFor(t))
	must(t, os.Remove(cfg.EABHMAC)) // the account is there
	sign(t, open(t, cfg), orderFor(t))
}

// Before there is a state directory no account is made; what would keep one from being made
// is found all the same.
func TestLoggingInWithoutStateFindsWhatKeepsAnAccountFromBeingMade(t *testing.T) {
	t.Parallel()
	needed, free := testacme.Start(t, testacme.Options{EAB: true}), testacme.Start(t, testacme.Options{})
	for name, c := range map[string]struct {
		server     *testacme.Server
		hmac       string // "" for no eab
		mode       os.FileMode
		says, hint string // "" for none
	}{
		"none is needed":      {server: free},
		"none is given":       {server: needed, says: "externalAccountRequired", hint: "set eab:"},
		"it is given":         {server: needed, hmac: testacme.EABHMAC, mode: 0o600},
		"the file is missing": {server: needed, hmac: "missing", says: "no such file", hint: "set eab:"},
		"the file is open":    {server: needed, hmac: testacme.EABHMAC, mode: 0o644, says: "eab.hmac_file", hint: "chmod 0600 "},
		"the file is empty":   {server: needed, hmac: "\n", mode: 0o600, says: "is empty", hint: "set eab:"},
		"it is no base64":     {server: free, hmac: "!?", mode: 0o600, says: "does not contain a base64url key", hint: "set eab:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, dir := configOf(t, c.server), t.TempDir()
			cfg.StateFile = filepath.Join(dir, "state", "issuers", "corp-acme", "acme.json")
			if c.hmac != "" {
				cfg.EABKeyID, cfg.EABHMAC = filepath.Join(dir, "kid"), filepath.Join(dir, "hmac")
				must(t, os.WriteFile(cfg.EABKeyID, []byte(testacme.EABKeyID), 0o600))
			}
			if c.mode != 0 {
				must(t, os.WriteFile(cfg.EABHMAC, []byte(c.hmac), c.mode))
			}
			switch err := open(t, cfg).LogIn(t.Context()); {
			case c.says == "":
				must(t, err)
			case err == nil || renewer.ClassOf(err) != renewer.ClassMisconfigured || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(renewer.Hint(err), c.hint):
				t.Errorf("error %v, hint %q", err, renewer.Hint(err))
			}
			if _, err := os.Stat(filepath.Join(dir, "state")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("state was made: %v", err)
			}
		})
	}
}

func TestRevokesAndSaysSoTwice(t *testing.T) {
	t.Parallel()
	s := testacme.Start(t, testacme.Options{})
	i := open(t, configOf(t, s))
	chain := sign(t, i, orderFor(t))
	r := renewer.Revocation{Certificate: "web", Serial: renewer.SerialHex(chain.Leaf), Chain: chain, Reason: renewer.RevokedSuperseded}
	must(t, i.Revoke(t.Context(), r))
	must(t, i.Revoke(t.Context(), r))
	suggested, err := i.RenewBy(t.Context(), chain.Leaf)
	must(t, err)
	if suggested.By.After(time.Now()) || suggested.Again != 6*time.Hour {
		t.Errorf("of a revoked one: %+v", suggested)
	}
	other := open(t, configOf(t, s))
	next := sign(t, i, orderFor(t))
	err = other.Revoke(t.Context(), renewer.Revocation{Certificate: "web", Serial: renewer.SerialHex(next.Leaf), Chain: next})
	if renewer.ClassOf(err) != refused || renewer.Hint(err) == "" {
		t.Errorf("with another account: %v", err)
	}
}

// Of the roots of a machine only those count that certificates of this CA led to.
func TestTheRootsOfAPublicCAAreThoseThatItUses(t *testing.T) {
	s := testacme.Start(t, testacme.Options{})
	file := filepath.Join(t.TempDir(), "system.pem")
	other := testpki.New(t).Root
	must(t, os.WriteFile(file, pki.PEM(other, s.Root(0)), 0o600))
	t.Setenv("SSL_CERT_FILE", file)
	cfg := configOf(t, s)
	cfg.Roots = acme.System
	i := open(t, cfg)
	roots, err := i.Roots(t.Context())
	if must(t, err); len(roots) != 2 {
		t.Errorf("%d roots before the first certificate", len(roots))
	}
	sign(t, i, orderFor(t))
	roots, err = open(t, cfg).Roots(t.Context())
	if must(t, err); len(roots) != 1 || !roots[0].Equal(s.Root(0)) {
		t.Errorf("%d roots after it", len(roots))
	}
	must(t, os.WriteFile(file, pki.PEM(other), 0o600)) // the system took it out
	roots, err = i.Roots(t.Context())
	if must(t, err); len(roots) != 1 || !roots[0].Equal(other) {
		t.Errorf("%d roots without it", len(roots))
	}
}

// An order says what it replaces, once; a second one for the same certificate does not.
func TestAnOrderSaysWhatItReplaces(t *testing.T) {
	t.Parallel()
	c := &counter{}
	s := testacme.Start(t, testacme.Options{Front: c.front})
	i := open(t, configOf(t, s))
	first := sign(t, i, orderFor(t))
	for want := 2; want <= 4; want += 2 { // refused the second time, and made without
		o := orderFor(t)
		o.Replaces = first.Leaf
		sign(t, i, o)
		if n := c.count("order-plz"); n != want {
			t.Errorf("%d requests for orders, want %d", n, want)
		}
	}
}

// A server that does not let orders say when the certificate is to expire decides that
// itself, and is not asked again for as long a lifetime.
func TestAServerThatTakesNoDates(t *testing.T) {
	t.Parallel()
	var dated, orders atomic.Int32
	s := testacme.Start(t, testacme.Options{Front: func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" {
			return false
		}
		orders.Add(1)
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var jws struct{ Payload string }
		text := []byte{}
		if err == nil && json.Unmarshal(body, &jws) == nil {
			text, _ = base64.RawURLEncoding.DecodeString(jws.Payload)
		}
		if !bytes.Contains(text, []byte("notAfter")) {
			return false
		}
		dated.Add(1)
		w.Header().Set("Content-Type", problem)
		w.Header().Set("Replay-Nonce", "bm9uY2U")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(acmeURN + `malformed", "detail": "NotBefore and NotAfter are not supported"}`))
		return true
	}})
	i := open(t, configOf(t, s))
	for range 2 {
		chain, err := i.Sign(t.Context(), orderFor(t))
		must(t, err)
		if life := time.Until(chain.Leaf.NotAfter); life < 89*24*time.Hour {
			t.Errorf("it lives %s", life)
		}
	}
	if dated.Load() != 1 || orders.Load() < 3 {
		t.Errorf("%d orders, %d with a date", orders.Load(), dated.Load())
	}
}

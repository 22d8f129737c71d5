package stepca_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"renewer/internal/teststepca"
	"renewer/issuers/stepca"
	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestNewAsksNoOne(t *testing.T) {
	t.Parallel()
	cfg := configOf(shared)
	cfg.URL, cfg.PasswordFile = "https://127.0.0.1:1", "/nonexistent"
	i := open(t, cfg)
	if _, known := i.ClockOffset(); known {
		t.Error("the clock is known before the first answer")
	}
	for name, spoil := range map[string]func(*stepca.Config){
		"http":             func(c *stepca.Config) { c.URL = "http://127.0.0.1" },
		"user":             func(c *stepca.Config) { c.URL = "https://user:Pass-1@127.0.0.1" },
		"no url":           func(c *stepca.Config) { c.URL = "" },
		"fingerprint":      func(c *stepca.Config) { c.RootFingerprint = "abcd" },
		"no login":         func(c *stepca.Config) { c.PasswordFile = "" },
		"two logins":       func(c *stepca.Config) { c.X5CCert, c.X5CKey = "a", "b" },
		"half of an x5c":   func(c *stepca.Config) { c.PasswordFile, c.X5CCert = "", "a" },
		"a key beside it":  func(c *stepca.Config) { c.X5CKey = "b" },
		"fingerprint long": func(c *stepca.Config) { c.RootFingerprint += "00" },
	} {
		cfg := configOf(shared)
		spoil(&cfg)
		if _, err := stepca.New(cfg); renewer.ClassOf(err) != mis || renewer.Hint(err) == "" || strings.Contains(err.Error(), "Pass-1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnOrderWithoutAKeyIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := open(t, configOf(shared)).Sign(t.Context(), orderFor(nil)); renewer.ClassOf(err) != refused {
		t.Errorf("got %v", err)
	}
}

// A CA that is away costs errors, each of them passing, and nothing has to be
// started again when it is back; a token from before its restart is no use, so
// none is kept.
func TestTheCAGoesAndComesBack(t *testing.T) {
	t.Parallel()
	ca := start(t, teststepca.Options{})
	must(t, ca.Stop())
	i := open(t, configOf(ca))
	calls := map[string]func() error{
		"sign":   func() error { _, err := i.Sign(t.Context(), orderFor(newKey(t))); return err },
		"roots":  func() error { _, err := i.Roots(t.Context()); return err },
		"health": func() error { return i.Health(t.Context()) },
		"log in": func() error { return i.LogIn(t.Context()) },
		"revoke": func() error { return i.Revoke(t.Context(), renewer.Revocation{Certificate: "x", Serial: "0a"}) },
	}
	check := func(when string, away bool) {
		t.Helper()
		for name, call := range calls {
			switch err := call(); {
			case !away && err != nil:
				t.Errorf("%s, %s: %v", when, name, err)
			case away && (renewer.ClassOf(err) != retry || !strings.Contains(renewer.Hint(err), ca.Address)):
				t.Errorf("%s, %s: %v (hint %q)", when, name, err, renewer.Hint(err))
			}
		}
	}
	check("never there", true)
	must(t, ca.Start())
	check("there", false)
	must(t, ca.Stop())
	check("gone", true)
	must(t, ca.Start())
	check("back", false)
}

func TestAPasswordThatIsFixedIsPickedUp(t *testing.T) {
	t.Parallel()
	cfg := configOf(shared)
	cfg.PasswordFile = filepath.Join(t.TempDir(), "password")
	write := func(s string) { must(t, os.WriteFile(cfg.PasswordFile, []byte(s), 0o600)) }
	write(wrongPassword)
	i := open(t, cfg)
	if _, err := i.Sign(t.Context(), orderFor(newKey(t))); renewer.ClassOf(err) != mis {
		t.Fatalf("with a wrong password: %v", err)
	}
	write(teststepca.Password)
	sign(t, i, orderFor(newKey(t)))
	write(wrongPassword)
	sign(t, i, orderFor(newKey(t))) // the login holds
	if err := i.LogIn(t.Context()); renewer.ClassOf(err) != mis {
		t.Errorf("a fresh login with a wrong password: %v", err)
	}
}

// A 401 is answered with a fresh login and a new token, once.
func TestOneNewTokenFor401(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		refusals, orders, logins int
		class                    renewer.Class
	}{{1, 2, 2, ""}, {9, 2, 2, mis}} {
		var orders, logins atomic.Int32
		i := behind(t, front(t, shared, func(w http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/provisioners":
				logins.Add(1)
			case "/sign":
				if orders.Add(1) <= int32(c.refusals) {
					answers(401, "application/json", opaque)(w, r)
					return true
				}
			}
			return false
		}))
		_, err := i.Sign(t.Context(), orderFor(newKey(t)))
		if got := renewer.ClassOf(err); got != c.class {
			t.Errorf("%d times 401: class %q, %v", c.refusals, got, err)
		}
		if int(orders.Load()) != c.orders || int(logins.Load()) != c.logins {
			t.Errorf("%d times 401: %d orders and %d logins", c.refusals, orders.Load(), logins.Load())
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for status, header := range map[int]string{429: "120", 503: time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat), 502: "99999999", 500: "soon"} {
		i := behind(t, front(t, shared, at("/sign", answers(status, "text/html", page, "Retry-After", header))))
		_, err := i.Sign(t.Context(), orderFor(newKey(t)))
		want := map[int]time.Duration{429: 2 * time.Minute, 503: 2 * time.Minute, 502: 24 * time.Hour}[status]
		if got := renewer.RetryAfter(err); renewer.ClassOf(err) != retry || got > want || got < want-5*time.Second {
			t.Errorf("%d with Retry-After %q: %s, want %s; %v", status, header, got, want, err)
		}
	}
}

// An answer without an end is left when it is too long, the one who gives it, and before
// anything is known of the server as after.
func TestALongAnswerIsCut(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/root/" + shared.Fingerprint, "/provisioners", "/sign", "/roots", "/health"} {
		var sent atomic.Int64
		i := behind(t, front(t, shared, at(path, func(w http.ResponseWriter, _ *http.Request) {
			junk := []byte(`"` + strings.Repeat("x", 1<<16-1))
			for sent.Load() < 100<<20 {
				n, err := w.Write(junk)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		})))
		_, err := i.Sign(t.Context(), orderFor(newKey(t)))
		if err == nil {
			_, err = i.Roots(t.Context())
		}
		if err == nil {
			err = i.Health(t.Context())
		}
		if renewer.ClassOf(err) != retry || !strings.Contains(err.Error(), "more than 1048576 bytes") {
			t.Errorf("%s: %v", path, err)
		}
		if sent.Load() > 32<<20 {
			t.Errorf("%s: %d bytes were taken", path, sent.Load())
		}
	}
}

// The token does not go where a redirect points.
func TestNoRedirectIsFollowed(t *testing.T) {
	t.Parallel()
	var asked atomic.Bool
	elsewhere := front(t, shared, func(w http.ResponseWriter, r *http.Request) bool {
		asked.Store(true)
		return false
	})
	for _, path := range []string{"/root/" + shared.Fingerprint, "/provisioners", "/sign"} {
		i := behind(t, front(t, shared, at(path, answers(307, "text/plain", "", "Location", elsewhere.URL+path))))
		if _, err := i.Sign(t.Context(), orderFor(newKey(t))); renewer.ClassOf(err) != mis {
			t.Errorf("%s: %v", path, err)
		}
	}
	if asked.Load() {
		t.Error("a redirect was followed")
	}
}

func TestClockOffset(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{0, time.Hour, -30 * time.Second} {
		i := open(t, configOf(shared))
		i.SetClock(-ahead)
		_, err := i.Roots(t.Context())
		must(t, err)
		got, known := i.ClockOffset()
		if !known || got < ahead-2*time.Second || got > ahead+2*time.Second {
			t.Errorf("%s, %v; want %s", got, known, ahead)
		}
	}
}

// Somebody who waits for another's login can still go.
func TestAWaitingCallCanBeCancelled(t *testing.T) {
	t.Parallel()
	inside := make(chan struct{}, 1)
	i := behind(t, front(t, shared, at("/root/"+shared.Fingerprint, func(_ http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-r.Context().Done()
	})))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.LogIn(ctx) }()
	<-inside
	late, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := i.Roots(late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the one that waited: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that logged in: %v", err)
	}
}

// step-ca itself does not mind: the check of what was issued does, where little is left
// of what was asked for.
func TestALeafThatOutlivesTheIntermediate(t *testing.T) {
	t.Parallel()
	i := open(t, configOf(start(t, teststepca.Options{IntermediateLife: 10 * time.Minute})))
	for life, want := range map[time.Duration]string{5 * time.Minute: "", time.Hour: "", 24 * time.Hour: "expires with its CA CN=Test step Intermediate"} {
		o := orderFor(newKey(t))
		o.Lifetime = life
		chain, err := i.Sign(t.Context(), o)
		must(t, err)
		roots, err := i.Roots(t.Context())
		must(t, err)
		_, err = pki.CheckIssued(o, false, chain, roots, time.Now())
		if want == "" && err != nil || want != "" && (renewer.ClassOf(err) != refused || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", life, err, want)
		}
	}
}

// The longest lifetime that a provisioner allows is not refused for a second of
// difference between the clocks.
func TestTheLongestLifetime(t *testing.T) {
	t.Parallel()
	i := open(t, configOf(shared))
	i.SetClock(20 * time.Second)
	o := orderFor(newKey(t))
	o.Lifetime = 31 * 24 * time.Hour
	sign(t, i, o)
}

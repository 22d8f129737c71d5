package server

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"renewer/internal/testfleet"
	"renewer/renewer"
)

var onLoopback = Port{Listen: "127.0.0.1:0"}

func ask(t *testing.T, s *Server, method, path string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestPortIsReadOnlyAndKnowsItsRoutesAlone(t *testing.T) {
	t.Parallel()
	st := &fakeState{rows: []renewer.Row{row("a", "b")}, last: time.Now()}
	s, _ := served(t, Options{Service: &fakeService{}, Port: onLoopback, State: st, Metrics: NewMetrics("1", st), Pages: &testfleet.Fleet{}, CheckWithin: time.Hour, Log: quiet, CRL: lists})
	for _, x := range []struct {
		method, path, want string
		status             int
	}{
		{"GET", "/", `href="/metrics"`, 200},
		{"HEAD", "/", "", 200},
		{"GET", "/hosts", "<h1>Hosts</h1>", 200},
		{"GET", "/hosts/missing", "There is no host of this name", 404},
		{"GET", "/nothing", "There is no page at this address", 404},
		{"GET", "/certificates.json?q=none", "[]", 200},
		{"GET", "/certificates.csv", "name,status,", 200},
		{"GET", "/issuers", "<h1>Issuers and channels</h1>", 200},
		{"GET", "/trust", "<h1>Trust</h1>", 200},
		{"GET", "/events", "<h1>Events</h1>", 200},
		{"GET", "/certificates/nothing", "has no certificate of this name", 404},
		{"GET", "/assets/page.css", ":root", 200},
		{"GET", "/assets/page.js", "use strict", 200},
		{"GET", "/assets/icon.svg", "<svg", 200},
		{"GET", "/assets/", "", 404},
		{"GET", "/assets/..%2fpage.go", "", 404},
		{"GET", "/certificates/", "", 404},
		{"POST", "/certificates/docker", "read only", 405},
		{"GET", "/healthz", "ok\n", 200},
		{"GET", "/readyz", "ready\n", 200},
		{"GET", "/metrics", `renewer_certificate_status{certificate="a",issuer="fleet-ca",status=`, 200},
		{"HEAD", "/metrics", "", 200},
		{"GET", "/crl/fleet-ca", "DER", 200},
		{"HEAD", "/crl/fleet-ca", "", 200},
		{"GET", "/crl/nosuch", "no issuer of this name", 404},
		{"GET", "/crl/guide-ca", "no cRLSign", 404},
		{"GET", "/crl/broken", "the log of the daemon says why", 503},
		{"GET", "/crl/", "", 404},
		{"GET", "/crl/fleet-ca/", "", 404},
		{"GET", "/crl/..%2ffleet-ca", "no issuer of this name", 404},
		{"POST", "/crl/fleet-ca", "read only", 405},
		{"GET", "/metrics/", "", 404},
		{"GET", "/v1/status", "", 404},
		{"GET", "/debug/pprof/", "", 404},
		{"POST", "/healthz", "read only", 405},
		{"DELETE", "/", "read only", 405},
		{"OPTIONS", "/metrics", "read only", 405},
	} {
		status, body, head := ask(t, s, x.method, x.path)
		if status != x.status || !strings.Contains(body, x.want) {
			t.Errorf("%s %s: got %d %q; want %d with %q", x.method, x.path, status, body, x.status, x.want)
		}
		secured(t, x.method+" "+x.path, head)
	}
}

// secured complains where an answer lacks a header that every one must have.
func secured(t *testing.T, what string, h http.Header) {
	t.Helper()
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
		"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want)
		}
	}
	csp := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; ") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
		t.Errorf("%s: Content-Security-Policy %q", what, csp)
	}
	if h.Get("Cache-Control") == "" {
		t.Errorf("%s: no Cache-Control", what)
	}
}

// lists is what a daemon with three local CAs says.
func lists(_ context.Context, issuer, _ string) ([]byte, error) {
	switch issuer {
	case "fleet-ca":
		return []byte("DER"), nil
	case "guide-ca":
		return nil, &renewer.Error{Class: renewer.ClassRefused, Err: errors.New("no cRLSign")}
	case "broken":
		return nil, errors.New("/var/lib/renewer: input/output error")
	default:
		return nil, fs.ErrNotExist
	}
}

func TestCRLHasItsMediaType(t *testing.T) {
	t.Parallel()
	st := &fakeState{}
	s, _ := served(t, Options{Service: &fakeService{}, Port: onLoopback, State: st, Metrics: NewMetrics("1", st), Log: quiet, CRL: lists})
	if _, body, head := ask(t, s, "GET", "/crl/fleet-ca"); head.Get("Content-Type") != "application/pkix-crl" || body != "DER" {
		t.Errorf("got %q, %v", body, head)
	}
	if _, body, _ := ask(t, s, "GET", "/crl/broken"); strings.Contains(body, "/var") {
		t.Errorf("a path is shown: %q", body)
	}
	none, _ := served(t, Options{Service: &fakeService{}, Port: onLoopback, State: st, Metrics: NewMetrics("1", st), Log: quiet})
	if status, _, _ := ask(t, none, "GET", "/crl/fleet-ca"); status != 404 {
		t.Errorf("got %d", status)
	}
}

func TestReadyMeansInventoryOpenAndLastCheckRecent(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		state fakeState
		want  string
	}{
		{fakeState{last: start.Add(-time.Minute)}, ""},
		{fakeState{last: start.Add(-time.Hour)}, "the last check finished 1h0m0s ago, at 2026-11-22T04:00:00Z; at most 30m0s is expected"},
		{fakeState{}, "no check has finished yet"},
		{fakeState{last: start, err: errors.New("database not open")}, "read the inventory: database not open"},
	} {
		got := ""
		if err := ready(&x.state, 30*time.Minute, start); err != nil {
			got = err.Error()
		}
		if got != x.want {
			t.Errorf("got %q, want %q", got, x.want)
		}
	}
	st := &fakeState{}
	s, _ := served(t, Options{Service: &fakeService{}, Port: onLoopback, State: st, Metrics: NewMetrics("1", st)})
	if status, body, _ := ask(t, s, "GET", "/readyz"); status != 503 || body != "not ready: no check has finished yet\n" {
		t.Errorf("got %d %q", status, body)
	}
}

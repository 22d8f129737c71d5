package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/configs"
	"renewer/renewer/server"
)

// TestStatusPageShowsWhatIsThere asks every route of the port of a real state:
// an inventory, a CA, files in place.
func TestStatusPageShowsWhatIsThere(t *testing.T) {
	h := newHouse(t, "  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h, sans: [web.example.com]}\n"+
		"  - {name: later, profile: files, issuer: ca, hosts: [here], dir: DIR/later, lifetime: 1h, window: never}\n"+
		"windows: {never: {cron: \"0 0 29 2 *\", duration: 1m}}\n")
	a := h.open()
	_, err := a.RunOnce(context.Background(), nil)
	must(t, err)
	a.health.ask(context.Background(), a.parts.Load())
	state := &lateState{}
	state.app.Store(a)
	quiet := slog.New(slog.DiscardHandler)
	srv, err := server.New(server.Options{
		Service: a, Socket: filepath.Join(t.TempDir(), "s"), Port: port(h.load()), State: state, Metrics: server.NewMetrics("v1", state),
		Pages: newPages(a), CRL: a.crl, CheckWithin: time.Hour, Log: quiet,
	})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	defer func() { stop(); must(t, <-ended) }()

	row := a.row(t, "web")
	for path, want := range map[string][]string{
		"/": {
			"/certificates/web", `aria-label="The next 8 weeks: `, "Rollouts in progress", "/certificates/later", "/hosts/here", ">ca</a>", "1 of 2 certificates valid and proven",
		},
		"/certificates/web":   {"web.example.com", row.Serial[:8], row.Fingerprint[:8], "serverAuth", "digitalSignature", "ecdsa-p256", "tls.crt", "as issued", "rollout done"},
		"/certificates/later": {"Rollout in progress", "because never issued", "staged"},
		"/hosts":              {"/hosts/here", "1 of 2 proven"},
		"/hosts/here":         {"/certificates/web", "/certificates/later"},
		"/issuers":            {"CN="},
		"/events":             {"rollout done", "verified"},
		"/events?before=3":    {"Newest"},
		"/assets/page.css":    {":root"},
		"/assets/page.js":     {"use strict"},
		"/assets/icon.svg":    {"<svg"},
		"/metrics":            {"renewer_issuer_up"},
		"/healthz":            {"ok"},
		"/readyz":             {"ready"},
		"/crl/ca":             {""},
		"/certificates/no":    {"no certificate of this name"},
		"/hosts/no":           {"no host of this name"},
		"/no":                 {"404"},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+srv.Addr().String()+path, nil)
		must(t, err)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		for _, w := range want {
			if !strings.Contains(strings.ReplaceAll(string(body), "<wbr>", ""), w) {
				t.Errorf("%s (%d): %q is missing in\n%s", path, resp.StatusCode, w, body)
			}
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") ||
			resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
		if strings.Contains(string(body), "PRIVATE KEY") || strings.Contains(string(body), "AGE-SECRET") {
			t.Errorf("%s shows a key", path)
		}
	}
}

func TestRolloutsOfManyEntriesAreShown(t *testing.T) {
	var names []string
	for entry := range 30 {
		for host := range 15 {
			names = append(names, fmt.Sprintf("e%02d@h%02d", entry, host))
		}
	}
	got := ofEntries(names)
	if len(got) != mostEntries*mostRollouts || got[0] != "e00@h00" || got[len(got)-1] != "e19@h09" {
		t.Errorf("%d: %v", len(got), got)
	}
}

func TestFleetNameAndPageURL(t *testing.T) {
	t.Parallel()
	host := hostName()
	for listen, want := range map[string]string{
		"127.0.0.1:9925": "http://127.0.0.1:9925", "10.0.0.1:80": "http://10.0.0.1:80", "[::1]:9925": "http://[::1]:9925",
		"0.0.0.0:9925": "http://" + host + ":9925", "[::]:9925": "http://" + host + ":9925", ":9925": "http://" + host + ":9925", "": "",
	} {
		f := &configs.Fleet{}
		f.HTTP.Listen = listen
		if got := PageOf(f); got != want {
			t.Errorf("listen %q: the page is at %q, want %q", listen, got, want)
		}
	}
	f := &configs.Fleet{}
	f.HTTP.Listen, f.HTTP.WebConfig = "10.0.0.1:9925", "/etc/renewer/web.yaml"
	if got := PageOf(f); got != "https://10.0.0.1:9925" {
		t.Error(got)
	}
	if got := fleetName(f); got != host {
		t.Errorf("a fleet without a name is called %q", got)
	}
	f.Name, f.HTTP.ExternalURL = "prod", "https://renewer.example.com"
	if got := port(f).AllowedHosts; !slices.Contains(got, "renewer.example.com") {
		t.Errorf("links lead to a page that is refused: %q", got)
	}
	if PageOf(f) != "https://renewer.example.com" || fleetName(f) != "prod" {
		t.Error(PageOf(f), fleetName(f))
	}
}

package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"renewer/internal/testapi"
	"renewer/renewer"
	"renewer/renewer/server"
)

// What a daemon with something in every list answers is as openapi.json says: each route
// that reads, and those that act and need no more than an empty body.
func TestAnswersOfADaemonAreAsDescribed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}
  - {name: bad, profile: files, issuer: ca, hosts: [here], dir: DIR/bad, activate: {command: [/bin/false]}}
  - {name: roots, profile: ca-bundle, trust: [ca], hosts: [here], dir: DIR/roots}
  - {name: gone, profile: files, issuer: ca, hosts: [here], dir: DIR/gone, lifetime: 1h}
`)
	a := h.open()
	_, err := a.RunOnce(t.Context(), nil)
	must(t, err)
	h.write(`  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}
  - {name: bad, profile: files, issuer: ca, hosts: [here], dir: DIR/bad, activate: {command: [/bin/false]}}
  - {name: roots, profile: ca-bundle, trust: [ca], hosts: [here], dir: DIR/roots}
  - {name: later, profile: files, issuer: ca, hosts: [here], dir: DIR/later, lifetime: 1h}
`)
	a = h.again(a)
	socket := filepath.Join(h.dir, "s")
	s, err := server.New(server.Options{Service: a, Socket: socket, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); must(t, <-ended) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	ask := func(method, path string) (int, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://renewer"+path, nil)
		must(t, err)
		resp, err := client.Do(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp.StatusCode, body
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	must(t, json.Unmarshal(server.OpenAPI, &doc))
	schemas, asked := testapi.Read(t, server.OpenAPI), 0
	for path, methods := range doc.Paths {
		if methods["get"] == nil || strings.HasSuffix(path, ".json") {
			continue
		}
		targets := []string{path}
		if strings.Contains(path, "{name}") {
			targets = nil
			for _, name := range []string{"web", "bad", "roots", "gone", "later"} {
				targets = append(targets, strings.Replace(path, "{name}", name, 1))
			}
		}
		if strings.HasSuffix(path, "/impact") {
			targets = []string{path + "?target=host:here&case=expired"}
		}
		for _, target := range targets {
			code, body := ask("GET", target)
			if code != http.StatusOK {
				t.Errorf("%s: %d %s", target, code, body)
				continue
			}
			schemas.Check(t, "get", path, "200", "application/json", body)
			asked++
		}
	}
	if asked < 15 {
		t.Errorf("%d answers were looked at", asked)
	}
	code, body := ask("GET", server.Prefix+"/certificates/nosuch")
	if code != http.StatusNotFound {
		t.Errorf("%d %s", code, body)
	}
	schemas.Check(t, "get", server.Prefix+"/certificates/{name}", "default", "application/problem+json", body)
	for _, path := range []string{"/run", "/verify", "/doctor"} {
		_, body := ask("POST", server.Prefix+path)
		lines := bufio.NewScanner(strings.NewReader(string(body)))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if len(lines.Bytes()) > 0 {
				schemas.Check(t, "post", server.Prefix+path, "200", "application/x-ndjson", lines.Bytes())
			}
		}
	}
}

// Each request that acts is in the log with who made it, by certificate; what renewer
// does by itself, and what is only looked at, is not.
func TestRequestsAreInTheLogWithWhoMadeThem(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `  - {name: web, profile: files, issuer: ca, hosts: [here], dir: DIR/out, lifetime: 1h}
  - {name: more, profile: files, issuer: ca, hosts: [here], dir: DIR/more, lifetime: 1h}
`)
	a := h.open()
	_, err := a.RunOnce(t.Context(), nil)
	must(t, err)
	by := renewer.WithOperator(t.Context(), func() string { return "uid 1000 (alice)" })
	for _, x := range []struct {
		do   func(context.Context) error
		want []string
	}{
		{func(ctx context.Context) error {
			_, err := a.Renew(ctx, renewer.RenewRequest{All: true, Force: true}, nil)
			return err
		}, []string{"more: renewal (force) requested by uid 1000 (alice)", "web: renewal (force) requested by uid 1000 (alice)"}},
		{func(ctx context.Context) error {
			_, err := a.Rollback(ctx, "web", nil)
			return err
		}, []string{"web: rollback requested by uid 1000 (alice)"}},
		{func(ctx context.Context) error {
			_, err := a.Revoke(ctx, renewer.RevokeRequest{Name: "more", Reason: renewer.RevokedSuperseded}, nil)
			return err
		}, []string{"more: revocation (reason superseded) requested by uid 1000 (alice)"}},
		{func(ctx context.Context) error { return a.Backup(ctx, io.Discard) }, []string{": backup requested by uid 1000 (alice)"}},
		{func(ctx context.Context) error {
			_, err := a.TakeOver(ctx, "here")
			return err
		}, []string{": take-over requested by uid 1000 (alice)"}},
		{func(ctx context.Context) error {
			_, err := a.Rotate(ctx, renewer.RotateRequest{Issuer: "ca", Kind: "rotate", Now: true}, nil)
			return err
		}, []string{": CA rotation (kind rotate, now) requested by uid 1000 (alice)"}},
	} {
		before, err := a.inv.LastSeq()
		must(t, err)
		must(t, x.do(by))
		if found := requests(t, a, before); !slices.Equal(found, x.want) {
			t.Errorf("%q, want %q", found, x.want)
		}
	}
	before, err := a.inv.LastSeq()
	must(t, err)
	_, err = a.Verify(by, nil)
	must(t, err)
	_, err = a.Renew(t.Context(), renewer.RenewRequest{Names: []string{"web"}}, nil)
	must(t, err)
	_, err = a.Rotate(by, renewer.RotateRequest{Issuer: "ca", Kind: "rotate", Plan: true}, nil)
	must(t, err)
	if found := requests(t, a, before); len(found) > 0 {
		t.Errorf("%q", found)
	}
}

func requests(t *testing.T, a *App, after uint64) (out []string) {
	t.Helper()
	events, err := a.Events(t.Context(), renewer.EventFilter{After: after})
	must(t, err)
	for _, e := range events {
		if e.Type == renewer.EventRequested {
			if e.By != "uid 1000 (alice)" {
				t.Errorf("by %q", e.By)
			}
			out = append(out, e.Certificate+": "+e.Message)
		}
	}
	slices.Sort(out)
	return out
}

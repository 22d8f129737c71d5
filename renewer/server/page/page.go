// Package page is the status page: what the fleet looks like, for people with
// a browser. It is read-only and needs nothing from elsewhere: the templates,
// the style and the one script are embedded, and the page works without the
// script.
//
// Names, subjects and messages come from certificates, hosts and issuers, so
// they are written through html/template alone, and the content security
// policy lets nothing run but the embedded script.
package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"renewer/internal/plaintext"
	"renewer/renewer"
	"renewer/renewer/forecast"
)

// Source is what the pages show. It answers from what is known: no issuer and
// no host is asked for a page.
type Source interface {
	// System returns the daemon, its issuers and hosts, and the first rollouts
	// under way. It walks over no certificates, so Counts may be empty.
	System(ctx context.Context) (renewer.SystemStatus, error)
	// List calls yield for each certificate that matches, soonest expiry
	// first; what yield returns ends it.
	List(ctx context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error
	// Show returns one certificate by its full name; ok is false if there is none.
	Show(ctx context.Context, name string) (d renewer.Detail, ok bool, err error)
	Events(ctx context.Context, f renewer.EventFilter) ([]renewer.Event, error)
	// Forecast returns what will happen within Ahead, as of some minutes ago; empty
	// while that is not known.
	Forecast(ctx context.Context) (forecast.Forecast, error)
	// Trust returns who accepts whom, as of a moment ago where it would take long.
	Trust(ctx context.Context) (renewer.Trust, error)
}

// Options of the pages.
type Options struct {
	Source Source
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// policy lets a browser load the embedded style and script, ask this server
// again, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

type pages struct {
	Options
	templates map[string]*template.Template
}

// Routes are the patterns that Handler answers.
var Routes = []string{
	"GET /{$}", "GET /certificates/{name}", "GET /hosts", "GET /hosts/{name}", "GET /issuers", "GET /trust", "GET /events", "GET /runbooks", "GET /runbooks/{$}", "GET /runbooks/{name}",
	"GET /certificates.csv", "GET /certificates.json",
	"GET /assets/page.css", "GET /assets/page.js", "GET /assets/icon.svg",
	"GET /", // all else: a page that says so, with 404
}

// Handler answers every route of Routes.
func Handler(o Options) http.Handler {
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &pages{Options: o, templates: map[string]*template.Template{}}
	for _, name := range []string{"fleet", "certificate", "hosts", "host", "issuers", "trust", "events", "runbook", "failed"} {
		p.templates[name] = template.Must(template.New(name).Funcs(functions).ParseFS(templateFiles,
			"templates/layout.html", "templates/parts.html", "templates/"+name+".html"))
	}
	shown := map[string]http.Handler{
		"GET /{$}":                 p.show("fleet", p.fleet),
		"GET /certificates/{name}": p.show("certificate", p.certificate),
		"GET /hosts":               p.show("hosts", p.hosts),
		"GET /hosts/{name}":        p.show("host", p.host),
		"GET /issuers":             p.show("issuers", p.issuers),
		"GET /trust":               p.show("trust", p.trust),
		"GET /events":              p.show("events", p.events),
		"GET /runbooks":            p.show("runbook", p.runbook),
		"GET /runbooks/{$}":        http.RedirectHandler("/runbooks", http.StatusMovedPermanently),
		"GET /runbooks/{name}":     p.show("runbook", p.runbook),
		"GET /certificates.csv":    p.export("text/csv; charset=utf-8", asCSV),
		"GET /certificates.json":   p.export("application/json", asJSON),
		"GET /":                    p.show("failed", p.unknown),
		"GET /assets/page.css":     asset("page.css", "text/css; charset=utf-8"),
		"GET /assets/page.js":      asset("page.js", "text/javascript; charset=utf-8"),
		"GET /assets/icon.svg":     asset("icon.svg", "image/svg+xml"),
	}
	mux := http.NewServeMux()
	for _, route := range Routes {
		mux.Handle(route, shown[route])
	}
	return mux
}

// frame is what the layout shows around every page.
type frame struct {
	clock
	Title   string // of the page, first in the window's title
	Section string // the entry of the navigation that is current
	Daemon  renewer.DaemonStatus
	Refresh int // seconds until the script asks again
	Page    any
	said    map[string][]string // by certificate
}

// part is a piece of a page.
type part struct {
	frame
	Part any
}

func (f frame) whole() frame { return f }

// New returns what the page does not have yet of a text about a certificate, or about
// it on a host. The problem, the rollout and the host of one failure have the same text,
// or one that goes on after it; each part is shown once.
func (f frame) New(certificate, host, text string) string {
	if text == "" {
		return ""
	}
	said, full := f.said[certificate], text
	if host != "" {
		full = host + ": " + text
	}
	if slices.Contains(said, text) || slices.Contains(said, full) {
		return ""
	}
	f.said[certificate] = append(said, full)
	for _, known := range said {
		for _, t := range []string{text, full} {
			if rest, ok := strings.CutPrefix(t, known+"; "); ok {
				return rest
			}
		}
	}
	return text
}

// Seconds between two looks of the script at the same page.
const (
	refresh       = 10
	refreshLive   = 2    // while a rollout is under way
	refreshSeldom = 3600 // of what does not change
)

// notFound is answered with 404, and a search for what was looked for.
type notFound struct {
	Text string
	Name string // what was typed
}

func (n notFound) Error() string { return n.Text }

// unknown answers addresses that there are none of.
func (p *pages) unknown(r *http.Request, f *frame) (any, error) {
	if system, err := p.Source.System(r.Context()); err == nil {
		f.Daemon = system.Daemon
	}
	return nil, notFound{"There is no page at this address", path.Base(r.URL.Path)}
}

// failure is what the page of an error shows.
type failure struct {
	Status int
	Text   string
	Name   string // what to search for; empty: it was found and something failed
}

// show serves one page. It is rendered as a whole before the first byte is
// sent, so that what fails is an error page and not half of a page.
func (p *pages) show(name string, read func(*http.Request, *frame) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := frame{clock: clock{p.Now()}, Refresh: refresh, said: map[string][]string{}}
		var out bytes.Buffer
		status, tmpl := http.StatusOK, name
		data, err := read(r, &f)
		if err == nil {
			f.Page = data
			err = p.templates[tmpl].ExecuteTemplate(&out, "layout", f)
		}
		if err != nil {
			status, tmpl = http.StatusInternalServerError, "failed"
			var lost notFound
			if errors.As(err, &lost) {
				status = http.StatusNotFound
			} else if r.Context().Err() == nil {
				p.Log.Error("a page was not shown", "path", r.URL.Path, "error", err)
			}
			out.Reset()
			f.Title, f.Refresh, f.Page = http.StatusText(status), refresh, failure{status, err.Error(), lost.Name[:min(len(lost.Name), longestQuery)]}
			if err := p.templates[tmpl].ExecuteTemplate(&out, "layout", f); err != nil {
				http.Error(w, http.StatusText(status), status)
				return
			}
		}
		html := plaintext.Text(out.String())
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Length", fmt.Sprint(len(html)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, html) // the client has gone if it fails
	})
}

// asset serves an embedded file; a browser asks whether it has changed, which
// it does with a new version of the program.
func asset(name, mime string) http.Handler {
	data, err := assetFiles.ReadFile(path.Join("assets", name))
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(data)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", mime)
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache")
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
	})
}

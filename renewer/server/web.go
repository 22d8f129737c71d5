package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/server/page"
)

// webHandler serves the read-only HTTP port.
func webHandler(o Options, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.Metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(o.State, o.CheckWithin, time.Now()); err != nil {
			text(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		text(w, http.StatusOK, "ready")
	})
	mux.Handle("GET "+Prefix+"/", api)
	mux.HandleFunc("GET /crl/{issuer}", crl(o))
	mux.HandleFunc("GET /crl/{issuer}/{ca}", crl(o)) // of one that signed before, by the SHA-256 of its certificate
	pages := page.Handler(page.Options{Source: o.Pages, Log: o.Log})
	for _, route := range page.Routes {
		mux.Handle(route, pages)
	}
	return readOnly(o.Port.named(mux))
}

// crl serves a list of revoked certificates (RFC 5280, section 4.2.1.13, with
// the media type of RFC 2585, section 4.2).
func crl(o Options) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		issuer, der, err := r.PathValue("issuer"), []byte(nil), fs.ErrNotExist
		if o.CRL != nil {
			der, err = o.CRL(r.Context(), issuer, r.PathValue("ca"))
		}
		switch {
		case err == nil:
			w.Header().Set("Content-Type", "application/pkix-crl")
			w.Header().Set("Content-Length", strconv.Itoa(len(der)))
			_, _ = w.Write(der) // the client has gone if it fails
		case errors.Is(err, fs.ErrNotExist):
			text(w, http.StatusNotFound, "no issuer of this name keeps a CRL here")
		case renewer.ClassOf(err) == renewer.ClassRefused:
			text(w, http.StatusNotFound, err.Error())
		default:
			o.Log.Error("could not make the CRL", "issuer", issuer, "error", err, "hint", renewer.Hint(err))
			text(w, http.StatusServiceUnavailable, "the CRL cannot be created; the log of the daemon says why")
		}
	}
}

// readOnly refuses every method that could change something, and tells
// browsers to do nothing with an answer but show it.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			refuse(w, r, http.StatusMethodNotAllowed, renewer.WithHint(
				fmt.Errorf("the HTTP port is read only: it answers GET and HEAD, not %s", r.Method), "use the socket of the daemon"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse answers a request that reaches no route, as the API does where it is for that.
func refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	if strings.HasPrefix(r.URL.Path, Prefix+"/") {
		fail(struct{ http.ResponseWriter }{w}, status, err) // extend has no effect on this
		return
	}
	text(w, status, fmt.Sprintf("error: %v\nhint: %s", err, renewer.Hint(err)))
}

func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, s) //nolint:gosec // plain text, by its type and nosniff; the client has gone if it fails
}

// ready says why the daemon does not do its work, if it does not.
func ready(s State, within time.Duration, now time.Time) error {
	// Nothing ends before 1970: this touches the index and reads no row.
	if err := s.Rows(time.Unix(1, 0), func(renewer.Row) bool { return false }); err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	last := s.Daemon().LastCheck
	switch age := now.Sub(last); {
	case last.IsZero():
		return errors.New("no check has finished yet")
	case age > within:
		return fmt.Errorf("the last check finished %s ago, at %s; at most %s is expected",
			age.Round(time.Second), last.UTC().Format(time.RFC3339), within)
	}
	return nil
}

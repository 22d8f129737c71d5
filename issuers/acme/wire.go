package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"renewer/internal/atomicfile"
)

const (
	maxAnswer = 1 << 20
	maxFile   = 4 << 20
)

// wire is the way to the server. The client of acmez goes through it, and never asks
// for the directory itself: it would keep the answer for all issuers of this process
// for half a day, and hold them up while it waits for it.
type wire struct {
	base  http.RoundTripper
	at    string // URL of the directory
	known []byte // the directory that the client gets
	id    string // fragment of the URL under which it asks for that
	heard func(date string)
}

// directories counts what was given to clients, so that each has a URL of its own.
var directories atomic.Uint64

// note is what the last answer of a call said beside its body.
type note struct{ after time.Duration }

type noteKey struct{}

// noted returns a context under which answers are noted: those of one call, which come
// one after another.
func noted(ctx context.Context) context.Context { return context.WithValue(ctx, noteKey{}, &note{}) }

// asked is for how long the server wanted to be left alone when it answered last.
func asked(ctx context.Context) time.Duration {
	if n, ok := ctx.Value(noteKey{}).(*note); ok {
		return n.after
	}
	return 0
}

// answerError is an answer that is none of an ACME server.
type answerError struct {
	status      int
	contentType string
	after       time.Duration
}

func (e *answerError) Error() string {
	kind := e.contentType
	if kind == "" {
		kind = "no content type"
	}
	return fmt.Sprintf("the answer is not from an ACME server: %d %s, %s", e.status, http.StatusText(e.status), kind)
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.id != "" && r.URL.Fragment == w.id {
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
			ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(w.known)), Body: io.NopCloser(bytes.NewReader(w.known)),
		}, nil
	}
	res, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = http.MaxBytesReader(nil, res.Body, maxAnswer)
	w.heard(res.Header.Get("Date"))
	after := retryAfter(res.Header.Get("Retry-After"), time.Now())
	if n, ok := r.Context().Value(noteKey{}).(*note); ok {
		n.after = after
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode >= 300 && kind != "application/problem+json" {
		_ = res.Body.Close()
		return nil, &answerError{status: res.StatusCode, contentType: kind, after: after}
	}
	return res, nil
}

// retryAfter reads the header of RFC 9110, section 10.2.3; zero for none.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// get asks for something that needs no signature.
func (w *wire) get(ctx context.Context, url string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "renewer")
	res, err := w.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var problem acme.Problem
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode >= 300 {
		if json.Unmarshal(text, &problem) == nil {
			problem.Status = res.StatusCode
			return problem
		}
	} else if kind == "application/json" && json.Unmarshal(text, answer) == nil {
		return nil
	}
	return &answerError{status: res.StatusCode, contentType: kind}
}

// directory asks for the directory.
func (w *wire) directory(ctx context.Context) (acme.Directory, error) {
	var d acme.Directory
	if err := w.get(ctx, w.at, &d); err != nil {
		return d, err
	}
	if d.NewNonce == "" || d.NewAccount == "" || d.NewOrder == "" {
		return d, misconfigured(directoryHint, "the answer of %s is not the directory of an ACME server", w.at)
	}
	return d, nil
}

// session is what is known of the server, and who we are there.
type session struct {
	wire    *wire
	dir     acme.Directory
	client  *acme.Client
	account acme.Account
}

func (s *session) close() {
	if t, ok := s.wire.base.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// connect reads the directory; that logs in nowhere.
func (i *Issuer) connect(ctx context.Context) (*session, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.IdleConnTimeout, transport.MaxResponseHeaderBytes = 4, 30*time.Second, 64<<10
	if i.cfg.CACert != "" {
		pool, err := readPool(i.cfg.CACert)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	s := &session{wire: &wire{base: transport, at: i.cfg.Directory, heard: i.heard}}
	var err error
	if s.dir, err = s.wire.directory(ctx); err != nil {
		return nil, err
	}
	given := s.dir
	given.RenewalInfo = "" // else the client asks for it with each certificate, and waits for the answer
	if s.wire.known, err = json.Marshal(given); err != nil {
		return nil, err
	}
	s.wire.id = strconv.FormatUint(directories.Add(1), 10)
	s.client = &acme.Client{
		Directory: i.cfg.Directory + "#" + s.wire.id, UserAgent: "renewer", PollTimeout: 1, // polling is done here, where an order can be left for later
		HTTPClient: &http.Client{Transport: s.wire, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	return s, nil
}

func readPool(file string) (*x509.CertPool, error) {
	const hint = "set ca_cert to the PEM file of the CA that signed the TLS certificate of the ACME server"
	text, err := atomicfile.ReadLimited(file, maxFile)
	if err != nil {
		return nil, misconfigured(hint, "read ca_cert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, misconfigured(hint, "ca_cert %s has no PEM certificate", file)
	}
	return pool, nil
}

// heard notes by how much the server's clock is ahead.
func (i *Issuer) heard(date string) {
	if at, err := http.ParseTime(date); err == nil {
		ahead := at.Sub(i.now()).Round(time.Second)
		i.clock.Store(&ahead)
	}
}

package stepca

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"renewer/internal/pattern"
)

const (
	maxAnswer = 1 << 20
	maxWords  = 300 // characters of the server's that are passed on
	maxAfter  = 24 * time.Hour
)

// wire reads answers whole, up to a limit, follows no redirect, and makes an
// error of everything but a good one.
type wire struct {
	issuer *Issuer
	next   http.RoundTripper
}

func (i *Issuer) wire(next http.RoundTripper) *wire { return &wire{issuer: i, next: next} }

// answerError is an answer that is not what was requested.
type answerError struct {
	what      string // if it says nothing more than that; else
	status    int
	words     string // step-ca's own; empty if it was not step-ca that spoke
	kind      string // the content type, where words is empty
	after     time.Duration
	requestID string
}

func (e *answerError) Error() string {
	switch {
	case e.what != "":
		return "the answer " + e.what
	case e.words != "":
		return fmt.Sprintf("the CA answers %d: %s", e.status, e.words)
	default:
		return fmt.Sprintf("the answer is %d %s (%s), not from a step-ca", e.status, http.StatusText(e.status), e.kind)
	}
}

func asAnswer(err error) (*answerError, bool) {
	var a *answerError
	ok := errors.As(err, &a)
	return a, ok
}

// ask decodes the answer to a request.
func (w *wire) ask(req *http.Request, answer any) error {
	begin := w.issuer.now()
	res, err := w.next.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	w.issuer.noteClock(res.Header.Get("Date"), begin)
	w.issuer.noteSigners(res.TLS)
	var body bytes.Buffer
	body.Grow(int(min(max(res.ContentLength, 0), maxAnswer)) + bytes.MinRead) // which spares growing
	_, err = body.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case body.Len() > maxAnswer:
		return &answerError{what: fmt.Sprintf("has more than %d bytes", maxAnswer)}
	case res.StatusCode < 200 || res.StatusCode > 299:
		return w.bad(res, body.Bytes())
	}
	switch err := json.Unmarshal(body.Bytes(), answer); {
	case err == nil:
		return nil
	case !json.Valid(body.Bytes()):
		return &answerError{status: res.StatusCode, kind: contentType(res)}
	default:
		return &answerError{what: "is not what was requested"} // and not shown: it may hold anything
	}
}

// bad describes an answer that is not a success.
func (w *wire) bad(res *http.Response, body []byte) error {
	a := &answerError{
		status: res.StatusCode, kind: contentType(res), requestID: clean(res.Header.Get("X-Request-Id")),
		after: retryAfter(res.Header.Get("Retry-After"), w.issuer.now()),
	}
	var said struct{ Message string }
	if json.Unmarshal(body, &said) == nil {
		// What every 403 begins with says nothing.
		a.words = strings.TrimSuffix(strings.TrimPrefix(clean(said.Message), "The request was forbidden by the certificate authority: "), ".")
	}
	return a
}

func contentType(res *http.Response) string {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if kind = clean(kind); kind == "" {
		return "no content type"
	}
	return kind
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3); zero for
// neither.
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxAfter)
}

// noteClock compares the Date header, which has whole seconds, with the middle
// of the request.
func (i *Issuer) noteClock(date string, begin time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	now := i.now()
	middle := begin.Add(now.Sub(begin) / 2)
	d := at.Add(time.Second / 2).Sub(middle).Round(time.Second)
	i.clock.Store(&d)
}

// noteSigners keeps what stands between the server's certificate and the root,
// where the connection was verified by that.
func (i *Issuer) noteSigners(state *tls.ConnectionState) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return
	}
	path := state.VerifiedChains[0]
	between := path[1:max(1, len(path)-1)]
	i.signers.Store(&between)
}

// token of a provisioner, in compact form: three parts, the first a JSON object.
var jws = pattern.New(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*`)

// clean makes one short line of what a server said: it goes into logs, and some
// proxies repeat the request.
func clean(s string) string {
	s = jws.ReplaceAllString(s, "[token]")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxWords {
		s = string(r[:maxWords]) + "…"
	}
	return s
}

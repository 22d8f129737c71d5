package stepca

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"renewer/renewer"
)

// answerer is a server with one answer for everything.
type answerer struct {
	status int
	header http.Header
	body   []byte
}

func (a answerer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))}, nil
}

// FuzzAnswer: whatever a server says, each call ends in a result that can be used
// or in one line of an error without a token.
func FuzzAnswer(f *testing.F) {
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"crt":"x"}`, `{"crts":[null]}`, `{"certChain":[null,null]}`, `{"status":"ok"}`, `{"message":"no ` + token + `"}`,
		`{"provisioners":[{"type":"JWK","name":"renewer","encryptedKey":"a.b.c.d.e"}],"nextCursor":"1"}`, `{"provisioners":[{"type":"X5C","name":"renewer"}]}`, "<html>",
	} {
		f.Add(200, body, "10")
		f.Add(403, body, "Sun, 22 Nov 2026 21:00:00 GMT")
	}
	f.Fuzz(func(t *testing.T, status int, body, header string) {
		i, err := New(Config{Name: "corp", URL: "https://127.0.0.1", RootFingerprint: strings.Repeat("ab", 32), Provisioner: "renewer", PasswordFile: "/dev/null"})
		if err != nil {
			t.Fatal(err)
		}
		w := i.wire(answerer{status, http.Header{"Date": {header}, "Retry-After": {header}, "Content-Type": {header}, "X-Request-Id": {header}}, []byte(body)})
		c := &connection{wire: w, http: newTransport(nil)}
		i.conn.Store(c)
		check := func(what string, err error) {
			if err == nil {
				return
			}
			err = i.failed(context.Background(), what, err)
			text := err.Error() + renewer.Hint(err)
			if strings.Contains(text, token) || strings.ContainsAny(text, "\n\r\x1b") || len(text) > 8<<10 {
				t.Errorf("%s: %q", what, text)
			}
			if renewer.RetryAfter(err) < 0 || renewer.ClassOf(err) == "" {
				t.Errorf("%s: class %q, after %s", what, renewer.ClassOf(err), renewer.RetryAfter(err))
			}
		}
		_, err = i.roots(t.Context())
		check("roots", err)
		_, err = i.logIn(t.Context(), c)
		check("log in", err)
		var res signResponse
		err = call(t.Context(), w, "/sign", nil, newSignRequest(nil, token, 0), &res)
		if err == nil {
			var chain renewer.Chain
			if chain, err = i.chain(res); err == nil && chain.Leaf == nil {
				err = errors.New("neither a leaf nor an error")
				t.Error(err)
			}
		}
		check("sign", err)
	})
}

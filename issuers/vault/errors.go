package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/internal/netcause"
	"renewer/renewer"
)

const (
	maxWords  = 300 // of what a server says, in bytes
	clockSlip = 30 * time.Second
)

// request is what is being done, for messages and for the rules.
type request struct {
	op      op
	what    string   // "sign docker@host-b"
	secrets []string // never shown, even where the server says them
}

// call makes one request and turns what goes wrong into an error that says who
// is at fault.
func call[T any](ctx context.Context, i *Issuer, r request, f func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	var after time.Duration
	v, err := f(context.WithValue(ctx, afterKey{}, &after))
	if err == nil {
		return v, nil
	}
	if ctx.Err() != nil { // the caller's end, not the request's
		return none, fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, r.what, ctx.Err())
	}
	var refusal *api.ResponseError
	if errors.As(err, &refusal) {
		i.identify(ctx)
	}
	return none, i.explain(r, err, after)
}

// answered is a refusal in Vault's own words.
type answered struct {
	status int
	says   string // one line
}

func (a *answered) Error() string { return a.says }

// isDenied reports whether a server refused for want of a right, which is also
// what it says of a token that it does not know any more.
func isDenied(err error) bool {
	var said *answered
	return errors.As(err, &said) && said.status == http.StatusForbidden
}

// redirected is a standby that leaves the way to the active node to its client.
type redirected struct{ to string }

func (r *redirected) Error() string { return "it redirects to " + r.to }

// notVault is an answer that Vault did not write.
type notVault struct {
	status int
	kind   string
}

func (n *notVault) Error() string {
	return fmt.Sprintf("the answer is not from Vault: HTTP %d, %.60q instead of JSON", n.status, n.kind)
}

// explain classifies err. Only what answered and the errors above say is
// shown of an answer, so that nothing else in it can be a secret.
func (i *Issuer) explain(r request, err error, after time.Duration) error {
	out := &renewer.Error{Class: renewer.ClassRetry, After: after}
	var (
		refusal *api.ResponseError
		moved   *redirected
		strange *notVault
		large   *http.MaxBytesError
		opErr   *net.OpError
	)
	switch {
	case errors.As(err, &refusal) && !refusal.RawError:
		said := &answered{status: refusal.StatusCode, says: oneLine(strings.Join(refusal.Errors, "; "), r.secrets)}
		var what string
		out.Class, what, out.Hint = i.judge(r.op, said)
		if what != "" {
			said.says = what + ": " + said.says
		}
		err = fmt.Errorf("%w (HTTP %d)%s", said, said.status, i.slip(out.Class))
	case errors.As(err, &moved):
		out.Hint = "set address to the active node, or let the standby forward requests"
		err = fmt.Errorf("the address is that of a standby: %w", moved)
	case errors.As(err, &strange):
		out.Hint = "check that address is that of Vault, and check for a proxy in between (HTTPS_PROXY)"
		if strange.status >= 400 && strange.status < 500 && strange.status != http.StatusTooManyRequests {
			out.Class = renewer.ClassMisconfigured
		}
		err = strange
	case errors.As(err, &large):
		out.Hint = "check that address is that of Vault: its answers have only a few KiB"
		err = fmt.Errorf("the answer is larger than %d bytes and was not read", large.Limit)
	case isTLS(err):
		i.drop() // ca_cert, or the server, may be right the next time
		out.Class = renewer.ClassMisconfigured
		out.Hint = i.fill("set ca_cert to the CA of {server}'s certificate, and address to a name in that certificate")
		if record := (tls.RecordHeaderError{}); errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) {
			out.Hint = "the server does not use TLS at this address: give the listener tls_cert_file and tls_key_file instead of tls_disable, or set address to a listener that has them"
		}
		err = fmt.Errorf("TLS with %s: %w", i.cfg.Address, netcause.Of(err))
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		out.Hint = i.fill("check that this machine can reach {server}, and that it is not overloaded")
		err = fmt.Errorf("no answer within %s", i.cfg.timeout)
	case errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &opErr) && opErr.Op == "dial":
		out.Hint = i.fill("check that {server} is running at " + i.cfg.Address + "? {cli} status -address " + i.cfg.Address)
		err = fmt.Errorf("%s: %w", i.cfg.Address, netcause.Of(err))
	case isCut(err):
		out.Hint = i.fill("check for a proxy in between, and check the log of {server}")
		err = errors.New(i.fill("the answer is truncated, or not from {server}"))
	default:
		out.Hint = i.fill("check for a proxy in between, and check the log of {server}")
		err = errors.New(oneLine(netcause.Of(err).Error(), r.secrets))
	}
	out.Err = fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, r.what, err)
	return out
}

// slip names the clocks where a refusal may come from them.
func (i *Issuer) slip(class renewer.Class) string {
	offset, known := i.ClockOffset()
	if !known || offset.Abs() < clockSlip || class != renewer.ClassMisconfigured && class != renewer.ClassReauthenticate {
		return ""
	}
	side := "ahead of"
	if offset < 0 {
		side = "behind"
	}
	return fmt.Sprintf("; %s's clock is %s %s this machine's", i.server().name, offset.Abs(), side)
}

// oneLine makes words of a server fit for a message: hashicorp's lists of
// errors are unfolded, and what is secret is taken out.
func oneLine(text string, secrets []string) string {
	var parts []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasSuffix(line, "occurred:") {
			continue
		}
		parts = append(parts, strings.TrimPrefix(line, "* "))
	}
	text = strings.Join(parts, ", ")
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[secret]")
		}
	}
	if text == "" {
		text = "no reason is given"
	}
	if len(text) > maxWords {
		text = text[:maxWords] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		host   x509.HostnameError
	)
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &host) ||
		errors.Is(err, http.ErrSchemeMismatch) || strings.Contains(err.Error(), "remote error: tls:")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func isCut(err error) bool {
	var (
		syntax *json.SyntaxError
		typ    *json.UnmarshalTypeError
	)
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.As(err, &syntax) || errors.As(err, &typ) ||
		errors.Is(err, syscall.ECONNRESET)
}

// drop makes the next request read the files of the connection again.
func (i *Issuer) drop() {
	if c := i.conn.Swap(nil); c != nil {
		c.transport.CloseIdleConnections()
	}
}

// misconfigured is an error about our side, or about Vault's settings: fixed
// there, retried later.
func (i *Issuer) misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{
		Class: renewer.ClassMisconfigured, Hint: i.fill(hint),
		Err: fmt.Errorf("issuer %s: "+format, append([]any{i.cfg.Name}, args...)...),
	}
}

// odd is about an answer of Vault that cannot be used.
func (i *Issuer) odd(what string, err error) error {
	return &renewer.Error{
		Class: renewer.ClassRetry, Hint: "check that address is that of Vault, and check for a proxy in between",
		Err: fmt.Errorf("issuer %s: %s: the answer is not usable: %w", i.cfg.Name, what, err),
	}
}

// fileError is about a file that the fleet file names under key.
func (i *Issuer) fileError(key string, err error) error {
	hint := renewer.Hint(err)
	if hint == "" {
		hint = "check " + key + " of issuer " + i.cfg.Name + " in the fleet file"
	}
	return i.misconfigured(hint, "%s: %w", key, err)
}

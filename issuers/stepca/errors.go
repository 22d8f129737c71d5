package stepca

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"renewer/internal/netcause"
	"renewer/renewer"
)

const (
	fingerprintHint = "on the CA, step certificate fingerprint ROOT.crt prints the root_fingerprint"
	urlHint         = "set url to the address of the step-ca: https://HOST:PORT"
	clockHint       = "correct the clocks; timedatectl shows whether a clock is synchronized"
	// clocksApart is when a difference is worth a word; the Date header has
	// whole seconds.
	clocksApart = 30 * time.Second
)

// misconfigured is an error that somebody can fix, here or at the server.
func misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// refused is an error about an order that will not get better by waiting.
func refused(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: fmt.Errorf(format, args...)}
}

func hintOr(err error, otherwise string) string {
	if h := renewer.Hint(err); h != "" {
		return h
	}
	return otherwise
}

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// failed names the issuer and what was being done, and says what to do about
// it. ctx is the caller's.
func (i *Issuer) failed(ctx context.Context, doing string, err error) error {
	out := &renewer.Error{Class: renewer.ClassRetry}
	var known *renewer.Error
	a, isAnswer := asAnswer(err)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.As(err, &known):
		out.Class, out.Hint, out.After = known.Class, known.Hint, known.After
	case errors.Is(err, context.DeadlineExceeded):
		out.Hint = reachHint(i.base.Host)
		err = fmt.Errorf("no answer from %s within %s: %w", i.base, i.timeout, context.DeadlineExceeded)
	case isAnswer:
		out.Class, out.Hint = i.judge(a)
		out.After, err = a.after, fmt.Errorf("%s: %w", i.base, a)
	default:
		out.Class, out.Hint, err = i.judgeNetwork(err)
	}
	out.Err = fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err)
	return out
}

// judge classifies an answer by its status and by who spoke.
func (i *Issuer) judge(a *answerError) (renewer.Class, string) {
	const between = "the answer is not from the CA: check url, and HTTPS_PROXY and NO_PROXY in the environment"
	switch s := a.status; {
	case a.what != "":
		return renewer.ClassRetry, between
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusServiceUnavailable:
		return renewer.ClassRetry, "the CA, or a proxy in front of it, is overloaded; set rate: of issuer " + i.cfg.Name
	case s >= 500 && s != http.StatusNotImplemented:
		return renewer.ClassRetry, "check the log of the CA" + request(a)
	case s >= 300 && s < 400, a.words == "" && s >= 400, s == http.StatusNotFound:
		return renewer.ClassMisconfigured, urlHint + "; " + between
	case a.words == "":
		return renewer.ClassRetry, between
	case s == http.StatusUnauthorized:
		return renewer.ClassReauthenticate, "check the log of the CA" + request(a)
	default:
		return renewer.ClassRefused, i.refusalHint(a.words)
	}
}

func request(a *answerError) string {
	if a.requestID == "" {
		return ""
	}
	return ", request " + a.requestID
}

// notAuthorized is the second 401 in a row. step-ca says no more than that, so
// the likeliest reason is looked at here.
func (i *Issuer) notAuthorized(err error) error {
	a, _ := asAnswer(err)
	ahead, known := i.ClockOffset()
	if known && (ahead > clocksApart || ahead < -clocksApart) {
		return misconfigured(clockHint, "the CA does not accept a token of provisioner %s (401): %s", i.cfg.Provisioner, clocks(ahead))
	}
	return misconfigured("check the log of the CA"+request(a)+"; check that the host of url is in dnsNames of its ca.json",
		"the CA does not accept a token of provisioner %s (401), and the clocks agree: %s", i.cfg.Provisioner, a.words)
}

func clocks(ahead time.Duration) string {
	if ahead < 0 {
		return "the CA's clock is " + (-ahead).String() + " behind this machine's"
	}
	return "the CA's clock is " + ahead.String() + " ahead of this machine's"
}

// judgeNetwork classifies what happened before there was an answer.
func (i *Issuer) judgeNetwork(err error) (renewer.Class, string, error) {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
	)
	err = fmt.Errorf("%s: %w", i.base, netcause.Of(err))
	switch {
	case errors.As(err, &authority):
		return renewer.ClassMisconfigured, "if the CA has a new root, set root_fingerprint to it; " + fingerprintHint + "; or another server answers at url", err
	case errors.As(err, &name):
		return renewer.ClassMisconfigured, "set url to a name that the CA's certificate has, or add this one to dnsNames in its ca.json", err
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return i.outOfDate(invalid.Cert)
	case errors.As(err, &invalid):
		return renewer.ClassMisconfigured, "openssl s_client -connect " + i.base.Host + " -showcerts shows the chain that the CA serves", err
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return renewer.ClassMisconfigured, urlHint + "; the server does not use TLS", err
	case errors.As(err, &dns) && dns.IsNotFound:
		return renewer.ClassMisconfigured, urlHint, err
	default:
		return renewer.ClassRetry, reachHint(i.base.Host), err
	}
}

// outOfDate is about a certificate of the server's chain that is not valid now.
// step-ca makes its own TLS certificate at every start, and nothing above it.
func (i *Issuer) outOfDate(c *x509.Certificate) (renewer.Class, string, error) {
	const mis = renewer.ClassMisconfigured
	switch {
	case i.now().Before(c.NotAfter):
		return mis, clockHint, fmt.Errorf("%s: the certificate of %s is not valid before %s", i.base, c.Subject, date(c.NotBefore))
	case !c.IsCA:
		return mis, "if the clock of this machine is correct, restart step-ca: it then issues its own certificate again",
			fmt.Errorf("%s: the CA's own TLS certificate expired at %s", i.base, date(c.NotAfter))
	case bytes.Equal(c.RawSubject, c.RawIssuer):
		return mis, "make a new root and intermediate on the CA (step ca init), then set root_fingerprint",
			fmt.Errorf("%s: the CA's root %s expired at %s", i.base, c.Subject, date(c.NotAfter))
	default:
		return mis, fmt.Sprintf("on the CA: step certificate create %q $(step path)/certs/intermediate_ca.crt $(step path)/secrets/intermediate_ca_key"+
				" --profile intermediate-ca --ca $(step path)/certs/root_ca.crt --ca-key $(step path)/secrets/root_ca_key --force, then restart step-ca", c.Subject.CommonName),
			fmt.Errorf("%s: the CA's intermediate %s expired at %s", i.base, c.Subject, date(c.NotAfter))
	}
}

func reachHint(host string) string {
	return "check that step-ca is running, and that this machine can reach " + host + "?"
}

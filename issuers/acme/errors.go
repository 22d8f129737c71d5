package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"renewer/renewer"
)

const (
	directoryHint = "set directory to the CA's URL for ACME clients, such as https://acme-v02.api.letsencrypt.org/directory or https://CA:9000/acme/acme/directory"
	eabHint       = "set eab: {kid_file: FILE, hmac_file: FILE} to the key ID and HMAC key for external account binding, which the CA provides"
	// validationPause is how long a name that could not be validated is left alone: CAs
	// count failures an hour.
	validationPause = 5 * time.Minute
	// ratePause holds where a server that limits the rate does not say for how long.
	ratePause = time.Hour
)

// misconfigured is an error that can be fixed, here or at the server.
func misconfigured(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// refused is an error about an order that will not get better by waiting.
func refused(hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// retry is an error that may pass.
func retry(after time.Duration, hint, format string, args ...any) error {
	return &renewer.Error{Class: renewer.ClassRetry, After: after, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// later is no error: the server has the order, or wants to be left alone for a while.
func later(after time.Duration, hint, format string, args ...any) error {
	return retry(after, hint, "%w: %w", renewer.ErrLater, fmt.Errorf(format, args...))
}

// asProblem returns the problem document that an error holds.
func asProblem(err error) (acme.Problem, bool) {
	var p acme.Problem
	if errors.As(err, &p) {
		return p, true
	}
	var at *acme.Problem
	if errors.As(err, &at) && at != nil {
		return *at, true
	}
	return p, false
}

// problemOf returns the type of a problem; empty where there is none.
func problemOf(err error) string {
	p, _ := asProblem(err)
	return p.Type
}

// words are a problem document in one line.
func words(p acme.Problem) string {
	kind := strings.TrimPrefix(p.Type, acme.ProblemTypeNamespace)
	said := []string{}
	for _, s := range append([]acme.Subproblem{{Problem: p}}, p.Subproblems...) {
		detail := clean(s.Detail)
		if s.Identifier.Value != "" {
			detail = clean(s.Identifier.Value) + ": " + detail
		}
		if detail != "" {
			said = append(said, detail)
		}
	}
	if len(said) == 0 {
		said = append(said, "no details given")
	}
	return strings.Join(said, "; ") + " (" + clean(kind) + ")"
}

// clean makes one line of what a server says.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	s = strings.TrimRight(strings.ToValidUTF8(s, "?"), ". ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + " ..."
	}
	return s
}

// failed names the issuer and what was being done, and says what to do about it. ctx is
// the caller's.
func (i *Issuer) failed(ctx context.Context, doing string, err error) error {
	out := &renewer.Error{Class: renewer.ClassRetry}
	var (
		known  *renewer.Error
		answer *answerError
	)
	problem, isProblem := asProblem(err)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.As(err, &known):
		out.Class, out.Hint, out.After = known.Class, known.Hint, known.After
	case isProblem:
		out.Class, out.Hint, out.After = i.judgeProblem(problem)
		err = fmt.Errorf("%s: %s", i.cfg.Directory, words(problem))
	case errors.Is(err, context.DeadlineExceeded):
		out.Hint = i.reachHint()
		err = fmt.Errorf("no answer from %s in time: %w", i.cfg.Directory, context.DeadlineExceeded)
	case errors.As(err, &answer):
		out.Class, out.Hint, out.After = judgeAnswer(answer)
		err = fmt.Errorf("%s: %w", i.cfg.Directory, answer)
	default:
		out.Class, out.Hint, err = i.judgeNetwork(err)
	}
	if known == nil && out.Class == renewer.ClassMisconfigured {
		i.session.Store(nil) // its files may be read again
	}
	out.Err = fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err)
	return out
}

// judgeProblem classifies a problem document by its type (RFC 8555, section 6.7).
func (i *Issuer) judgeProblem(p acme.Problem) (class renewer.Class, hint string, after time.Duration) {
	const n = acme.ProblemTypeNamespace
	switch p.Type {
	case acme.ProblemTypeRateLimited:
		return renewer.ClassRetry, "renewer retries; the rate limits are in the documentation of the CA", ratePause
	case acme.ProblemTypeServerInternal, acme.ProblemTypeBadNonce, acme.ProblemTypeOrderNotReady:
		return renewer.ClassRetry, "check the log of the ACME server, or the status page of the CA", 0
	case acme.ProblemTypeExternalAccountRequired:
		return renewer.ClassMisconfigured, eabHint, 0
	case acme.ProblemTypeUserActionRequired:
		return renewer.ClassMisconfigured, "open " + clean(p.Instance) + " and accept the terms of the CA", 0
	case acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact:
		return renewer.ClassMisconfigured, "set email of issuer " + i.cfg.Name + " to an address that the CA accepts, or remove email", 0
	case n + "invalidProfile":
		return renewer.ClassMisconfigured, profileHint, 0
	case acme.ProblemTypeAccountDoesNotExist:
		return renewer.ClassMisconfigured, "run rm " + i.cfg.StateFile + ": the next order creates a new account", 0
	case acme.ProblemTypeConnection, acme.ProblemTypeDNS, acme.ProblemTypeTLS, acme.ProblemTypeIncorrectResponse:
		return renewer.ClassRetry, i.solver.hint(challenge{}), validationPause
	case acme.ProblemTypeCAA:
		return renewer.ClassRetry, "allow this CA in the CAA records of the name; check with dig CAA NAME", validationPause
	case acme.ProblemTypeRejectedIdentifier, acme.ProblemTypeUnsupportedIdentifier:
		return renewer.ClassRefused, "remove the name from sans:, or use another issuer", 0
	case acme.ProblemTypeUnauthorized:
		return renewer.ClassMisconfigured, "is the account still valid at the CA? rm " + i.cfg.StateFile + " has a new one made at the next order", 0
	}
	if p.Status >= 500 || p.Status == http.StatusTooManyRequests {
		return renewer.ClassRetry, "check the log of the ACME server", 0
	}
	return renewer.ClassRefused, "change what the entry asks for: sans:, key:, lifetime:; or the policy of the CA", 0
}

// judgeAnswer classifies what no ACME server says.
func judgeAnswer(a *answerError) (renewer.Class, string, time.Duration) {
	const between = "the answer is not from the CA: check directory, and HTTPS_PROXY and NO_PROXY in the environment"
	switch {
	case a.status == http.StatusTooManyRequests:
		return renewer.ClassRetry, "renewer retries; the rate limits are in the documentation of the CA", max(a.after, time.Minute)
	case a.status == http.StatusServiceUnavailable:
		return renewer.ClassRetry, "renewer retries; check the status page of the CA", a.after
	case a.status >= 500 || a.status < 300:
		return renewer.ClassRetry, between, a.after
	default:
		return renewer.ClassMisconfigured, directoryHint + "; " + between, 0
	}
}

// noAccount is an error of making or finding the account.
func (i *Issuer) noAccount(err error) error {
	p, ok := asProblem(err)
	if !ok {
		return err
	}
	class, hint, after := i.judgeProblem(p)
	if class == renewer.ClassRefused || p.Type == acme.ProblemTypeUnauthorized {
		if class = renewer.ClassMisconfigured; i.cfg.EABKeyID != "" {
			hint = eabHint
		}
	}
	return &renewer.Error{Class: class, Hint: hint, After: after, Err: fmt.Errorf("the ACME account: %s", words(p))}
}

// judgeNetwork classifies what happened before there was an answer.
func (i *Issuer) judgeNetwork(err error) (renewer.Class, string, error) {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		dns       *net.DNSError
		op        *net.OpError
	)
	if errors.As(err, &op) {
		err = op // without what is wrapped around it
	}
	err = fmt.Errorf("%s: %w", i.cfg.Directory, err)
	const mis = renewer.ClassMisconfigured
	switch {
	case errors.As(err, &authority):
		return mis, "set ca_cert of issuer " + i.cfg.Name + " to the CA that signed the server's TLS certificate; or another server answers at this address", err
	case errors.As(err, &name):
		return mis, "set directory to a name that the server's TLS certificate has", err
	case errors.As(err, &invalid):
		return mis, "correct the clocks, or renew the TLS certificate of the server", err
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return mis, directoryHint + "; the server does not use TLS", err
	case errors.As(err, &dns) && dns.IsNotFound:
		return mis, directoryHint, err
	default:
		return renewer.ClassRetry, i.reachHint(), err
	}
}

func (i *Issuer) reachHint() string {
	return "check that the ACME server is running, and that this machine can reach it: curl -v " + i.cfg.Directory
}

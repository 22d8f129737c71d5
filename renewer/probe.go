package renewer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ProbeRequest is what a probe needs to look as a peer would.
type ProbeRequest struct {
	Placement Placement
	Expect    Expected            // on disk; its leaf is also what should be served
	Roots     []*x509.Certificate // that a peer would verify the served leaf with
	Client    *tls.Certificate    // to present; nil unless Probe.Mutual
	// NoClient says why there is none to present although Probe.Mutual wants
	// it: what is served is looked at all the same, and the rest is reported as
	// not checked. Empty: that is an error.
	NoClient string
	// Wrong is a certificate of the client's issuer without the usage
	// clientAuth, which a docker or gRPC server has to refuse; where there is
	// none, NoWrong says why.
	Wrong   *tls.Certificate
	NoWrong string
	Host    ProbedHost
}

// ProbedHost is what a probe asks of the host of its placement.
type ProbedHost interface {
	// Inspect looks at the live files.
	Inspect(ctx context.Context, p Placement) (OnDisk, error)
	// Run runs an argument vector on the host; a non-zero exit is an error
	// that holds the end of its output.
	Run(ctx context.Context, argv []string) error
}

// Observation is what a probe saw.
type Observation struct {
	Disk       OnDisk    // the files; zero with the kind none
	Served     string    // SHA-256 of the served leaf, hex; empty if nothing was served
	NotAfter   time.Time // of the served leaf
	Stranger   bool      // it was looked at without the client certificate that is wanted: see ProbeRequest.NoClient
	NotChecked []string  // what could not be checked, with the reason
}

// ProbeErrorKind says what a probe that did not pass has seen.
type ProbeErrorKind string

// The kinds of a probe's error.
const (
	ProbeUnreachable ProbeErrorKind = "unreachable" // nothing was seen: refused, no answer in time, not a TLS server
	ProbeMismatch    ProbeErrorKind = "mismatch"    // another certificate is served, or other files are on disk
	ProbeRejected    ProbeErrorKind = "rejected"    // a peer cannot use it: chain, name, dates, or our client certificate refused
	ProbeLax         ProbeErrorKind = "lax"         // a client without a certificate was not refused
	ProbeStopped     ProbeErrorKind = "stopped"     // the host says that what is activated does not run; the files are right
	// ProbeHidden: it listens on its host, and cannot be reached from here. No
	// certificate is the cause, and no restart changes it.
	ProbeHidden ProbeErrorKind = "hidden"
	// ProbeDeserted: it serves as it should, and some of those that were connected
	// before have not come back.
	ProbeDeserted ProbeErrorKind = "deserted"
)

// ProbeError is the error of a probe that looked and is not content.
type ProbeError struct {
	Kind ProbeErrorKind
	Err  error
}

func (e *ProbeError) Error() string { return e.Err.Error() }
func (e *ProbeError) Unwrap() error { return e.Err }

// Stopped is the error of a look at files that are right, where the host says
// what of the service does not run. instead is what a probe found that something
// answers all the same; nil for nothing.
func Stopped(certificate, what string, instead error) error {
	text, hint := "the files are in place, but no service serves them", starting(what)+"; the next check is within seconds"
	if instead != nil {
		text = "but something answers there: " + instead.Error()
		hint = "correct what the entry activates (pid_file, units, container), or restart what answers there; then run renewer renew " + certificate
	}
	return WithHint(&ProbeError{Kind: ProbeStopped, Err: fmt.Errorf("not activated, because it is not running: %s; %s", what, text)}, hint)
}

// starting is the command that starts the units of what does not run.
func starting(what string) string {
	var units []string
	for word := range strings.FieldsSeq(what) {
		if strings.HasSuffix(word, ".service") || strings.HasSuffix(word, ".socket") || strings.HasSuffix(word, ".target") {
			units = append(units, word)
		}
	}
	if len(units) == 0 {
		return "start the service"
	}
	return "run on the host: systemctl start " + strings.Join(units, " ")
}

// ProbeErrorKindOf returns the kind of a probe's error; one that carries none
// saw nothing and is unreachable. Empty for nil.
func ProbeErrorKindOf(err error) ProbeErrorKind {
	var e *ProbeError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	default:
		return ProbeUnreachable
	}
}

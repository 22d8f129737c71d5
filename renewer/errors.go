package renewer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Class says what the engine does about an issuer's error.
type Class string

// The classes of an issuer's error.
const (
	ClassRetry          Class = "retry"          // passing: retried with backoff
	ClassReauthenticate Class = "reauthenticate" // the issuer logs in afresh, once, then it is misconfigured
	ClassRefused        Class = "refused"        // permanent: the same order will be refused again
	ClassMisconfigured  Class = "misconfigured"  // our side of it: file, passphrase, role, address
	// ClassUnknown is not an issuer's: the operator named what does not exist.
	ClassUnknown Class = "unknown"
)

// ErrRate says that an order was not made, because the fleet file lets the next
// one through only after RetryAfter. Nothing is wrong.
var ErrRate = errors.New("rate limit of the issuer reached")

// ErrLater says that the issuer has the order and has not signed it yet, which may take
// days: it is asked again with the same key, no sooner than RetryAfter. Nothing is wrong,
// unless the class is ClassMisconfigured: then the answer was of no use, and another one
// is waited for.
var ErrLater = errors.New("not signed yet")

// ErrNoNames says that an issuer signs names that were proven and nothing else, and the
// order has none: it cannot give what a probe presents for minutes.
var ErrNoNames = errors.New("the issuer signs DNS names only")

// Error carries what callers decide on: the class, and the hint for
// operators. Either may be empty.
type Error struct {
	Class Class
	Hint  string
	// After is how long an issuer asks to be left alone (Retry-After of
	// RFC 9110, section 10.2.3); zero if it does not say.
	After time.Duration
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// What pki.CheckIssued refuses, the order being what it was. ErrTooShort is one
// of the ways to be unusable.
var (
	ErrUnusable = errors.New("what the issuer signed cannot be used")
	ErrTooShort = errors.New("the issuer gave less than a tenth of the lifetime")
)

// ErrUnreachable is what errors.Is finds where a host was not reached, or its
// connection was lost: what was under way may or may not have been done.
var ErrUnreachable = errors.New("host unreachable")

// ErrLocal is what errors.Is finds where this process ran out of descriptors or
// memory: nothing is known of a host or an issuer, and nothing is wrong there.
var ErrLocal = errors.New("this machine is out of file descriptors or memory")

// Local marks an error that is about this machine alone, wherever it came up; others
// stay as they are. The numbers are those of errno(3).
func Local(err error) error {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, errno) && !errors.Is(err, ErrLocal) {
			return WithHint(fmt.Errorf("%w: %w", ErrLocal, err), "raise LimitNOFILE= or MemoryMax= in renewer.service: systemctl edit renewer")
		}
	}
	return err
}

// EndingOf returns the ending that an error stands for.
func EndingOf(err error) Ending {
	switch {
	case err == nil:
		return EndDone
	case errors.Is(err, ErrLocal):
		return EndLocal
	case errors.Is(err, ErrRate), errors.Is(err, ErrLater):
		return EndHeld
	case ClassOf(err) == ClassRefused:
		return EndRefused
	case errors.Is(err, ErrUnreachable):
		return EndLost
	default:
		return EndFailed
	}
}

// ErrOpenToOthers is what errors.Is finds where a directory is not worked in because
// others can change it: nothing was ever placed there, unless it was opened since.
var ErrOpenToOthers = errors.New("while renewer writes there as root")

// ErrNoRevision is what errors.Is finds where a host no longer has a revision as
// it was written: trying again does not help.
var ErrNoRevision = errors.New("no such revision")

// WithHint adds a hint to an error; nil stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Hint: hint}
}

// hostError is an error on a host whose name stands beside it.
type hostError struct {
	host string
	err  error
}

func (e *hostError) Error() string {
	return strings.TrimPrefix(strings.ReplaceAll(e.err.Error(), "host "+e.host+": ", ""), e.host+": ")
}
func (e *hostError) Unwrap() error { return e.err }

// AtHost leaves the name of the host out of an error, which most errors of hosts have: it
// is recorded and shown beside it. nil stays nil.
func AtHost(host string, err error) error {
	if err == nil || host == "" {
		return err
	}
	return &hostError{host, err}
}

// OnHost is what happened on a host, with its name once.
func OnHost(host, text string) string {
	return host + ": " + strings.TrimPrefix(text, "host "+host+": ")
}

// walk calls f for an error and all that it wraps, outermost first, until f
// returns true.
func walk(err error, f func(error) bool) bool {
	for err != nil && !f(err) {
		switch w := err.(type) { //nolint:errorlint // this is what errors.As does, for every error of the chain
		case interface{ Unwrap() error }:
			err = w.Unwrap()
		case interface{ Unwrap() []error }:
			return slices.ContainsFunc(w.Unwrap(), func(err error) bool { return walk(err, f) })
		default:
			return false
		}
	}
	return err != nil
}

// Hint returns the hint of the outermost error that has one: an *Error, or one
// with a method Hint() string.
func Hint(err error) (hint string) {
	walk(err, func(err error) bool {
		switch e := err.(type) { //nolint:errorlint // walk unwraps
		case *Error:
			hint = e.Hint
		case interface{ Hint() string }:
			hint = e.Hint()
		}
		return hint != ""
	})
	return hint
}

// ClassOf returns the class of an error, ClassRetry where none says more; empty
// for nil. A method Misconfigured() bool makes an error of ours one of
// ClassMisconfigured.
func ClassOf(err error) (class Class) {
	if err == nil {
		return ""
	}
	walk(err, func(err error) bool {
		switch e := err.(type) { //nolint:errorlint // walk unwraps
		case *Error:
			class = e.Class
		case interface{ Misconfigured() bool }:
			if e.Misconfigured() {
				class = ClassMisconfigured
			}
		}
		return class != ""
	})
	return cmp.Or(class, ClassRetry)
}

// RetryAfter returns how long the issuer asks to be left alone; zero if the
// error does not say.
func RetryAfter(err error) (after time.Duration) {
	walk(err, func(err error) bool {
		if e, ok := err.(*Error); ok { //nolint:errorlint // walk unwraps
			after = e.After
		}
		return after > 0
	})
	return after
}

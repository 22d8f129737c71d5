package renewer

import (
	"errors"
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
var ErrRate = errors.New("the issuer's rate is used up")

// Error carries what somebody decides on: the class, and the way out for a
// person. Either may be empty.
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
var ErrLocal = errors.New("this machine ran out of something")

// ErrNoRevision is what errors.Is finds where a host no longer has a revision as
// it was written: trying again does not help.
var ErrNoRevision = errors.New("no such revision")

// WithHint adds the way out to an error; nil stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Hint: hint}
}

// Hint returns the way out that the outermost error with one names.
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}

// ClassOf returns the class of an error, ClassRetry where none says more; empty
// for nil.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			break
		}
		if e.Class != "" {
			return e.Class
		}
		err = e.Err
	}
	return ClassRetry
}

// RetryAfter returns how long the issuer asks to be left alone; zero if the
// error does not say.
func RetryAfter(err error) time.Duration {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return 0
		}
		if e.After > 0 {
			return e.After
		}
		err = e.Err
	}
	return 0
}

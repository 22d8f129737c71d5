package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync/atomic"
	"syscall"

	"golang.org/x/crypto/ssh"

	"renewer/internal/sftp"
	"renewer/renewer"
)

// ErrLost is wrapped by errors of a connection, or of its SFTP session, that
// was there and ended. What was asked last may have been done.
var ErrLost error = unreachable("connection lost")

var (
	errClosed         = errors.New("the transport is closed")
	errTooLarge       = errors.New("too large")
	errSilent   error = unreachable("the host does not answer")
)

// unreachable is a renewer.ErrUnreachable in other words.
type unreachable string

func (e unreachable) Error() string      { return string(e) }
func (unreachable) Is(target error) bool { return target == renewer.ErrUnreachable }

// notReached is why there is no connection, whatever that is.
type notReached struct{ error }

func (e notReached) Unwrap() error      { return e.error }
func (notReached) Is(target error) bool { return target == renewer.ErrUnreachable }

// SudoError is wrapped by errors of what sudo refused on the host.
type SudoError struct {
	User     string
	Terminal bool // it wants one
}

func (e SudoError) Error() string {
	if e.Terminal {
		return fmt.Sprintf("sudo requires a terminal for %s (requiretty in sudoers); renewer has none", e.User)
	}
	return fmt.Sprintf("sudo does not allow %s to run this without a password", e.User)
}

// misconfigured is an error that an operator has to look at, with a hint.
func misconfigured(err error, hint string) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Err: err, Hint: hint}
}

// lost reports whether an error of the libraries says that there is no
// connection, or no SFTP session, any more.
func lost(err error) bool {
	var missing *ssh.ExitMissingError
	return errors.As(err, &missing) || errors.Is(err, sftp.ErrEnded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// await makes a call that knows no context and leaves it behind when ctx ends.
// What it returns too late is given to discard, which may be nil.
func await[T any](ctx context.Context, call func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	var settled atomic.Bool // it came in time, or it was given up
	go func() {
		v, err := call()
		if settled.CompareAndSwap(false, true) {
			done <- result{v, err}
		} else if err == nil && discard != nil {
			discard(v)
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		if !settled.CompareAndSwap(false, true) {
			r := <-done
			return r.value, r.err
		}
		var none T
		return none, context.Cause(ctx)
	}
}

// pathError says what was done to which path of the host.
func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// because adds what an error of the SFTP server stands for.
func because(err error, cause error) error {
	var status *sftp.StatusError
	if cause == nil || !errors.As(err, &status) {
		return err
	}
	return fmt.Errorf("%w (the SFTP server says: %v)", cause, err)
}

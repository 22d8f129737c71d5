package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"renewer/internal/procgroup"
	"renewer/renewer"
)

const (
	maxOutput = 256 << 10 // of standard output: no chain that peers read comes near
	maxSaid   = 4 << 10   // of standard error, its end
	maxWords  = 300       // of it in a message
	exitLater = 75        // EX_TEMPFAIL of sysexits.h
	grace     = 2 * time.Second
)

// errLater is how a run ends with exitLater; its output is what it said.
var errLater = errors.New("later")

// run runs a program and returns what it printed. No shell is involved.
func (i *Issuer) run(ctx context.Context, doing string, argv, env []string, stdin []byte) ([]byte, error) {
	within, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	cmd := exec.CommandContext(within, argv[0], argv[1:]...)
	procgroup.Own(cmd, grace)
	out, said := &head{max: maxOutput}, &tail{max: maxSaid}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), out, said
	cmd.Env, cmd.Dir = env, "/"
	err := cmd.Run()
	if err != nil && cmd.Process != nil { // what it started does not outlive it
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	var exit *exec.ExitError
	exited := errors.As(err, &exit) && exit.Exited() // by itself, whatever it left running
	switch {
	case err == nil:
		return out.data, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, ctx.Err())
	case within.Err() != nil && !exited:
		return nil, i.failed(doing, "raise timeout: of issuer "+i.cfg.Name+", or find out why "+argv[0]+" hangs",
			fmt.Errorf("%s was killed: it took longer than %s%s", argv[0], i.cfg.Timeout, lastWords(said.data)))
	case errors.Is(err, exec.ErrWaitDelay): // it ended well, and left a process with its output
		return out.data, nil
	case out.full: // its next write ended it
		return nil, i.misconfigured(doing, "it must print only the certificate and its intermediates to standard output, in PEM", fmt.Errorf("%s printed more than %d bytes", argv[0], maxOutput))
	case exited && exit.ExitCode() == exitLater:
		return said.data, errLater
	case exit != nil:
		return nil, i.failed(doing, "run it by hand with a CSR on its standard input, or check its output",
			fmt.Errorf("%s: %w%s", argv[0], err, lastWords(said.data)))
	default:
		return nil, i.unfound(argv, err)
	}
}

// find reports a program that cannot be run.
func (i *Issuer) find(argv []string) error {
	if len(argv) == 0 {
		return nil
	}
	_, err := exec.LookPath(argv[0])
	return i.unfound(argv, err)
}

func (i *Issuer) unfound(argv []string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return i.misconfigured("run "+argv[0], "give the full path of the program, or install it", errors.New("no such program"))
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return i.misconfigured("run "+argv[0], "renewer's user must be able to execute it: chmod a+rx "+argv[0], err)
}

// failed is an error that may pass. A program is run once an attempt: it may be slow, and
// what it begins may cost.
func (i *Issuer) failed(doing, hint string, err error) error {
	return &renewer.Error{Class: renewer.ClassRetry, After: time.Minute, Hint: hint, Err: fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err)}
}

func (i *Issuer) misconfigured(doing, hint string, err error) error {
	return &renewer.Error{Class: renewer.ClassMisconfigured, Hint: hint, Err: fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err)}
}

func (i *Issuer) refused(doing, hint string, err error) error {
	return &renewer.Error{Class: renewer.ClassRefused, Hint: hint, Err: fmt.Errorf("issuer %s: %s: %w", i.cfg.Name, doing, err)}
}

// lastWords is the end of what a program said, as one line; empty for nothing.
func lastWords(said []byte) string {
	text := strings.ToValidUTF8(string(said), "")
	if strings.Contains(text, "PRIVATE KEY") {
		return ": its output contains a private key and is not shown"
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if n := len(text) - maxWords; n > 0 {
		for !utf8.RuneStart(text[n]) {
			n++
		}
		text = "…" + text[n:]
	}
	if text = strings.TrimRight(text, ". "); text == "" {
		return ""
	}
	return ": " + text
}

// head keeps what is written to it, and fails when that is too much.
type head struct {
	max  int
	full bool
	data []byte
}

var errTooMuch = errors.New("too much output")

func (h *head) Write(p []byte) (int, error) {
	if len(h.data)+len(p) > h.max {
		h.full = true
		return 0, errTooMuch
	}
	h.data = append(h.data, p...)
	return len(p), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	max  int
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if n := len(t.data) - t.max; n > 0 {
		t.data = append(t.data[:0], t.data[n:]...)
	}
	return len(p), nil
}

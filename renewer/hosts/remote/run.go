package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"renewer/internal/sudoers"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// termGrace is for a command to end by itself after TERM.
const termGrace = time.Second

// Run runs argv in the account's home directory, with sudo where the host has
// it. The shell that sshd hands the line to sees each word as it is.
func (t *Transport) Run(ctx context.Context, argv []string, given ...string) ([]byte, error) {
	return t.run(ctx, t.rights(), argv, given...)
}

// rights are whose rights something is done with: those of the login account,
// or through sudo those of root or of another user.
type rights string

const (
	asLogin rights = ""
	asRoot  rights = "root"
)

// asUser is a user by number, as sudo(8) takes it.
func asUser(uid int) rights { return rights("#" + strconv.Itoa(uid)) }

func (t *Transport) rights() rights {
	if t.cfg.Sudo {
		return asRoot
	}
	return asLogin
}

func (t *Transport) run(ctx context.Context, as rights, argv []string, given ...string) ([]byte, error) {
	c, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { c.release() }()
	out, err := c.run(ctx, as, argv, given...)
	if errors.Is(err, errNotStarted) && errors.Is(err, ErrLost) && ctx.Err() == nil {
		again, err := t.acquire(ctx)
		if err != nil {
			return nil, err
		}
		c.release()
		c = again
		return c.run(ctx, as, argv, given...)
	}
	return out, err
}

// errNotStarted: the command cannot have had an effect.
var errNotStarted = errors.New("not started")

func (c *conn) run(ctx context.Context, as rights, argv []string, given ...string) ([]byte, error) {
	switch {
	case len(argv) == 0 || argv[0] == "":
		return nil, errors.New("run: empty command")
	case argv[0][0] == '-', strings.Contains(argv[0], "="): // env and sudo would take it for theirs
		return nil, fmt.Errorf("run %q: not the name of a program", argv[0])
	}
	plain := alone(as != asLogin, argv)
	limited, cut := c.within(ctx, as, plain)
	out, err := c.command(ctx, words(as, limited), argv[0], given...)
	if cut && out != nil && noTimeout(err, out.all) {
		c.t.noTimeout.Store(true)
		out, err = c.command(ctx, words(as, plain), argv[0], given...)
	}
	if out == nil {
		return nil, err
	}
	if err = c.explainRun(err, as, argv, out.all); err != nil {
		return out.all.bytes(), err
	}
	return out.answer.bytes(), nil
}

// output is what a command printed: the answer on its standard output, and that
// with what stood on its standard error, for people.
type output struct{ answer, all *tail }

// within has timeout(1) end a command on the host soon after its deadline, with
// all that it started, where sshd passes no signal on: sudo runs it for root, or
// the account is root's. limited is argv itself where that is not so.
func (c *conn) within(ctx context.Context, as rights, argv []string) (limited []string, cut bool) {
	deadline, ok := ctx.Deadline()
	if !ok || as == asLogin && c.to.user != "root" || c.t.noTimeout.Load() {
		return argv, false
	}
	left := max(0, time.Until(deadline)) + 2*termGrace // TERM first comes from here
	return sudoers.Under(strconv.FormatFloat(left.Seconds(), 'f', 3, 64), argv...), true
}

// noTimeout reports whether a command was not started because timeout(1) was
// not: sudo lets the user run other programs alone, or there is none.
func noTimeout(err error, out *tail) bool {
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() == 0 {
		return false
	}
	said := out.line()
	return sudoRefused(said) || strings.Contains(said, "timeout: command not found") || // sudo
		strings.Contains(said, "timeout") && strings.Contains(said, "No such file") && exit.ExitStatus() == 127 || // env
		exit.ExitStatus() == 125 || exit.ExitStatus() == 1 && strings.Contains(said, "BusyBox") // other options than these
}

// command runs words and waits for the end. The output is nil where the command
// was not started.
func (c *conn) command(ctx context.Context, words []string, name string, given ...string) (*output, error) {
	line, err := commandLine(c.mark, words, c.t.below(given)...)
	if err != nil {
		return nil, err
	}
	s, end, err := c.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %w", name, errNotStarted, err)
	}
	defer end()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	out, noise := &output{&tail{limit: outputKept}, &tail{limit: outputKept}}, newNoise(cut)
	stdout := newMarked(c.mark, io.MultiWriter(out.answer, out.all), noise)
	s.Stdout, s.Stderr = stdout, aside{noise, out.all}
	ended := make(chan struct{})
	_, err = await(ctx, func() (struct{}, error) { defer close(ended); return struct{}{}, s.Run(line) }, nil)
	if err := noise.tooMuch(); err != nil {
		return nil, c.endless(err)
	}
	select {
	case <-ended:
	case <-ctx.Done():
		stop(s, ended)
		err := error(&givenUpError{name, context.Cause(ctx)})
		if noise.before() {
			err = c.hangs(err)
		}
		return out, err
	}
	var exit *ssh.ExitError
	if !stdout.found && (err == nil || errors.As(err, &exit)) {
		return nil, c.noCommands(name, lineOf(append(stdout.last.bytes(), out.all.bytes()...)), err)
	}
	return out, err
}

// givenUpError is what a command whose time was up ended with.
type givenUpError struct {
	name  string
	cause error
}

func (e *givenUpError) Error() string { return fmt.Sprintf("run %s: cancelled: %v", e.name, e.cause) }
func (e *givenUpError) Unwrap() error { return e.cause }

// words is what is really run: the messages of programs in English, as they are
// looked at, and sudo in front.
func words(as rights, argv []string) []string {
	w := []string{"env", "LC_ALL=C"}
	switch as {
	case asLogin:
	case asRoot, besideRoot:
		w = append(w, "sudo", "-n", "--")
	default:
		w = append(w, "sudo", "-n", "-u", string(as), "--")
	}
	return append(w, argv...)
}

// stop ends a command whose time is up.
func stop(s *ssh.Session, ended <-chan struct{}) {
	if s.Signal(ssh.SIGTERM) != nil {
		return
	}
	grace := time.NewTimer(termGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		_ = s.Signal(ssh.SIGKILL) // closing the session is all that is left if this fails
	}
}

func (c *conn) explainRun(err error, as rights, argv []string, out *tail) error {
	if err == nil {
		return nil
	}
	var late *givenUpError
	if errors.As(err, &late) {
		return err
	}
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("run %s: %w", argv[0], c.broken(err))
	}
	err = fmt.Errorf("run %s: %w", argv[0], exitError(err))
	said := out.line()
	switch {
	case as != asLogin && sudoRefused(said):
		return c.sudoError(err, as, argv[0], said)
	case exit.ExitStatus() == 127, as != asLogin && strings.Contains(said, "sudo: "+argv[0]+": command not found"):
		return renewer.WithHint(err, "install it on the host, or give the command's full path; with sudo: true the host needs sudo too")
	}
	return err
}

// exited is how a command ended, in the words of os/exec.
type exited struct {
	how string
	err *ssh.ExitError
}

func (e *exited) Error() string { return e.how }
func (e *exited) Unwrap() error { return e.err }

func exitError(err error) error {
	var exit *ssh.ExitError
	switch {
	case !errors.As(err, &exit):
		return err
	case exit.Signal() != "":
		return &exited{"signal: " + strings.ToLower(exit.Signal()), exit}
	}
	return &exited{fmt.Sprintf("exit status %d", exit.ExitStatus()), exit}
}

// wantsTerminal is what sudo says for requiretty.
const wantsTerminal = "sudo: sorry, you must have a tty"

// sudoRefused reports whether sudo itself would not run a command (sudo(8),
// DIAGNOSTICS).
func sudoRefused(said string) bool {
	for _, s := range []string{
		"sudo: a password is required", "sudo: a terminal is required", wantsTerminal, "is not in the sudoers file",
		"may not run sudo on", "is not allowed to execute", "is not allowed to run sudo", "sudo: account validation failure",
	} {
		if strings.Contains(said, s) {
			return true
		}
	}
	return false
}

// sudoError tells what to allow. sftp-server as root may write every file.
func (c *conn) sudoError(err error, as rights, program, said string) error {
	if strings.Contains(said, wantsTerminal) {
		return misconfigured(fmt.Errorf("%w: %w", err, SudoError{User: c.to.user, Terminal: true}),
			"put this line into /etc/sudoers.d/renewer on the host (visudo -f): "+sudoers.NoTerminal(c.to.user))
	}
	if !path.IsAbs(program) {
		program = "/usr/bin/" + program
	}
	server := c.t.cfg.SFTPServer
	if server == "" {
		server = hosts.SFTPPlaces[0]
	}
	allowed := server
	if program != server {
		allowed += ", " + program
	}
	return misconfigured(fmt.Errorf("%w: %w", err, SudoError{User: c.to.user}),
		fmt.Sprintf("put this line into /etc/sudoers.d/renewer on the host (visudo -f): %s ALL=(%s) NOPASSWD: %s", c.to.user, runas(as), allowed))
}

// runas is whom sudoers(5) has to name.
func runas(as rights) string {
	if as == asRoot || as == besideRoot {
		return "root"
	}
	return "root, " + string(as)
}

// Signal sends a signal with kill(1), as the user.
func (t *Transport) Signal(ctx context.Context, pid int, name string, user int) error {
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	switch {
	case unix.SignalNum("SIG"+name) == 0 && name != hosts.AnySignal:
		return renewer.WithHint(fmt.Errorf("signal %q is unknown", name), "use a name such as HUP or USR1")
	case pid <= 1:
		return fmt.Errorf("refusing to signal process %d", pid)
	}
	as := t.rights()
	if as == asRoot && user != 0 {
		as = asUser(user)
	}
	out, err := t.run(ctx, as, hosts.SignalCommand(name, strconv.Itoa(pid)))
	said := strings.ToLower(string(out))
	switch {
	case err == nil:
		return nil
	case strings.Contains(said, "no such process"):
		return os.ErrProcessDone
	case strings.Contains(said, "not permitted"):
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"

	"renewer/cmd/renewer/daemon"
	"renewer/configs"
	"renewer/internal/plaintext"
	"renewer/renewer"
	"renewer/renewer/server"
)

// Exit codes, as in the contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or fleet file
	exitFound  = 3 // with --exit-code only
)

// cli is what every command shares.
type cli struct {
	in          *os.File
	out, errOut io.Writer
	reading     bool // the command changes nothing
	began       bool // arguments and flags were right, the command itself ran
	warned      bool // of the fleet file on disk

	mu   sync.Mutex
	said []string // errors and warnings that were printed

	columns int // of the terminal that results go to; 0: none

	config  string
	socket  string
	format  format
	quiet   bool
	verbose bool
}

// usageError is an error in what was typed or in the fleet file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exitError ends a command with a code where everything was printed already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints an error and returns the exit code.
func (c *cli) report(err error) int {
	var code exitError
	var faults configs.Faults
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &faults):
		// A line starts with its position, so that editors can jump there.
		fmt.Fprintln(c.errOut, faults.Error())
		fmt.Fprintf(c.errOut, "error: the fleet file has %s\n", count(len(faults), "fault"))
		if c.reading && c.namedSocket() == "" {
			fmt.Fprintln(c.errOut, "hint: where a daemon runs, --socket SOCKET or $RENEWER_SOCKET names its socket, and no fleet file is needed")
		}
		return exitUsage
	case errors.Is(err, context.Canceled):
		err = renewer.WithHint(errors.New("interrupted"), renewer.Hint(err))
	}
	c.complain(err)
	if !c.began || errors.As(err, new(usageError)) || renewer.ClassOf(err) == renewer.ClassUnknown {
		return exitUsage
	}
	return exitFailed
}

// complain prints an error with its hint, unless the log of this command said it before.
func (c *cli) complain(err error) { c.once("error", err) }

// caution prints what works, and will not everywhere.
func (c *cli) caution(err error) {
	if !c.quiet {
		c.once("warning", err)
	}
}

func (c *cli) once(level string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := err.Error()
	if slices.ContainsFunc(c.said, func(s string) bool { return strings.HasSuffix(s, text) }) {
		return
	}
	c.said = append(c.said, text)
	fmt.Fprintf(c.errOut, "%s: %s\n", level, text)
	if hint := renewer.Hint(err); hint != "" {
		fmt.Fprintf(c.errOut, "hint: %s\n", hint)
	}
}

// onScreen reports whether what was printed is on a terminal as a table: its errors are
// not said again.
func (c *cli) onScreen() bool { return c.format.table() && c.columns > 0 }

// say prints what an operator may want to know and no script needs.
func (c *cli) say(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.errOut, format+"\n", args...)
	}
}

// path finds the fleet file.
func (c *cli) path() (string, error) {
	if c.config != "" {
		return c.config, nil
	}
	if p := os.Getenv("RENEWER_CONFIG"); p != "" {
		return p, nil
	}
	for _, p := range usualPlaces {
		_, err := os.Stat(p)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", usageError{fmt.Errorf("look for the fleet file: %w", err)}
		}
	}
	return "", usageError{renewer.WithHint(fmt.Errorf("%w: neither --config nor $RENEWER_CONFIG is given, and there is no %s", errNoFleet, strings.Join(usualPlaces, " or ")),
		"renewer init writes a fleet file to start from")}
}

var (
	errNoFleet  = errors.New("no fleet file")
	usualPlaces = []string{"./renewer.yaml", "/etc/renewer/renewer.yaml"}
)

// fleet loads the fleet file for a command that an operator starts: systemd's
// credentials need not be there.
func (c *cli) fleet() (*configs.Fleet, error) { return c.load(configs.LoadForReading) }

func (c *cli) load(how func(string) (*configs.Fleet, error)) (*configs.Fleet, error) {
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	f, err := how(path)
	if err != nil {
		return nil, usageError{err}
	}
	return f, nil
}

// options are what the daemon package gets from the command line.
func (c *cli) options(fleetFile string) daemon.Options {
	return daemon.Options{Version: versionText(), Log: slog.Default(), Config: fleetFile, Reading: c.reading}
}

// daemonLog is the log of the daemon. Commands have notices, and show with -v the same
// events as progress.
func (c *cli) daemonLog() *slog.Logger {
	level := slog.LevelInfo
	switch {
	case c.quiet:
		level = slog.LevelError
	case c.verbose:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(c.errOut, &slog.HandlerOptions{Level: level}))
}

// with hands the running daemon or, where none runs, the state opened in
// process, to do. Only the latter needs a fleet file without faults.
func (c *cli) with(ctx context.Context, do func(server.Service) error) error {
	return c.withFleet(ctx, configs.LoadForReading, do)
}

func (c *cli) withFleet(ctx context.Context, how func(string) (*configs.Fleet, error), do func(server.Service) error) error {
	client, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		return do(client)
	}
	return c.inProcess(ctx, how, do)
}

func (c *cli) inProcess(ctx context.Context, how func(string) (*configs.Fleet, error), do func(server.Service) error) error {
	f, err := c.load(how)
	if err != nil {
		return err
	}
	a, err := daemon.Open(ctx, f, c.options(f.Path))
	if err != nil {
		return err
	}
	if held, err := a.FleetFile(ctx); err == nil {
		c.unusable(held.Unusable)
	}
	return errors.Join(do(a), a.Close())
}

// unusable warns of files of roots.
func (c *cli) unusable(faults []string) {
	for _, fault := range faults {
		c.say("warning: %s; the trust bundles that need it stay as they are until it can be read", fault)
	}
}

// reader is what needs no fleet file where the inventory is known to have all
// of it.
type reader interface {
	List(context.Context, renewer.ListFilter, func(renewer.Row) error) error
	Events(context.Context, renewer.EventFilter) ([]renewer.Event, error)
}

// read is with for lists and the log.
func (c *cli) read(ctx context.Context, do func(reader) error) error {
	client, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		return do(client)
	}
	path, err := c.path()
	if err != nil {
		return err
	}
	if g := daemon.OpenGlimpse(path, c.options(path)); g != nil {
		return errors.Join(do(g), g.Close())
	}
	return c.inProcess(ctx, configs.LoadForReading, func(s server.Service) error { return do(s) })
}

// askHosts is with for the commands about hosts.
func (c *cli) askHosts(ctx context.Context, do func(hostService) error) error {
	return c.with(ctx, func(s server.Service) error { return do(s) })
}

func isTerminal(w any) bool {
	f, ok := fileOf(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// fileOf is the file that is written to, or read from.
func fileOf(w any) (*os.File, bool) {
	if s, ok := w.(*screen); ok {
		w = s.to
	}
	if clean, ok := w.(*plaintext.Writer); ok {
		w = clean.To
	}
	f, ok := w.(*os.File)
	return f, ok
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

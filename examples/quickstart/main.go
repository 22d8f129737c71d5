// Command quickstart is `make run`: from nothing to a demo in one
// directory and one terminal. It writes a fleet file, lets renewer make a
// local CA, starts the TLS service of examples/tlsservice and the daemon, and
// shows each renewal as it happens. Ctrl-C ends both and leaves the state: the
// next start goes on from it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"renewer/renewer"
	"renewer/renewer/server"
)

// startTimeout is how long the daemon may take to answer.
const startTimeout = 30 * time.Second

// Children must be started from one thread that lives as long as we do.
func init() { runtime.LockOSThread() }

type options struct {
	dir, binaries string
	last          time.Duration
	lifetime      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.dir, "dir", "var/quickstart", "`directory` of the demo's state")
	flag.StringVar(&o.binaries, "bin", "bin", "`directory` of the binaries renewer and tlsservice")
	flag.DurationVar(&o.last, "for", 0, "stop after this time (default: at Ctrl-C)")
	flag.DurationVar(&o.lifetime, "lifetime", 3*time.Minute, "of the certificates, in a fleet file that is not there yet")
	flag.Parse()

	// A closed terminal ends it as well.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		if hint := renewer.Hint(err); hint != "" {
			fmt.Fprintf(os.Stderr, "hint: %s\n", hint)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	h := home{dir: dir}
	for path, mode := range h.directories() {
		if err := os.MkdirAll(path, mode); err != nil {
			return err
		}
	}
	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.writeFleetFile(ctx, o.lifetime); err != nil {
		return err
	}
	s, err := h.readFleetFile()
	if err != nil {
		return err
	}
	renew := filepath.Join(o.binaries, "renewer")
	if err := initCA(ctx, renew, h, s); err != nil {
		return err
	}

	began := time.Now()
	service, err := startChild("service", h.in("service.log"), filepath.Join(o.binaries, "tlsservice"),
		"-listen", s.service.Probe.Address, "-dir", s.service.Dir, "-pid-file", s.service.Activate.PIDFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.stop()) }()
	daemon, err := startChild("daemon", h.in("renewer.log"), renew, "--config", h.fleetFile(), "run")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.stop()) }() // first, so that it does not see the service go

	client, err := dial(ctx, s.socket, service, daemon)
	if client == nil {
		return err
	}
	if err := printLooks(os.Stdout, renew, o.dir, s); err != nil {
		return err
	}
	w := &watcher{source: client, out: os.Stdout, since: began}
	if err := w.standing(ctx); err != nil {
		return err
	}
	return watch(ctx, o.last, w, service, daemon)
}

// initCA makes the local CA the first time.
func initCA(ctx context.Context, renew string, h home, s setup) error {
	if _, err := os.Stat(s.ca); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	cmd := exec.CommandContext(ctx, renew, "--config", h.fleetFile(), "ca", "init", s.issuer)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the local CA %s: %w\n%s", s.issuer, err, out)
	}
	fmt.Fprintf(os.Stdout, "made the local CA %s: %s\n", s.issuer, s.ca)
	return nil
}

// dial returns the daemon's client as soon as it listens; nil without an
// error if we were asked to end before.
func dial(ctx context.Context, socket string, children ...*child) (*server.Client, error) {
	giveUp := time.After(startTimeout)
	for {
		client, err := server.Dial(socket, nil)
		if err == nil {
			return client, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-giveUp:
			return nil, fmt.Errorf("the daemon does not answer on %s after %s: %w", socket, startTimeout, err)
		case <-time.After(pollEvery):
		}
		if err := anyDead(children); err != nil {
			return nil, err
		}
	}
}

// watch prints until the time has passed, a signal comes, or a child dies.
func watch(ctx context.Context, last time.Duration, w *watcher, children ...*child) error {
	over := make(<-chan time.Time)
	if last > 0 {
		over = time.After(last)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintf(w.out, "\nstopping: %s\n", w.summary())
			return nil
		case <-over:
			fmt.Fprintf(w.out, "\nstopping after %s: %s\n", last, w.summary())
			if !w.stood && w.first+w.renewals == 0 {
				return fmt.Errorf("no certificate was verified within %s", last)
			}
			return nil
		case <-tick.C:
		}
		if err := anyDead(children); err != nil {
			return err
		}
		if err := w.poll(ctx); err != nil && ctx.Err() == nil {
			if dead := anyDead(children); dead != nil {
				return dead
			}
			return fmt.Errorf("ask the daemon what happened: %w", err)
		}
	}
}

func anyDead(children []*child) error {
	for _, c := range children {
		select {
		case <-c.gone:
			return c.died()
		default:
		}
	}
	return nil
}

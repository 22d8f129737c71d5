package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/internal/testssh"
	"renewer/renewer"
)

// Everything goes over one connection, however many ask at once.
func TestOneConnection(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	equal(t, "connections before", s.Connections(), 0)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := oneRun(t, tr); err != nil {
				t.Error(err)
			}
			d, err := tr.OpenDir(t.Context(), "/", false)
			if err != nil {
				t.Error(err)
				return
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	equal(t, "connections", s.Connections(), 1)
}

// A connection that was cut is noticed by its next user, who gets a new one.
// TestSessionsAreScarce: many use a host at once that gives a connection few
// sessions, or counts those that were closed for a little longer, as sshd does.
func TestSessionsAreScarce(t *testing.T) {
	t.Parallel()
	for _, most := range []int64{10, 2} {
		s, tr := host(t, testssh.Options{Sessions: most})
		dir := t.TempDir()
		var work errgroup.Group
		for i := range 20 {
			work.Go(func() error {
				for range 3 {
					if _, err := tr.Run(t.Context(), []string{"true"}); err != nil {
						return err
					}
				}
				d, err := tr.OpenDir(t.Context(), filepath.Join(dir, strconv.Itoa(i)), true)
				if err != nil {
					return err
				}
				return d.Close()
			})
		}
		if err := work.Wait(); err != nil {
			t.Errorf("of %d sessions: %v", most, err)
		}
		equal(t, "connections", s.Connections(), 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	refusals := 0
	s := testssh.Start(t, testssh.Options{Sessions: 1, Refused: func() {
		if refusals++; refusals == 3 { // the first ones have been heard
			cancel()
		}
	}})
	tr := reach(t, client(t), config(t, s))
	open(t, tr, t.TempDir()) // has the only one
	_, err := tr.Run(ctx, []string{"true"})
	if err == nil || !strings.Contains(renewer.Hint(err), "MaxSessions") || errors.Is(err, ErrLost) {
		t.Errorf("without a session: %v, hint %q", err, renewer.Hint(err))
	}
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	for range 3 {
		d, err := tr.OpenDir(t.Context(), "/", false)
		must(t, err)
		s.Cut()
		if _, err := d.Lstat("etc"); !errors.Is(err, ErrLost) {
			t.Errorf("a directory of a connection that was cut: %v", err)
		}
		must(t, d.Close())
		must(t, oneRun(t, tr))
		s.Cut()
		d, err = tr.OpenDir(t.Context(), "/", false)
		must(t, err)
		_, err = d.Lstat("etc")
		must(t, err)
		must(t, d.Close())
	}
}

// A command whose connection is cut may have had its effect: it is not run again.
func TestCutCommandIsNotRunAgain(t *testing.T) {
	t.Parallel()
	s, tr := host(t, testssh.Options{})
	file := t.TempDir() + "/runs"
	done := make(chan error)
	go func() {
		_, err := tr.Run(context.WithoutCancel(t.Context()), []string{"sh", "-c", `echo x >> "$1"; exec sleep 1000`, "sh", file})
		done <- err
	}()
	for {
		if data, _ := os.ReadFile(file); len(data) > 0 {
			break
		}
	}
	s.Cut()
	if err := <-done; !errors.Is(err, ErrLost) {
		t.Errorf("error %v", err)
	}
	must(t, oneRun(t, tr))
	data, err := os.ReadFile(file)
	must(t, err)
	equal(t, "runs", string(data), "x\n")
}

func quick(o *Options) { o.Timeout, o.Keepalive = 30*time.Second, 500*time.Millisecond }

// A host that is gone without a word is noticed by the keepalive, the one who waits.
func TestKeepaliveNoticesADeadPeer(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	tr := reach(t, client(t, quick), config(t, s))
	must(t, oneRun(t, tr))
	d, err := tr.OpenDir(t.Context(), "/", false)
	must(t, err)
	defer d.Close()
	s.Freeze(true)
	_, err = d.Lstat("etc")
	if !errors.Is(err, ErrLost) || !errors.Is(err, errSilent) {
		t.Errorf("error %v", err)
	}
	s.Freeze(false)
	must(t, oneRun(t, tr))
	equal(t, "connections", s.Connections(), 2)
}

// A server of files that answers nothing holds up the call until its time is
// up, and the next one gets another server over the same connection.
func TestStalledFiles(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	tr := reach(t, client(t, func(o *Options) { o.Timeout = 300 * time.Millisecond }), config(t, s))
	d, err := tr.OpenDir(t.Context(), "/", false)
	must(t, err)
	defer d.Close()
	s.SetFault(func(testssh.Request) testssh.Fault { return testssh.Swallow }, nil)
	if _, err := d.Lstat("etc"); !errors.Is(err, errSilent) {
		t.Errorf("error %v", err)
	}
	must(t, oneRun(t, tr)) // commands are not held up
	s.SetFault(nil, nil)
	e, err := tr.OpenDir(t.Context(), "/", false)
	must(t, err)
	_, err = e.Lstat("etc")
	must(t, err)
	must(t, e.Close())
	equal(t, "connections", s.Connections(), 1)
}

// Whatever stalls, the context ends it.
func TestContextEndsEverything(t *testing.T) {
	t.Parallel()
	why := errors.New("timed out")
	s, tr := host(t, testssh.Options{})
	d, err := tr.OpenDir(t.Context(), "/", false)
	must(t, err)
	must(t, d.Close())
	s.Freeze(true)
	ended := func(what string, do func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
		defer cancel()
		if err := do(ctx); !errors.Is(err, why) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	ended("open", func(ctx context.Context) error { _, err := tr.OpenDir(ctx, "/usr", false); return err })
	ended("run", func(ctx context.Context) error { _, err := tr.Run(ctx, []string{"true"}); return err })
	ended("owner", func(ctx context.Context) error { _, err := tr.Owner(ctx, "daemon", "", "/"); return err })
	fresh := reach(t, client(t), config(t, s))
	ended("connect", func(ctx context.Context) error { _, err := fresh.OpenDir(ctx, "/", false); return err })
	s.Freeze(false)
}

// One who accepts connections and says nothing.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	s := testssh.Start(t, testssh.Options{})
	cfg := config(t, s)
	cfg.Port = l.Addr().(*net.TCPAddr).Port
	tr := reach(t, client(t, func(o *Options) { o.Timeout = 100 * time.Millisecond }), cfg)
	start := time.Now()
	says := func(err error, what string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(renewer.Hint(err), fmt.Sprintf("ssh -v -p %d 127.0.0.1", cfg.Port)) {
			t.Errorf("error %v, hint %q", err, renewer.Hint(err))
		}
	}
	says(oneRun(t, tr), fmt.Sprintf("connect to 127.0.0.1:%d: not finished within 100ms: it accepts the connection", cfg.Port))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = reach(t, client(t), cfg).Run(ctx, []string{"true"}) // the one who asks has less patience
	says(err, "connect to 127.0.0.1: timed out: it accepts the connection")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	must(t, l.Close())
	if err := oneRun(t, tr); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
}

// An unused connection is closed, one in use is not.
func TestIdle(t *testing.T) {
	t.Parallel()
	s := testssh.Start(t, testssh.Options{})
	tr := reach(t, client(t, func(o *Options) { o.Idle = 20 * time.Millisecond }), config(t, s))
	d, err := tr.OpenDir(t.Context(), "/", false)
	must(t, err)
	c := connection(tr)
	select {
	case <-c.over:
		t.Error("closed while in use")
	case <-time.After(100 * time.Millisecond):
	}
	_, err = d.Lstat("etc")
	must(t, err)
	must(t, d.Close())
	must(t, d.Close())
	<-c.over
	must(t, oneRun(t, tr))
	equal(t, "connections", s.Connections(), 2)
}

func TestClose(t *testing.T) {
	t.Parallel()
	_, tr := host(t, testssh.Options{})
	d, err := tr.OpenDir(t.Context(), "/", false)
	must(t, err)
	must(t, tr.Close())
	must(t, tr.Close())
	if _, err := d.Lstat("etc"); err == nil {
		t.Error("a directory of a closed transport works")
	}
	must(t, d.Close())
	if err := oneRun(t, tr); !errors.Is(err, errClosed) {
		t.Errorf("error %v", err)
	}
}

func connection(tr *Transport) *conn {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.current
}

func TestJump(t *testing.T) {
	t.Parallel()
	bastion, inner := testssh.Start(t, testssh.Options{}), testssh.Start(t, testssh.Options{})
	c := client(t)
	over := reach(t, c, config(t, bastion))
	cfg := config(t, inner)
	cfg.Jump = over
	tr := reach(t, c, cfg)
	must(t, oneRun(t, tr))
	equal(t, "connections of the bastion", bastion.Connections(), 1)
	// It stays open for as long as somebody goes over it, and is opened again.
	bc := connection(over)
	bc.mu.Lock()
	equal(t, "users of the bastion", bc.users, 1)
	bc.mu.Unlock()
	bastion.Cut()
	<-connection(tr).over
	<-bc.over
	must(t, oneRun(t, tr))
	equal(t, "connections", fmt.Sprint(bastion.Connections(), inner.Connections()), "2 2")

	// The host behind is not taken on trust either.
	cfg.KnownHostsFile = bastion.KnownHosts(t)
	refused(t, oneRun(t, reach(t, c, cfg)), "is unknown", "add this line")
	cfg.Port = 1
	if err := oneRun(t, reach(t, c, cfg)); err == nil || !strings.Contains(err.Error(), "through host-b") {
		t.Errorf("error %v", err)
	}
}

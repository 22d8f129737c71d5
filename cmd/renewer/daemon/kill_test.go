package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/configs"
	"renewer/internal/testacme"
	"renewer/internal/teststepca"
	"renewer/renewer"
	"renewer/renewer/engine"
)

func TestMain(m *testing.M) {
	if os.Getenv("RENEWER_TEST_CHILD") != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m, append(teststepca.Leftovers(), testacme.Leftovers()...)...)
}

// mortal is a store that kills this process, for good and without a word,
// around one of its commits.
type mortal struct {
	engine.Store
	mu     sync.Mutex
	left   int
	before bool
}

func (m *mortal) Commit(ctx context.Context, changes ...engine.Change) ([]renewer.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left--
	if m.left == 0 && m.before {
		die()
	}
	events, err := m.Store.Commit(ctx, changes...)
	if m.left == 0 {
		die()
	}
	return events, err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// child renews (or only does what is due) and may die on the way.
func child() int {
	fleet, err := configs.Load(os.Getenv("RENEWER_TEST_CHILD"))
	if err != nil {
		fmt.Println(err)
		return 2
	}
	left, _ := strconv.Atoi(os.Getenv("RENEWER_TEST_DIE"))
	a, err := Open(context.Background(), fleet, Options{store: func(s engine.Store) engine.Store {
		return &mortal{Store: s, left: left, before: os.Getenv("RENEWER_TEST_BEFORE") != ""}
	}})
	if err != nil {
		fmt.Println(err)
		return 2
	}
	var res renewer.RunResult
	if os.Getenv("RENEWER_TEST_RENEW") != "" {
		res, err = a.Renew(context.Background(), renewer.RenewRequest{All: true}, nil)
	} else {
		res, err = a.RunOnce(context.Background(), nil)
	}
	if err = errors.Join(err, a.Close()); err != nil || res.Failed() {
		fmt.Printf("%+v %v\n", res, err)
		return 1
	}
	return 0
}

// reloader is a TLS service in this process that loads its pair at start and
// again when it gets SIGUSR1, as a service of a host would.
type reloader struct {
	t    *testing.T
	dir  string
	addr string
	mu   sync.Mutex
	pair *tls.Certificate
}

func newReloader(t *testing.T, dir string) *reloader {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &reloader{t: t, dir: dir, addr: l.Addr().String()}
	hup := make(chan os.Signal, 8)
	signal.Notify(hup, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range hup {
			r.load()
		}
	}()
	srv := &http.Server{
		Handler:           http.NotFoundHandler(),
		ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: &tls.Config{
			ClientAuth: tls.RequireAnyClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.pair == nil {
					return nil, errors.New("nothing loaded yet")
				}
				return r.pair, nil
			},
		},
	}
	srv.SetKeepAlivesEnabled(false)
	srv.ErrorLog = nil
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		signal.Stop(hup)
		close(hup)
		<-done
		_ = srv.Close()
		<-stopped
	})
	return r
}

// load takes the pair from the revision that current leads to.
func (r *reloader) load() {
	pair, err := r.live()
	if err != nil {
		r.t.Errorf("what is live cannot be loaded: %v", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pair = pair
}

func (r *reloader) live() (*tls.Certificate, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(r.dir, ".renewer", "web", "current"))
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	return &pair, err
}

func (r *reloader) serves(t *testing.T) string {
	t.Helper()
	var leaf *x509.Certificate
	client, err := r.live()
	must(t, err)
	c, err := tls.Dial("tcp", r.addr, &tls.Config{
		InsecureSkipVerify: true, // only to see which certificate is served
		Certificates:       []tls.Certificate{*client},
		VerifyConnection:   func(s tls.ConnectionState) error { leaf = s.PeerCertificates[0]; return nil },
	})
	must(t, err)
	must(t, c.Close())
	return renewer.Fingerprint(leaf.Raw)
}

// A kill -9 around every commit of a renewal, and then a start: what is live is
// a matched pair at every moment, and what the inventory says is served, and
// each renewal made one order and no more.
func TestKillAtEveryTransition(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	out := filepath.Join(h.dir, "out")
	svc := newReloader(t, out)
	h.file = filepath.Join(h.dir, "renewer.yaml")
	must(t, os.WriteFile(filepath.Join(h.dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600))
	h.write(strings.NewReplacer("ADDR", svc.addr).Replace(`  - name: web
    profile: files
    issuer: ca
    hosts: [here]
    dir: DIR/out
    lifetime: 1h
    activate: {signal: {pid_file: DIR/pid, signal: USR1}}
    probe: {tls: {address: "ADDR", mutual: true}}
`))
	_, err := CAInit(h.load(), "ca")
	must(t, err)
	if out, err := h.child("", 0, false); err != nil {
		t.Fatalf("first run: %v\n%s", err, out)
	}
	for _, before := range []bool{true, false} {
		for n := 1; ; n++ {
			was := h.latest()
			_, err := h.child("renew", n, before)
			if err == nil {
				if n < 6 {
					t.Errorf("a renewal took only %d commits", n-1)
				}
				break // there is no nth commit
			}
			if _, err := svc.live(); err != nil {
				t.Fatalf("killed at %d (before %v): torn pair: %v", n, before, err)
			}
			if text, err := h.child("", 0, false); err != nil {
				t.Fatalf("killed at %d (before %v): start: %v\n%s", n, before, err, text)
			}
			row := h.look(t)
			if made := row.Generation - was; made > 1 || made < 0 || made == 0 && n > 1 {
				t.Errorf("killed at %d (before %v): generation %d became %d", n, before, was, row.Generation)
			}
			if served := svc.serves(t); row.Status != renewer.StatusValid || served != row.Fingerprint {
				t.Errorf("killed at %d (before %v): %s is served, %+v", n, before, served, row)
			}
		}
	}
	a := h.open()
	defer func() { must(t, a.Close()) }()
	for n := range a.row(t, "web").Generation + 1 {
		if _, ok, err := a.inv.Key("web", n); ok || err != nil {
			t.Errorf("the key of generation %d is left behind: %v", n, err)
		}
	}
}

func (h *house) child(renew string, die int, before bool) (string, error) {
	h.t.Helper()
	exe, err := os.Executable()
	must(h.t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "RENEWER_TEST_CHILD="+h.file, "RENEWER_TEST_RENEW="+renew, "RENEWER_TEST_DIE="+strconv.Itoa(die))
	if before {
		cmd.Env = append(cmd.Env, "RENEWER_TEST_BEFORE=1")
	}
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && die > 0 && !exit.Sys().(syscall.WaitStatus).Signaled() {
		h.t.Fatalf("the child was to be killed at %d, but: %v\n%s", die, err, text)
	}
	return string(text), err
}

func (h *house) look(t *testing.T) renewer.Row {
	t.Helper()
	a := h.open()
	defer func() { must(t, a.Close()) }()
	return a.row(t, "web")
}

func (h *house) latest() int { return h.look(h.t).Generation }

package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// newHome makes a home in a directory whose name needs quoting in YAML.
func newHome(t *testing.T) home {
	t.Helper()
	h := home{dir: filepath.Join(t.TempDir(), `a "b": #c`)}
	for path, mode := range h.directories() {
		if err := os.MkdirAll(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestFleetFile(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	if err := h.writeFleetFile(t.Context(), 3*time.Minute); err != nil {
		t.Fatal(err)
	}
	s, err := h.readFleetFile()
	if err != nil {
		t.Fatal(err)
	}
	if want := h.in("renewer.sock"); s.socket != want {
		t.Errorf("socket %q, want %q", s.socket, want)
	}
	if s.service.Dir != h.in("service") || s.service.Activate.PIDFile != h.in("service.pid") {
		t.Errorf("service in %q with pid file %q, want both in %q", s.service.Dir, s.service.Activate.PIDFile, h.dir)
	}
	if !s.service.Probe.Mutual || s.service.Activate.Signal != "HUP" {
		t.Errorf("probe %+v, activation %+v; want mutual TLS and HUP", s.service.Probe, s.service.Activate)
	}
	for _, address := range []string{s.http, s.service.Probe.Address} {
		if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" {
			t.Errorf("address %q is not of the loopback", address)
		}
	}
	if want := h.in("state/issuers/quickstart-ca/ca.pem"); s.issuer != "quickstart-ca" || s.ca != want {
		t.Errorf("issuer %q with %q, want %q", s.issuer, s.ca, want)
	}
	// The service reads the names that the profile files gives.
	for kind, name := range map[renewer.FileKind]string{
		renewer.FileCert: "tls.crt", renewer.FileKey: "tls.key", renewer.FileCA: "ca.crt",
	} {
		if s.service.Files[kind] != name {
			t.Errorf("the %s file is %q, but the service reads %q", kind, s.service.Files[kind], name)
		}
	}
}

func TestFleetFileIsWrittenOnce(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	testpki.WriteFile(t, h.fleetFile(), []byte("state_dir: /changed\n"), 0o644)
	if err := h.writeFleetFile(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(h.fleetFile()); err != nil || string(text) != "state_dir: /changed\n" {
		t.Errorf("somebody's fleet file became %q, %v", text, err)
	}
}

func TestFleetFileThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct{ old, new, want string }{
		"no server":     {"name: server", "name: other", "it has no certificate named server"},
		"no activation": {"activate: {signal:", "activate: none #", "no signal activation"},
		"unknown key":   {"state_dir:", "state_dirs:", "state_dirs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			if err := h.writeFleetFile(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(h.fleetFile())
			if err != nil {
				t.Fatal(err)
			}
			testpki.WriteFile(t, h.fleetFile(), []byte(strings.Replace(string(text), change.old, change.new, 1)), 0o644)
			_, err = h.readFleetFile()
			if err == nil || !strings.Contains(err.Error(), change.want) || !strings.Contains(err.Error(), h.fleetFile()) {
				t.Errorf("error %v; want %q and the file", err, change.want)
			}
		})
	}
}

func TestLifetimeThatIsNoGoodStaysNowhere(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	if err := h.writeFleetFile(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "lifetime") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(h.fleetFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the fleet file: %v", err)
	}
}

func TestSocketPathTooLong(t *testing.T) {
	t.Parallel()
	h := home{dir: "/" + strings.Repeat("d/", socketMax/2)}
	err := h.writeFleetFile(t.Context(), time.Minute)
	if err == nil || !strings.Contains(err.Error(), "too long for a unix socket") || renewer.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, renewer.Hint(err))
	}
}

func TestFreeAddress(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	got, err := freeAddress(t.Context(), taken.Addr().String())
	if err != nil || got == taken.Addr().String() {
		t.Errorf("%q, %v; want another port than the taken one", got, err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	unlock, err := h.lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.lock()
	if err == nil || !strings.Contains(err.Error(), "another quickstart is running in "+h.dir) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	unlock, err = h.lock()
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	unlock()
	if _, err := (home{dir: filepath.Join(h.dir, "missing")}).lock(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
}

package command_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/issuers/command"
	"renewer/issuers/issuertest"
	"renewer/renewer"
	"renewer/renewer/pki"

	"golang.org/x/sys/unix"
)

const (
	retry   = renewer.ClassRetry
	refused = renewer.ClassRefused
	mis     = renewer.ClassMisconfigured
)

func TestSuite(t *testing.T) {
	t.Parallel()
	issuertest.Run(t, issuertest.Harness{
		New:     func(t *testing.T) issuertest.Issuer { return command.New(config(t, "backwards")) },
		Keys:    []renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519, renewer.RSA2048},
		Secrets: []string{"SECRET-BYTES"},
		Faults:  faults(),
		Outage: func(t *testing.T) (issuertest.Issuer, func(), func()) {
			cfg := config(t, "away")
			mark := filepath.Join(filepath.Dir(cfg.RootFile), "away")
			return command.New(cfg), func() { testpki.WriteFile(t, mark, nil, 0o600) }, func() { must(t, os.Remove(mark)) }
		},
		Replace: func(t *testing.T) (issuertest.Issuer, func()) {
			cfg := config(t, "sign")
			return command.New(cfg), func() { authority(t, filepath.Dir(cfg.RootFile)) }
		},
		Later: func(t *testing.T) (func() issuertest.Issuer, func(string)) {
			cfg := config(t, "approved")
			return func() issuertest.Issuer { return command.New(cfg) }, func(certificate string) {
				testpki.WriteFile(t, filepath.Join(cfg.Sign[2], certificate), nil, 0o600)
			}
		},
		Limited: func(t *testing.T) (issuertest.Issuer, time.Duration) {
			return command.New(config(t, "limited")), 24 * time.Hour
		},
		Watched: func(t *testing.T, onCall func()) issuertest.Issuer {
			s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { onCall() }))
			t.Cleanup(s.Close)
			return command.New(config(t, "watched", s.URL))
		},
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config is a program of its own CA.
func config(t *testing.T, mode string, more ...string) command.Config {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	root := authority(t, dir)
	return command.Config{Name: "corp", RootFile: root, Sign: append([]string{self, "ca", dir, mode}, more...), Timeout: 30 * time.Second}
}

func order(t *testing.T) renewer.Order {
	t.Helper()
	key, err := pki.NewKey(renewer.ECDSAP256)
	must(t, err)
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		CommonName: "host-b", SANs: []string{"host-b"}, Usages: []renewer.Usage{renewer.UsageServer}, Lifetime: time.Hour,
	}}
}

func faults() map[string]issuertest.Fault {
	signing := func(class renewer.Class, spoil func(t *testing.T, cfg *command.Config, o *renewer.Order), contains ...string) issuertest.Fault {
		return issuertest.Fault{Class: class, Contains: append(contains, "issuer corp"), Provoke: func(t *testing.T) error {
			cfg, o := config(t, "sign"), order(t)
			spoil(t, &cfg, &o)
			_, err := command.New(cfg).Sign(t.Context(), o)
			return err
		}}
	}
	mode := func(class renewer.Class, mode string, contains ...string) issuertest.Fault {
		return signing(class, func(_ *testing.T, cfg *command.Config, _ *renewer.Order) { cfg.Sign[3] = mode }, append(contains, "docker@host-b")...)
	}
	given := func(spoil func(t *testing.T, cfg *command.Config), contains ...string) issuertest.Fault {
		return issuertest.Fault{Class: mis, Contains: append(contains, "issuer corp"), Provoke: func(t *testing.T) error {
			cfg := config(t, "sign")
			spoil(t, &cfg)
			return command.New(cfg).LogIn(t.Context())
		}}
	}
	root := func(content string) func(t *testing.T, cfg *command.Config) {
		return func(t *testing.T, cfg *command.Config) { testpki.WriteFile(t, cfg.RootFile, []byte(content), 0o600) }
	}
	return map[string]issuertest.Fault{
		"fails":                 mode(retry, "fail", "exit status 3", "[31mHTTP 503: the CA is away"),
		"later":                 mode(retry, "later", "not signed yet: waits for approval"),
		"an empty environment":  mode(retry, "environment", ": RENEWER_CERTIFICATE=docker@host-b|RENEWER_LIFETIME=3600"),
		"says a key":            mode(retry, "says a key", "is not shown"),
		"prints junk":           mode(mis, "junk", "cannot be parsed", "Please log in"),
		"prints nothing":        mode(mis, "nothing", "no certificate in PEM"),
		"prints half a chain":   mode(mis, "half", "truncated"),
		"prints without end":    mode(mis, "big", "more than 262144 bytes"),
		"prints a key":          mode(refused, "key", "printed a private key"),
		"signs another key":     mode(refused, "other", "signed another key"),
		"no name":               signing(refused, func(_ *testing.T, _ *command.Config, o *renewer.Order) { o.CommonName, o.SANs = "", nil }, "neither a common name nor a SAN"),
		"no program":            signing(mis, func(_ *testing.T, cfg *command.Config, _ *renewer.Order) { cfg.Sign[0] = "/nonexistent/sign" }, "/nonexistent/sign", "no such program"),
		"no program in PATH":    signing(mis, func(_ *testing.T, cfg *command.Config, _ *renewer.Order) { cfg.Sign[0] = "no-such-program" }, "no-such-program"),
		"not executable":        signing(mis, func(_ *testing.T, cfg *command.Config, _ *renewer.Order) { cfg.Sign[0] = cfg.RootFile }, "root.pem", "permission denied"),
		"found at login":        given(func(_ *testing.T, cfg *command.Config) { cfg.Sign[0] = "/nonexistent/sign" }, "/nonexistent/sign"),
		"revoke found at login": given(func(_ *testing.T, cfg *command.Config) { cfg.Revoke = []string{"/nonexistent/revoke"} }, "/nonexistent/revoke"),
		"no root file":          given(func(t *testing.T, cfg *command.Config) { must(t, os.Remove(cfg.RootFile)) }, "root_file", "root.pem"),
		"root file is garbage":  given(root("junk"), "root_file", "no certificate in PEM"),
		"root file is no root": given(func(t *testing.T, cfg *command.Config) {
			cfg.RootFile = filepath.Join(filepath.Dir(cfg.RootFile), "ca.pem")
		}, "Corp Issuing CA", "is not a root"),
		"no program for revocation": {Class: refused, Contains: []string{"docker@host-b"}, Provoke: func(t *testing.T) error {
			return command.New(config(t, "sign")).Revoke(t.Context(), renewer.Revocation{Certificate: "docker@host-b"})
		}},
	}
}

// What a program started ends with it: when it hangs, and when it fails.
func TestNothingOutlivesAProgram(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{"hang": "took longer than 2s: waiting for the token", "fails and leaves a child": "exit status 1: waiting for the token"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, mode)
			cfg.Timeout = 2 * time.Second
			begin := time.Now()
			_, err := command.New(cfg).Sign(t.Context(), order(t))
			if renewer.ClassOf(err) != retry || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, hint %s", err, renewer.Hint(err))
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			text, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.RootFile), "pid"))
			must(t, err)
			pid, err := strconv.Atoi(string(text))
			must(t, err)
			if !gone(pid) {
				t.Errorf("its child %d lives", pid)
			}
		})
	}
}

// gone waits for the end of a process that was killed.
func gone(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
	return err == nil && n == 1
}

func TestLaterIsNoFailure(t *testing.T) {
	t.Parallel()
	i := command.New(config(t, "later"))
	_, err := i.Sign(t.Context(), order(t))
	if !errors.Is(err, renewer.ErrLater) {
		t.Errorf("got %v", err)
	}
	if err := i.Health(t.Context()); err != nil {
		t.Errorf("health: %v", err)
	}
}

func TestRevokeHandsOverTheCertificate(t *testing.T) {
	t.Parallel()
	cfg := config(t, "sign")
	cfg.Revoke = []string{cfg.Sign[0], "ca", cfg.Sign[2], "revoke"}
	i := command.New(cfg)
	chain, err := i.Sign(t.Context(), order(t))
	must(t, err)
	must(t, i.Revoke(t.Context(), renewer.Revocation{Certificate: "docker@host-b", Serial: "0a1b", Reason: "superseded", Chain: chain}))
	got, err := os.ReadFile(filepath.Join(cfg.Sign[2], "revoked"))
	must(t, err)
	if want := "RENEWER_CERTIFICATE=docker@host-b\nRENEWER_REASON=superseded\nRENEWER_SERIAL=0a1b\n" + string(pki.PEM(chain.Leaf)); string(got) != want {
		t.Errorf("got %s", got)
	}
}

package remote

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/testssh"
	"renewer/renewer"
)

// The library forgets a channel that is asked for while its connection ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("golang.org/x/crypto/ssh.(*mux).openChannel"))
}

// client is an account of its own, without agent and with an empty ~/.ssh.
func client(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Home: t.TempDir(), Timeout: 10 * time.Second}
	for _, f := range change {
		f(&o)
	}
	c := NewClient(o)
	if o.Agent == "" {
		c.Agent = ""
	}
	c.allHosts, c.allConfig = filepath.Join(o.Home, "none"), filepath.Join(o.Home, "none")
	return c
}

// config reaches s with its key and a known host key.
func config(t testing.TB, s *testssh.Server) Config {
	t.Helper()
	return Config{
		Name: "host-b", Address: s.Host, Port: s.Port, User: testssh.User,
		IdentityFile: s.Login.File, KnownHostsFile: s.KnownHosts(t),
	}
}

// reach is the transport of a configuration; it ends with the test.
func reach(t testing.TB, c *Client, cfg Config) *Transport {
	t.Helper()
	tr := c.Transport(cfg)
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// host is a server and the transport to it.
func host(t testing.TB, o testssh.Options, change ...func(*Config)) (*testssh.Server, *Transport) {
	t.Helper()
	s := testssh.Start(t, o)
	cfg := config(t, s)
	for _, f := range change {
		f(&cfg)
	}
	return s, reach(t, client(t), cfg)
}

func write(t testing.TB, file, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	must(t, os.WriteFile(file, []byte(text), 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// refused checks an error that an operator has to look at: its text, and what its
// hint names.
func refused(t testing.TB, err error, text, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", text)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("error %q does not say %q", err, text)
	}
	if got := renewer.Hint(err); !strings.Contains(got, hint) || got == "" {
		t.Errorf("hint %q of %q does not name %q", got, err, hint)
	}
	equal(t, "class", renewer.ClassOf(err), renewer.ClassMisconfigured)
}

func as[T error](t testing.TB, err error) (e T) {
	t.Helper()
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no %T", err, e)
	}
	return e
}

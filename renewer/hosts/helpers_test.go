package hosts

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/pki"
)

var _ engine.Host = (*Host)(nil)

// signalled makes the test binary a process that says what signal it got.
const signalled = "RENEWER_TEST_SIGNALLED"

func TestMain(m *testing.M) {
	if socket := os.Getenv(Dialled); socket != "" {
		dialStdio(socket)
		return
	}
	if os.Getenv(signalled) == "" {
		// The library forgets a channel that is asked for while its connection ends.
		goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("golang.org/x/crypto/ssh.(*mux).openChannel"))
		return
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGHUP)
	fmt.Println("ready")
	<-got
	fmt.Println("reloaded")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it
}

// Dialled makes the test binary `docker system dial-stdio` for the address
// that it holds.
const Dialled = "RENEWER_TEST_DIALLED"

func dialStdio(address string) {
	c, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() { _, _ = io.Copy(c, os.Stdin); os.Exit(0) }()
	_, _ = io.Copy(os.Stdout, c)
}

// memory is a temporary directory in memory where the machine has that: many
// small files, synced, are faster there.
func memory(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "renewer-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return root
}

// bench is one host with a root of its own and two generations to place.
type bench struct {
	root     string
	reach    Transport
	ca       *testpki.CA
	old, new testpki.Pair
}

func newBench(t testing.TB) *bench {
	t.Helper()
	ca, root := testpki.New(t), memory(t)
	return &bench{
		root: root, reach: Local(root), ca: ca,
		old: ca.Leaf(t, testpki.Options{SANs: []string{"host-a"}}),
		new: ca.Leaf(t, testpki.Options{SANs: []string{"host-a"}}),
	}
}

func (b *bench) host() *Host { return New(renewer.Host{Name: "host-a"}, b.reach) }

// overEach runs a test of placement over every transport.
func overEach(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Parallel()
	for name, start := range machines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.reach = start(t).Open(b.root)
			t.Cleanup(func() { must(t, b.reach.Close()) })
			test(t, b)
		})
	}
}

const dir = "/etc/docker/tls"

func placement() renewer.Placement {
	return renewer.Placement{
		Certificate: "docker@host-a", Host: "host-a", Dir: dir,
		Files: map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "server-cert.pem", renewer.FileKey: "server-key.pem"},
		Modes: map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400},
	}
}

func (b *bench) content(t testing.TB, p renewer.Placement, pair testpki.Pair) map[renewer.FileKind][]byte {
	t.Helper()
	c, err := contentOf(b, p, pair)
	must(t, err)
	return c
}

func contentOf(b *bench, p renewer.Placement, pair testpki.Pair) (map[renewer.FileKind][]byte, error) {
	return pki.Content(p.Files, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{b.ca.Root})
}

// path is a path of the host as this process sees it.
func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.root}, parts...)...)
}

// plain writes the files of p as somebody without renewer would.
func (b *bench) plain(t testing.TB, p renewer.Placement, pair testpki.Pair) {
	t.Helper()
	for kind, data := range b.content(t, p, pair) {
		testpki.WriteFile(t, b.path(p.Dir, p.Files[kind]), data, p.Modes[kind])
	}
	must(t, os.Chmod(b.path(p.Dir), 0o755))
}

// place brings a pair all the way and returns its revision.
func (b *bench) place(t testing.TB, h *Host, p renewer.Placement, pair testpki.Pair) renewer.Staged {
	t.Helper()
	st, err := h.Stage(t.Context(), p, b.content(t, p, pair))
	must(t, err)
	must(t, h.Flip(t.Context(), p, st.Revision))
	return st
}

// served is the fingerprint of the pair under the live names; empty if they
// do not make a pair.
func (b *bench) served(p renewer.Placement) string {
	pair, err := tls.LoadX509KeyPair(b.path(p.Dir, p.Files[renewer.FileCert]), b.path(p.Dir, p.Files[renewer.FileKey]))
	if err != nil {
		return ""
	}
	return renewer.Fingerprint(pair.Leaf.Raw)
}

func print(p testpki.Pair) string { return renewer.Fingerprint(p.Cert.Raw) }

// tree lists a directory of the host: names, with @ after a link and its target.
func (b *bench) tree(t testing.TB, parts ...string) []string {
	t.Helper()
	entries, err := os.ReadDir(b.path(parts...))
	must(t, err)
	var out []string
	for _, e := range entries {
		name := e.Name()
		if target, err := os.Readlink(filepath.Join(b.path(parts...), name)); err == nil {
			name += "@" + target
		}
		out = append(out, name)
	}
	return out
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

func equalSlices(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// fails checks an error's text and that it has a hint.
func fails(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
	if renewer.Hint(err) == "" {
		t.Errorf("error %q has no hint", err)
	}
}

// without returns p without some kinds of file.
func without(p renewer.Placement, kinds ...renewer.FileKind) renewer.Placement {
	p.Files, p.Modes = maps.Clone(p.Files), maps.Clone(p.Modes)
	for _, k := range kinds {
		delete(p.Files, k)
		delete(p.Modes, k)
	}
	return p
}

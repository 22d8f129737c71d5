package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// user types commands in a directory with a fleet.
type user struct {
	t   *testing.T
	exe string
	dir string
}

func newUser(t *testing.T) user {
	t.Helper()
	u := user{t: t, dir: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	u.exe = filepath.Join(u.dir, "renewer") // by this name the test binary is the command: see TestMain
	if err := os.Symlink(self, u.exe); err != nil {
		t.Fatal(err)
	}
	fleet := fmt.Sprintf(`state_dir: %[1]s/state
issuers: {fleet-ca: {type: local}}
hosts: {host-with-a-rather-long-name-a: {type: local, root: %[1]s}, host-with-a-rather-long-name-b: {type: local, root: %[1]s/b}}
certificates:
  - {name: web, issuer: fleet-ca, profile: files, hosts: [host-with-a-rather-long-name-a, host-with-a-rather-long-name-b], dir: /web, lifetime: 30d}
`, u.dir)
	for _, err := range []error{os.Mkdir(filepath.Join(u.dir, "b"), 0o700), os.WriteFile(filepath.Join(u.dir, "renewer.yaml"), []byte(fleet), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, argv := range [][]string{{"ca", "init"}, {"run", "--once"}} {
		if out, err := u.command(argv...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	return u
}

func (u user) command(argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(u.t.Context(), u.exe, argv...)
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "RENEWER_CONFIG="+filepath.Join(u.dir, "renewer.yaml"), "TERM=xterm", "NO_COLOR=", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// on runs a command on a terminal and returns what that got.
func (u user) on(columns uint16, env string, argv ...string) string {
	u.t.Helper()
	ours, theirs := terminal(u.t)
	if err := unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		u.t.Fatal(err)
	}
	cmd := u.command(argv...)
	cmd.Env = append(cmd.Env, env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	theirs.Close()
	var out bytes.Buffer
	if _, err := io.Copy(&out, ours); err != nil && !errors.Is(err, syscall.EIO) { // EIO: the other end is closed
		u.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		u.t.Fatalf("%q: %v\n%s", argv, err, &out)
	}
	return strings.ReplaceAll(out.String(), "\r\n", "\n")
}

// widest is the longest line, but for those that a long word needs.
func widest(s string, columns int) (n int) {
	for line := range strings.Lines(text.StripEscape(s)) {
		long := func(word string) bool { return len(word) > columns-factColumn }
		if !slices.ContainsFunc(strings.Fields(line), long) && !strings.HasPrefix(line, "  run: ") { // a command stays whole
			n = max(n, utf8.RuneCountInString(strings.TrimRight(line, "\n")))
		}
	}
	return n
}

func TestATerminalGetsColoursAndShortLines(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	for _, columns := range []uint16{200, 80, 60, 40} {
		for _, argv := range [][]string{{"list"}, {"status"}, {"show", "web"}, {"plan"}, {"history"}, {"trust"}, {"impact", "web", "--expired"}, {"impact", "web"}} {
			out := u.on(columns, "A=b", argv...)
			if got := widest(out, int(columns)); got > int(columns) {
				t.Errorf("%q on %d columns: a line of %d\n%s", argv, columns, got, out)
			}
		}
	}
	if narrow := u.on(40, "A=b", "list"); !strings.Contains(narrow, "NOT AFTER") || strings.Contains(narrow, "GENERATION") {
		t.Errorf("40 columns have no room for when it expires:\n%s", narrow)
	}
	list := u.on(80, "A=b", "list")
	if !strings.Contains(list, text.FgGreen.EscapeSeq()+"valid") || !strings.Contains(list, "in 29 d") || !strings.Contains(list, "  hosts: host-with-a-rather-long-name-a") {
		t.Errorf("80 columns: not coloured, not relative, or without its hosts:\n%q", list)
	}
	if wide := u.on(80, "A=b", "list", "-o", "wide"); strings.Contains(wide, "…") || !strings.Contains(wide, "long-name-b") {
		t.Errorf("-o wide is shortened:\n%s", wide)
	}
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		if out := u.on(80, env, "list"); strings.Contains(out, "\x1b") || !strings.Contains(out, "in 29 d") {
			t.Errorf("%s: %q", env, out)
		}
	}
	if out := u.on(80, "A=b", "list", "-o", "json"); strings.Contains(out, "\x1b") || !strings.Contains(out, "host-with-a-rather-long-name-b") {
		t.Errorf("json on a terminal: %q", out)
	}
	piped, err := u.command("list").Output()
	if err != nil || bytes.ContainsAny(piped, "\x1b…") || !bytes.Contains(piped, []byte("host-with-a-rather-long-name-b")) || !bytes.Contains(piped, []byte("T")) {
		t.Errorf("not on a terminal: %v\n%s", err, piped)
	}
}

// Columns leave a line by what they are worth: nothing but hashes and spare facts is lost,
// and nothing is while there is room.
func TestColumnsGiveWayByWorth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom(slices.Concat([]string{"name", "certificate", "host", "status", "not_after"}, texts, hashes, spare)), 1, 9, rapid.ID[string]).Draw(t, "names")
		widths := make([]int, len(names))
		total := len(gap) * (len(names) - 1)
		for x := range widths {
			widths[x] = rapid.IntRange(1, 60).Draw(t, "width")
			total += widths[x]
		}
		room := rapid.IntRange(1, 200).Draw(t, "room")
		line, below := arrange(names, slices.Clone(widths), room)
		for x, name := range names {
			if !slices.Contains(line, x) && !slices.Contains(below, x) && !slices.Contains(hashes, name) && !slices.Contains(spare, name) {
				t.Fatalf("%s is lost: %v below %v", name, line, below)
			}
		}
		if len(line) == 0 || !slices.IsSorted(line) || total <= room && len(line) < len(names) {
			t.Fatalf("%v below %v, where %d have room in %d", line, below, total, room)
		}
	})
}

func TestAnswersDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	c := &cli{out: io.Discard}
	if s := c.shown("bad\x1b]0;title\x07 and\x9b31m", time.Now()).text; strings.ContainsAny(s, "\x1b\x07\u009b") {
		t.Errorf("got %q", s)
	}
}

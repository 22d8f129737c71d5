package inventory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

func TestOpenCreates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "inventory.db")
	if _, err := Open(path, Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("read-only: %v", err)
	}
	i, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = i.Close() }()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	sound(t, i)
}

func TestOpenReadOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	i := openAt(t, path)
	commit(t, i, issued("a", 1, day(90)))
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // readers together
		r, err := Open(path, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if names, err := r.Names(); len(names) != 1 || err != nil {
			t.Error(names, err)
		}
		sound(t, r)
		if _, err := r.Commit(t.Context(), issued("b", 1, day(1))); err == nil || renewer.Hint(err) == "" {
			t.Errorf("commit: %v", err)
		}
	}
	if _, err := Open(path, Options{Timeout: -1}); err == nil {
		t.Error("opened for writing beside readers")
	}
}

func TestOpenLockedNamesTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	cmd := child(t, "hold", path)
	out, end := started(t, cmd)
	if !out.Scan() || out.Text() != "ready" {
		t.Fatal(out.Text())
	}
	for _, o := range []Options{{Timeout: -1}, {Timeout: 30 * time.Millisecond}, {Timeout: -1, ReadOnly: true}} {
		_, err := Open(path, o)
		var locked *LockedError
		if !errors.As(err, &locked) {
			t.Fatalf("%+v: %v", o, err)
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if locked.PID != cmd.Process.Pid || locked.Command != strings.TrimSpace(string(comm)) || renewer.Hint(err) == "" {
			t.Errorf("%+v: %v, the child is %d", locked, err, cmd.Process.Pid)
		}
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
			t.Error(err)
		}
	}
	if err := Restore(path, path+".copy"); !errors.As(err, new(*LockedError)) {
		t.Errorf("restore from a file in use: %v", err)
	}
	// Open waits for its turn.
	go end()
	i, err := Open(path, Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	_ = i.Close()
}

func TestLockHolderWithoutProcLocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	cmd := child(t, "hold", path)
	if out, _ := started(t, cmd); !out.Scan() {
		t.Fatal("no child")
	}
	if pid := fileHolder(path); pid != cmd.Process.Pid {
		t.Errorf("process %d, want %d", pid, cmd.Process.Pid)
	}
	if pid := fileHolder(path + ".other"); pid != 0 {
		t.Errorf("process %d holds a file that is not there", pid)
	}
	if text := (&LockedError{Path: path}).Error(); !strings.Contains(text, "another process") {
		t.Error(text)
	}
}

func TestOpenTwiceInOneProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inventory.db")
	openAt(t, path)
	_, err := Open(path, Options{Timeout: -1})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || !strings.Contains(renewer.Hint(err), "this process") {
		t.Errorf("%v (%s)", err, renewer.Hint(err))
	}
}

// full returns the bytes of an inventory that holds something.
func full(t *testing.T) []byte {
	t.Helper()
	i := open(t)
	for n := range 50 {
		commit(t, i, issued(fmt.Sprintf("c%02d", n), 1, day(n)))
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(i.Path())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpenDamaged(t *testing.T) {
	t.Parallel()
	whole := full(t)
	page := os.Getpagesize()
	zero := func(from, to int) []byte {
		b := append([]byte{}, whole...)
		clear(b[from:to])
		return b
	}
	other := filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":            {nil, "is empty"},
		"text":             {[]byte("certificates: []\n"), "is not an inventory"},
		"random":           {[]byte(strings.Repeat("\xde\xad\xbe\xef", 20000)), "is not an inventory"},
		"a few bytes":      {whole[:100], "is truncated"},
		"one page":         {whole[:page], "is truncated"},
		"half":             {whole[:8*page], "is truncated"},
		"both metas":       {zero(16, 2*page), "is not an inventory"},
		"meta checksums":   {zero2(whole, 16+40, page+16+40), "both meta pages"},
		"everything else":  {zero(2*page, len(whole)), "is damaged"},
		"another database": {foreign, "without its schema"},
	} {
		path := filepath.Join(t.TempDir(), "inventory.db")
		if err := os.WriteFile(path, tc.content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		var bad *DamagedError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
		if !strings.Contains(renewer.Hint(err), "restore") {
			t.Errorf("%s: hint %q", what, renewer.Hint(err))
		}
		if now, _ := os.ReadFile(path); string(now) != string(tc.content) {
			t.Errorf("%s: the file was changed", what)
		}
	}
}

// zero2 clears eight bytes at two places.
func zero2(b []byte, at ...int) []byte {
	b = append([]byte{}, b...)
	for _, n := range at {
		clear(b[n : n+8])
	}
	return b
}

// One damaged meta page leaves the state of the commit before, and the full
// check says so.
func TestOpenWithOneMetaPage(t *testing.T) {
	t.Parallel()
	whole := full(t)
	for n := range 2 {
		path := filepath.Join(t.TempDir(), "inventory.db")
		if err := os.WriteFile(path, zero2(whole, n*os.Getpagesize()+16), 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if names, _ := i.Names(); len(names) < 49 {
			t.Errorf("%d names", len(names))
		}
		if found := i.CheckFull(t.Context()); len(found) != 1 || !strings.Contains(found[0].Error(), "meta page") {
			t.Errorf("found %v", found)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Pages damaged in the middle never end the process: what reads them gets an
// error, and the full check finds them.
func TestDamagedPages(t *testing.T) {
	t.Parallel()
	whole, page := full(t), os.Getpagesize()
	caught := 0
	for n := 2; n < len(whole)/page; n++ {
		path := filepath.Join(t.TempDir(), "inventory.db")
		b := append([]byte{}, whole...)
		for at := n * page; at < (n+1)*page; at++ {
			b[at] ^= 0xa5
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := Open(path, Options{})
		if err != nil {
			caught++
			continue
		}
		_, err1 := i.Names()
		_, err2 := i.Events(renewer.EventFilter{})
		err3 := i.Rows(time.Time{}, func(renewer.Row) bool { return true })
		found := i.CheckFull(t.Context())
		if errors.Join(err1, err2, err3) != nil && len(found) == 0 {
			t.Errorf("page %d: the full check found nothing, but %v", n, errors.Join(err1, err2, err3))
		}
		if len(found) > 0 {
			caught++
		}
		_ = i.Close()
	}
	if caught < 10 {
		t.Errorf("only %d damaged pages were noticed", caught)
	}
}

func TestOpenRefusesWhatIsNoFileOfOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "is a directory") || renewer.Hint(err) == "" {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(dir, "no", "inventory.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open("/dev/null", Options{}); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Error(err)
	}
	path := filepath.Join(dir, "inventory.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(renewer.Hint(err), "chmod 600") {
			t.Errorf("%o: %v", mode, err)
		}
	}
}

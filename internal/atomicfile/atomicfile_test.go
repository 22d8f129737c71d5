package atomicfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"renewer/internal/atomicfile"
	"renewer/renewer"
)

func TestWriteReplacesContentAndMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for i, mode := range []fs.FileMode{0o644, 0o600, 0o444, 0o400, 0o666} {
		want := fmt.Appendf(nil, "content %d", i)
		if err := atomicfile.Write(path, want, mode); err != nil {
			t.Fatal(err)
		}
		got, err := atomicfile.ReadLimited(path, 100)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %q, %v; want %q", got, err, want)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != mode {
			t.Errorf("mode %v, want %v", info.Mode().Perm(), mode)
		}
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
}

func TestWriteNewHasOneWinner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() { errs[i] = atomicfile.WriteNew(path, []byte{byte(i)}, 0o600) })
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		switch {
		case i == int(got[0]) && err != nil:
			t.Errorf("writer %d won with error %v", i, err)
		case i != int(got[0]) && !errors.Is(err, fs.ErrExist):
			t.Errorf("writer %d lost with error %v", i, err)
		}
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
}

// Readers and cleaners run against writers; every read is whole and no write
// loses its temporary file.
func TestReadersSeeWholeFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	page := func(b byte) []byte { return bytes.Repeat([]byte{b}, 16<<10) }
	if err := atomicfile.Write(path, page(0), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				if err := atomicfile.Write(path, page(byte(w*25+i)), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 200 {
				got, err := atomicfile.ReadLimited(path, 16<<10)
				if err != nil || !bytes.Equal(got, page(got[0])) {
					t.Errorf("torn read of %d bytes, %v", len(got), err)
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				if err := atomicfile.Clean(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestCleanRemovesWhatACrashLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{".renewer-tmp-123", ".renewer-tmp-456", "kept", ".renewer-other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.Open(filepath.Join(dir, ".renewer-tmp-456"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Clean(dir); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(list(t, dir), " "); got != ".renewer-other .renewer-tmp-456 kept" {
		t.Errorf("after Clean: %s", got)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing", "file")
	err := atomicfile.Write(missing, nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing directory: %v", err)
	}

	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := atomicfile.ReadLimited(path, 11); err != nil {
		t.Errorf("at the cap: %v", err)
	}
	if _, err := atomicfile.ReadLimited(path, 10); err == nil || !strings.Contains(err.Error(), path+": larger than 10 bytes") {
		t.Errorf("over the cap: %v", err)
	}

	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{fifo, dir, "/dev/zero"} {
		if _, err := atomicfile.ReadLimited(p, 10); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// A small file system that is full, then read-only: what was there stays and
// nothing is left over.
func TestNoSpaceKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "file")
	if err := atomicfile.Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := atomicfile.Write(path, make([]byte, 128<<10), 0o600)
	checkHint(t, err, syscall.ENOSPC, "free some space on the file system of "+dir)
	if old, err := os.ReadFile(path); err != nil || string(old) != "old" {
		t.Errorf("the old content became %q, %v", old, err)
	}
	if names := list(t, dir); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	checkHint(t, atomicfile.Write(path, nil, 0o600), syscall.EROFS, dir+" is on a read-only file system")
}

func TestNoPermission(t *testing.T) {
	t.Parallel()
	dir := "/proc" // no one makes files there, not even root
	if os.Getuid() != 0 {
		dir = t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		checkHint(t, atomicfile.Write(filepath.Join(dir, "file"), nil, 0o600), syscall.EACCES, dir+"accessible")
		return
	}
	if err := atomicfile.Write(filepath.Join(dir, "file"), nil, 0o600); err == nil || !strings.HasPrefix(err.Error(), "write /proc/file: ") {
		t.Errorf("got %v", err)
	}
}

func checkHint(t *testing.T, err error, want syscall.Errno, hint string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.HasPrefix(renewer.Hint(err), hint) {
		t.Errorf("got %v, hint %q; want %v, hint %q", err, renewer.Hint(err), want, hint)
	}
}

func TestReadSecretRefusesWhatOthersMayUse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(mode fs.FileMode) error {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := atomicfile.ReadSecret(path, 10)
		return err
	}
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		if err := try(mode); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o444} {
		var exposed *atomicfile.ExposedError
		err := try(mode)
		if !errors.As(err, &exposed) || exposed.Mode != mode || renewer.Hint(err) == "" || renewer.ClassOf(err) != renewer.ClassMisconfigured {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}

	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := try(0o440); err != nil {
		t.Errorf("credential with mode 0440: %v", err)
	}
	if err := try(0o444); err == nil {
		t.Error("credential with mode 0444 was accepted")
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestReadPassphrase(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pass")
	for text, want := range map[string]string{"secret\n": "secret", "secret\r\n": "secret", "two\n\n": "two\n", "bare": "bare"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // others can read it: used all the same
			t.Fatal(err)
		}
		if got, err := atomicfile.ReadPassphrase(file); err != nil || string(got) != want {
			t.Errorf("%q gives %q, %v", text, got, err)
		}
	}
	if _, err := atomicfile.ReadPassphrase(file + ".none"); err == nil {
		t.Error("read a file that is not there")
	}
}

// A credential that is not there outside of the service says how to have it.
func TestACredentialWithoutTheServiceIsNamed(t *testing.T) {
	t.Parallel()
	_, err := atomicfile.ReadPassphrase("${CREDENTIALS_DIRECTORY}/ca-passphrase")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(renewer.Hint(err), "LoadCredential=ca-passphrase:FILE") {
		t.Errorf("%v", err)
	}
}

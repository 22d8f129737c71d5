// Package atomicfile writes small files whole or not at all, and reads them
// with a cap.
//
// A write makes these system calls, in this order:
//
//	openat(DIR/.renewer-tmp-RANDOM, O_CREAT|O_EXCL|O_WRONLY, 0600)
//	flock(LOCK_EX), fstat        so that Clean leaves a write under way alone
//	fchmod(MODE)                 while it is empty
//	write, fsync, close
//	renameat(TMP, FILE)          Write
//	linkat(TMP, FILE), unlinkat  WriteNew: fails if FILE exists
//	fsync(DIR)
//
// After a crash FILE is the old one or the new one, whole, with its mode. Two
// sad paths remain: a temporary file may be left over, which Clean removes; and
// when the last fsync fails, the error says so although the new file is
// already visible, and a power cut may bring the old one back.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const tempPrefix = ".renewer-tmp-"

// Write puts data into path with exactly this mode, whatever the umask, and
// replaces what was there. The directory must exist.
func Write(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// WriteNew is Write for a file that must not exist: then it changes nothing
// and returns an error that is fs.ErrExist.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, func(tmp, path string) error {
		if err := os.Link(tmp, path); err != nil {
			return err
		}
		return os.Remove(tmp)
	})
}

func write(path string, data []byte, mode fs.FileMode, publish func(tmp, path string) error) error {
	dir := filepath.Dir(path)
	f, err := create(dir)
	if err != nil {
		return explain("write", path, err)
	}
	defer f.Close()
	if err := fill(f, data, mode); err != nil {
		_ = os.Remove(f.Name())
		return explain("write", path, err)
	}
	if err := publish(f.Name(), path); err != nil {
		_ = os.Remove(f.Name())
		return explain("write", path, err)
	}
	return explain("write", path, syncDir(dir))
}

// create makes a locked temporary file. Clean may have removed it between the
// open and the lock; then it has no link any more and another one is made.
func create(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, tempPrefix) // O_EXCL, 0600
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			_ = os.Remove(f.Name())
			f.Close()
			return nil, os.NewSyscallError("flock", err)
		}
		if info, err := f.Stat(); err == nil && info.Sys().(*syscall.Stat_t).Nlink > 0 {
			return f, nil
		}
		f.Close()
	}
}

func fill(f *os.File, data []byte, mode fs.FileMode) error {
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Clean removes the temporary files that crashed writes left in dir. Writes
// under way, of other processes too, are left alone.
func Clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return explain("clean", dir, err)
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := removeUnlocked(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, explain("remove leftover", path, err))
		}
	}
	return errors.Join(errs...)
}

func removeUnlocked(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil
	}
	return os.Remove(path)
}

// ReadLimited reads a regular file of at most max bytes. A pipe or device is
// refused without waiting for it.
func ReadLimited(path string, max int64) ([]byte, error) {
	data, _, err := read(path, max)
	return data, err
}

// ExposedError says that a secret file may be used by others than its owner.
type ExposedError struct {
	Path string
	Mode fs.FileMode
}

func (e *ExposedError) Error() string {
	return fmt.Sprintf("%s has mode %04o: other users can access it", e.Path, e.Mode.Perm())
}

// Hint says how to fix it.
func (e *ExposedError) Hint() string { return "chmod 0600 " + e.Path }

// Misconfigured reports that trying again does not help.
func (*ExposedError) Misconfigured() bool { return true }

// ReadSecret is ReadLimited for a file that its owner alone may use; else the
// error is an *ExposedError. Group read is accepted below
// $CREDENTIALS_DIRECTORY: systemd.exec(5) grants a service its credentials by
// an ACL, whose mask stands where the group's bits are.
func ReadSecret(path string, max int64) ([]byte, error) {
	data, mode, err := read(path, max)
	if err != nil {
		return nil, err
	}
	forbidden := fs.FileMode(0o077)
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		forbidden = 0o037
	}
	if mode&forbidden != 0 {
		return nil, &ExposedError{Path: path, Mode: mode}
	}
	return data, nil
}

// Open opens a regular file to read. A pipe or a device is refused without waiting for
// its other end.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		if err = Regular(info); err != nil {
			err = &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Regular says what a file is that is not a regular one; nil for one that is.
func Regular(info fs.FileInfo) error {
	kind := "a device"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("it is %s, not a regular file", kind)
}

func read(path string, max int64) ([]byte, fs.FileMode, error) {
	f, err := Open(path)
	if err != nil {
		return nil, 0, explain("read", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, explain("read", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, 0, explain("read", path, err)
	}
	if int64(len(data)) > max {
		return nil, 0, fmt.Errorf("read %s: larger than %d bytes", path, max)
	}
	return data, info.Mode().Perm(), nil
}

// fixes of what the file system says; the directory is put in for %s.
var fixes = []struct {
	errno syscall.Errno
	hint  string
}{
	{syscall.ENOSPC, "free some space on the file system of %s"},
	{syscall.EDQUOT, "raise the disk quota for %s, or free some space there"},
	{syscall.EROFS, "%s is on a read-only file system: mount it writable, or choose another directory"},
	{syscall.EACCES, "make %s accessible for the user that renewer runs as"},
	{syscall.EPERM, "make %s accessible for the user that renewer runs as, and not immutable"},
}

// hinted is an error with its fix.
type hinted struct {
	error
	hint string
}

func (e hinted) Hint() string  { return e.hint }
func (e hinted) Unwrap() error { return e.error }

// unsetCredentials is how a path begins that is of a credential, where a command
// was started without any.
const unsetCredentials = "${CREDENTIALS_DIRECTORY}/"

// explain names the file that was meant instead of the temporary one, and the
// fix.
func explain(verb, path string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if at, ok := errors.AsType[*fs.PathError](err); ok && at.Path == path {
		err = at.Err // said once
	}
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s %s: %w", verb, path, err)
	}
	err = fmt.Errorf("%s %s: %w", verb, path, errno)
	if name, ok := strings.CutPrefix(path, unsetCredentials); ok {
		return hinted{err, "systemd sets CREDENTIALS_DIRECTORY only for renewer.service; in a shell, use systemd-run --pty -p LoadCredential=" + name + ":FILE renewer ..."}
	}
	for _, w := range fixes {
		if errno == w.errno {
			return hinted{err, fmt.Sprintf(w.hint, filepath.Dir(path))}
		}
	}
	return err
}

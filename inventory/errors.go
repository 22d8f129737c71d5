package inventory

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	berrors "go.etcd.io/bbolt/errors"

	"renewer/renewer"
)

// ErrClosed is returned by every method after Close.
var ErrClosed = errors.New("the inventory is closed")

// ErrAmbiguous is returned when several generations match a serial number or
// the beginning of a fingerprint.
var ErrAmbiguous = errors.New("several generations match")

// ErrConflict is returned by Commit for a change that would lose something:
// another certificate under a generation's number, or counters that fall.
var ErrConflict = errors.New("conflicts with the inventory")

// ErrInvalid is returned by Commit for a change that means nothing.
var ErrInvalid = errors.New("invalid change")

// ErrExists is returned by Restore where an inventory is already.
var ErrExists = errors.New("an inventory already exists")

// LockedError says that another process has the file.
type LockedError struct {
	Path    string
	PID     int    // 0: not to be found out
	Command string // its name, if known
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("inventory %s is in use by another process", e.Path)
	}
	return fmt.Sprintf("inventory %s is in use by %s (process %d)", e.Path, e.Command, e.PID)
}

// DamagedError says that a file is not a whole inventory.
type DamagedError struct {
	Path string
	What string
}

func (e *DamagedError) Error() string { return subject(e.Path) + " " + e.What }

// subject is the inventory that an error is about; an empty path was said already.
func subject(path string) string {
	if path == "" {
		return "it"
	}
	return "inventory " + path
}

// SchemaError says that the file is of another version than this program.
type SchemaError struct {
	Path        string
	File, Known int
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s has schema %d, but this renewer supports schemas up to %d", subject(e.Path), e.File, e.Known)
}

func damaged(path, format string, args ...any) error {
	return renewer.WithHint(&DamagedError{Path: path, What: fmt.Sprintf(format, args...)},
		fmt.Sprintf("move it away (mv %s %s.damaged), then restore a backup with `renewer restore FILE`; "+
			"without a backup, start renewer with an empty inventory: services keep their certificates, and new ones are issued", path, path))
}

// errnoError restores an error number that bbolt kept as text alone.
type errnoError struct {
	error
	errno syscall.Errno
}

func (e errnoError) Unwrap() error { return e.errno }

// medium adds a hint to an error of the disk.
func medium(path string, err error) error {
	if err == nil {
		return nil
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EIO} {
		if !errors.Is(err, errno) && strings.HasSuffix(err.Error(), ": "+errno.Error()) {
			err = errnoError{err, errno}
		}
	}
	dir := filepath.Dir(path)
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return ErrClosed
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return renewer.WithHint(err, "free some space on the file system of "+dir+"; no data was lost, and renewer retries")
	case errors.Is(err, syscall.EROFS):
		return renewer.WithHint(err, dir+" is on a read-only file system; remount it read-write")
	case errors.Is(err, fs.ErrPermission):
		return renewer.WithHint(err, "run renewer as the owner of "+dir+", or give this user the directory, with mode 0700")
	case errors.Is(err, berrors.ErrDatabaseReadOnly):
		return renewer.WithHint(err, "the inventory was opened read-only")
	}
	return err
}

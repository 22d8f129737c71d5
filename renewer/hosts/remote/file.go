package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/pkg/sftp"
)

// file is a file that is being written.
type file struct {
	d    *dir
	f    *sftp.File
	name string
}

func (w *file) do(op string, do func() error) error {
	return w.d.explain(w.d.do(op, w.name, func(string) error { return do() }), w.name, false)
}

func (w *file) Chown(uid, gid int) error {
	return w.do("chown", func() error { return w.f.Chown(uid, gid) })
}

func (w *file) Chmod(mode fs.FileMode) error {
	return w.do("chmod", func() error { return w.f.Chmod(mode) })
}
func (w *file) Close() error { return w.do("close", w.f.Close) }

func (w *file) Write(p []byte) (n int, err error) {
	data := append([]byte(nil), p...) // a write that is given up may still read it
	defer w.d.seen.forget(w.name)
	n, err = call(w.d, "write", w.name, func(string) (int, error) { return w.f.Write(data) })
	return n, w.d.explain(err, w.name, false)
}

// Sync does nothing where the server cannot.
func (w *file) Sync() error {
	if !w.d.f.syncs {
		return nil
	}
	return w.do("sync", w.f.Sync)
}

// explain finds out what a mere "Failure" of the server (SSH_FX_FAILURE, draft-
// ietf-secsh-filexfer-02, section 7) stands for, where that can be seen.
func (d *dir) explain(err error, name string, creates bool) error {
	var status *sftp.StatusError
	if err == nil || !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		return err
	}
	if creates {
		if _, lerr := d.Lstat(name); lerr == nil {
			return because(err, fs.ErrExist)
		}
	}
	const readOnly, least = 1, 64 << 10 // ST_RDONLY of statvfs(3); less than a certificate and a directory need
	vfs, verr := call(d, "statvfs", ".", func(full string) (*sftp.StatVFS, error) { return d.f.StatVFS(full) })
	switch {
	case verr != nil:
		return err
	case vfs.Flag&readOnly != 0:
		return because(err, syscall.EROFS)
	case vfs.Bavail*vfs.Frsize < least, vfs.Files > 0 && vfs.Favail == 0:
		return because(err, fmt.Errorf("%w (%d bytes and %d inodes are free)", syscall.ENOSPC, vfs.Bavail*vfs.Frsize, vfs.Favail))
	}
	return err
}

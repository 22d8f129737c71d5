package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/pkg/sftp"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// dir is an open directory: the path that it really has, for names to be put
// behind.
type dir struct {
	ctx  context.Context
	c    *conn
	f    *files
	path string
	end  func()
}

// OpenDir resolves the path on the host.
func (t *Transport) OpenDir(ctx context.Context, name string, create bool) (hosts.Dir, error) {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return nil, fmt.Errorf("open %q: not an absolute, clean path", name)
	}
	return retry(ctx, func() (hosts.Dir, error) {
		c, err := t.acquire(ctx)
		if err != nil {
			return nil, err
		}
		d := &dir{ctx: ctx, c: c, end: sync.OnceFunc(c.release)}
		if d.f, err = c.sftp(ctx); err == nil {
			err = d.open(path.Join("/", t.cfg.Root), name, create)
		}
		if err != nil {
			d.end()
			return nil, err
		}
		return d, nil
	})
}

func (d *dir) Close() error { d.end(); return nil }

// call makes one call to the server, within the client's timeout.
func call[T any](d *dir, op, name string, do func(full string) (T, error)) (T, error) {
	var none T
	if !fs.ValidPath(name) {
		return none, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	full := path.Join(d.path, name)
	v, err := ask(d, func() (T, error) { return do(full) })
	return v, pathError(op, full, err)
}

func ask[T any](d *dir, do func() (T, error)) (T, error) {
	ctx, cancel := d.c.t.client.limit(d.ctx)
	defer cancel()
	v, err := await(ctx, do, nil)
	if err == nil {
		return v, nil
	}
	if errors.Is(err, errSilent) || lost(err) {
		d.c.drop(d.f) // the next directory gets a session that answers
	}
	return v, d.c.broken(err)
}

type nothing = struct{}

func (d *dir) do(op, name string, do func(full string) error) error {
	_, err := call(d, op, name, func(full string) (nothing, error) { return nothing{}, do(full) })
	return err
}

// Mkdir: the server's umask gives the mode at first, so it is set before
// anything can be in the directory.
func (d *dir) Mkdir(name string) error {
	err := d.do("mkdir", name, func(full string) error {
		if err := d.f.Mkdir(full); err != nil {
			return err
		}
		return d.f.Chmod(full, 0o700)
	})
	return d.explain(err, name, true)
}

func (d *dir) Chmod(name string, mode fs.FileMode) error {
	err := d.do("chmod", name, func(full string) error {
		info, err := d.f.Lstat(full)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			err = errLink
		}
		if err != nil {
			return err
		}
		return d.f.Chmod(full, mode)
	})
	return d.explain(err, name, false)
}

var errLink = errors.New("is a symbolic link")

func (d *dir) ReadDir(name string) ([]string, error) {
	return call(d, "list", name, func(full string) ([]string, error) {
		infos, err := d.f.ReadDir(full)
		names := make([]string, 0, len(infos))
		for _, info := range infos {
			names = append(names, info.Name())
		}
		slices.Sort(names)
		return names, err
	})
}

func (d *dir) Lstat(name string) (hosts.Info, error) {
	return call(d, "lstat", name, func(full string) (hosts.Info, error) {
		info, err := d.f.Lstat(full)
		if err != nil {
			return hosts.Info{}, err
		}
		out := hosts.Info{Mode: info.Mode()}
		if st, ok := info.Sys().(*sftp.FileStat); ok {
			out.Owner = hosts.Owner{UID: int(st.UID), GID: int(st.GID)}
		}
		return out, nil
	})
}

func (d *dir) Readlink(name string) (string, error) {
	return call(d, "readlink", name, func(full string) (string, error) { return d.f.ReadLink(full) })
}

func (d *dir) Symlink(target, name string) error {
	return d.explain(d.do("symlink", name, func(full string) error { return d.f.Symlink(target, full) }), name, true)
}

func (d *dir) Rename(from, to string) error {
	if !fs.ValidPath(from) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrInvalid}
	}
	return d.explain(d.do("rename", to, func(full string) error { return d.f.PosixRename(path.Join(d.path, from), full) }), to, false)
}

func (d *dir) Remove(name string) error {
	return d.explain(d.do("remove", name, func(full string) error { return bare(d.f.Remove(full)) }), name, false)
}

// Sync syncs a directory through a handle on it, where the server has fsync
// and opens directories for reading, as OpenSSH's does.
func (d *dir) Sync(name string) error {
	if !d.f.syncs {
		return nil
	}
	return d.do("sync", name, func(full string) error {
		f, err := d.f.Open(full)
		var refused *sftp.StatusError
		if errors.As(err, &refused) {
			return nil // not this server
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

func (d *dir) ReadFile(name string, limit int64) ([]byte, error) {
	return call(d, "read", name, func(full string) ([]byte, error) {
		info, err := d.f.Lstat(full) // opening a pipe would hold up the whole session
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, errors.New("not a regular file")
		case info.Size() > limit:
			return nil, renewer.WithHint(fmt.Errorf("larger than %d bytes", limit), "this is no certificate, key or pid file; is the path right?")
		case info.Size() == 0: // or of a kind that does not tell, as in /proc
			return d.readAll(full, limit)
		}
		f, err := d.f.Open(full)
		if err != nil {
			return nil, err
		}
		data := make([]byte, info.Size())
		n, err := io.ReadFull(f, data)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil // it is shorter now
		}
		return data[:n], errors.Join(err, f.Close())
	})
}

func (d *dir) readAll(full string, limit int64) ([]byte, error) {
	f, err := d.f.Open(full)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return data, errors.Join(err, f.Close())
}

func (d *dir) Create(name string) (hosts.File, error) {
	f, err := call(d, "create", name, func(full string) (*sftp.File, error) {
		f, err := d.f.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil || d.private() {
			return f, err
		}
		if err := f.Chmod(0o600); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	})
	if err != nil {
		return nil, d.explain(err, name, true)
	}
	return &file{d, f, name}, nil
}

// private reports whether the server itself creates files for their owner
// alone: it does where it was started with -u 077.
func (d *dir) private() bool { return d.c.t.cfg.Sudo || d.c.t.cfg.SFTPServer != "" }

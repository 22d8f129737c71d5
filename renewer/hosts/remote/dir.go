package remote

import (
	"bytes"
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
	ctx  context.Context // ends with Close
	c    *conn
	f    *files
	path string
	seen *memory
	work sync.WaitGroup // what nobody waits for yet
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
		d := &dir{c: c, seen: newMemory()}
		var cancel context.CancelFunc
		d.ctx, cancel = context.WithCancel(ctx)
		d.end = sync.OnceFunc(func() { cancel(); d.work.Wait(); c.release() })
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

// do changes something.
func (d *dir) do(op, name string, do func(full string) error) error {
	defer d.seen.forget(name)
	_, err := call(d, op, name, func(full string) (nothing, error) { return nothing{}, do(full) })
	return err
}

// Mkdir: the server's umask gives the mode at first, so it is set before
// anything can be in the directory.
func (d *dir) Mkdir(name string) error {
	err := d.do("mkdir", name, func(full string) error {
		if err := d.f.Mkdir(full); err != nil || d.masked() {
			return err
		}
		return d.f.Chmod(full, 0o700)
	})
	if err == nil {
		d.seen.make(name)
	}
	return d.explain(err, name, true)
}

func (d *dir) Chmod(name string, mode fs.FileMode) error {
	if !d.seen.made(name) {
		i, err := d.lstat(name)
		if err == nil && i.Mode&fs.ModeSymlink != 0 {
			err = pathError("chmod", path.Join(d.path, name), errLink)
		}
		if err != nil {
			return err
		}
	}
	err := d.do("chmod", name, func(full string) error { return d.f.Chmod(full, mode) })
	return d.explain(err, name, false)
}

var errLink = errors.New("is a symbolic link")

func (d *dir) ReadDir(name string) ([]string, error) {
	names, err := remember(d.seen, d.seen.lists, name, func() ([]string, error) {
		age := d.seen.changes()
		found, err := call(d, "list", name, d.f.ReadDir)
		if err != nil {
			return nil, err
		}
		infos, names := map[string]info{}, make([]string, 0, len(found))
		for _, fi := range found {
			infos[fi.Name()] = about(fi)
			names = append(names, fi.Name())
		}
		d.seen.listed(name, infos, age)
		return names, nil
	})
	return slices.Clone(names), err
}

func about(fi fs.FileInfo) info {
	i := info{Info: hosts.Info{Mode: fi.Mode()}, size: fi.Size()}
	if st, ok := fi.Sys().(*sftp.FileStat); ok {
		i.Owner = hosts.Owner{UID: int(st.UID), GID: int(st.GID)}
	}
	return i
}

func (d *dir) Lstat(name string) (hosts.Info, error) {
	i, err := d.lstat(name)
	return i.Info, err
}

// lstat waits for the listing of the directory if that is under way.
func (d *dir) lstat(name string) (info, error) {
	d.seen.await(path.Dir(name))
	return d.lstatNow(name)
}

func (d *dir) lstatNow(name string) (info, error) {
	return remember(d.seen, d.seen.infos, name, func() (info, error) {
		if d.seen.missing(name) {
			return info{}, pathError("lstat", path.Join(d.path, name), fs.ErrNotExist)
		}
		fi, err := call(d, "lstat", name, d.f.Lstat)
		if err != nil {
			return info{}, err
		}
		return about(fi), nil
	})
}

func (d *dir) Readlink(name string) (string, error) {
	return remember(d.seen, d.seen.links, name, func() (string, error) { return call(d, "readlink", name, d.f.ReadLink) })
}

func (d *dir) Symlink(target, name string) error {
	return d.explain(d.do("symlink", name, func(full string) error { return d.f.Symlink(target, full) }), name, true)
}

func (d *dir) Rename(from, to string) error {
	if !fs.ValidPath(from) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrInvalid}
	}
	defer d.seen.forget(from)
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
	_, err := call(d, "sync", name, func(full string) (nothing, error) {
		f, err := d.f.Open(full)
		var refused *sftp.StatusError
		if errors.As(err, &refused) {
			return nothing{}, nil // not this server
		}
		if err != nil {
			return nothing{}, err
		}
		defer d.shut(f)
		return nothing{}, f.Sync()
	})
	return err
}

// shut closes a file that was only looked at, which nobody has to wait for.
func (d *dir) shut(f *sftp.File) {
	d.work.Go(func() { _, _ = ask(d, func() (nothing, error) { return nothing{}, f.Close() }) })
}

// ReadFile looks first: opening a pipe would hold up the whole session.
func (d *dir) ReadFile(name string, limit int64) ([]byte, error) {
	i, err := d.lstat(name)
	return d.readFile(name, limit, i, err)
}

func (d *dir) readFile(name string, limit int64, i info, err error) ([]byte, error) {
	switch {
	case err != nil:
		return nil, err
	case !i.Mode.IsRegular():
		return nil, pathError("read", path.Join(d.path, name), errors.New("not a regular file"))
	case i.size > limit:
		return nil, tooLarge(path.Join(d.path, name), limit)
	case i.size == 0, i.size > contentKept: // empty may mean that it does not tell, as in /proc
		return d.read(name, limit+1, limit)
	}
	data, err := remember(d.seen, d.seen.data, name, func() ([]byte, error) { return d.read(name, i.size, limit) })
	return bytes.Clone(data), err
}

// read reads up to most bytes.
func (d *dir) read(name string, most, limit int64) ([]byte, error) {
	data, err := call(d, "read", name, func(full string) ([]byte, error) {
		f, err := d.f.Open(full)
		if err != nil {
			return nil, err
		}
		data := make([]byte, most)
		defer d.shut(f)
		n, err := io.ReadFull(f, data)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return data[:n], err
	})
	if err == nil && int64(len(data)) > limit {
		return nil, tooLarge(path.Join(d.path, name), limit)
	}
	return data, err
}

func tooLarge(full string, limit int64) error {
	return renewer.WithHint(pathError("read", full, fmt.Errorf("larger than %d bytes", limit)), "this is no certificate, key or pid file; is the path right?")
}

func (d *dir) Create(name string) (hosts.File, error) {
	defer d.seen.forget(name)
	f, err := call(d, "create", name, func(full string) (*sftp.File, error) {
		f, err := d.f.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil || d.private(name) {
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

// private reports whether an empty file is for its owner alone without being
// told: the server was started with -u 077, or the directory is.
func (d *dir) private(name string) bool { return d.masked() || d.seen.made(path.Dir(name)) }

// masked reports whether the server was started with -u 077.
func (d *dir) masked() bool { return d.c.t.cfg.Sudo || d.c.t.cfg.SFTPServer != "" }

// Ahead asks for everything at once, and ends with the directory.
func (d *dir) Ahead(a hosts.Ahead) {
	for _, name := range a.Links {
		d.work.Go(func() { _, _ = d.Readlink(name) })
	}
	for _, name := range a.Infos {
		d.work.Go(func() { _, _ = d.lstat(name) })
	}
	for _, name := range a.Files {
		d.work.Go(func() {
			i, err := d.lstatNow(name) // a listing comes later
			_, _ = d.readFile(name, contentKept, i, err)
		})
	}
	for _, name := range a.Lists {
		d.work.Go(func() { _, _ = d.ReadDir(name) })
	}
}

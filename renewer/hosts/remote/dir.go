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
	ctx  context.Context
	c    *conn
	f    *files
	path string
	seen *memory
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
		d := &dir{ctx: ctx, c: c, seen: newMemory(), end: sync.OnceFunc(c.release)}
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
	names, err := look(d, "list", name, d.list)
	return slices.Clone(names), err
}

// look waits for what is asked about a name.
func look[T any](d *dir, op, name string, ask func(name string) *answer[T]) (T, error) {
	if !fs.ValidPath(name) {
		var none T
		return none, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	v, err := wait(d, ask(name))
	return v, pathError(op, path.Join(d.path, name), err)
}

func (d *dir) list(name string) *answer[[]string] {
	return remember(d, d.seen.lists, name, func() ([]string, error) {
		age := d.seen.changes()
		found, err := d.f.ReadDir(path.Join(d.path, name))
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
	if list := d.seen.list(path.Dir(name)); list != nil {
		_, _ = wait(d, list)
	}
	return look(d, "lstat", name, d.info)
}

func (d *dir) info(name string) *answer[info] {
	if d.seen.missing(name) {
		return known(info{}, fs.ErrNotExist)
	}
	return remember(d, d.seen.infos, name, func() (info, error) {
		fi, err := d.f.Lstat(path.Join(d.path, name))
		if err != nil {
			return info{}, err
		}
		return about(fi), nil
	})
}

func (d *dir) Readlink(name string) (string, error) { return look(d, "readlink", name, d.link) }

func (d *dir) link(name string) *answer[string] {
	return remember(d, d.seen.links, name, func() (string, error) { return d.f.ReadLink(path.Join(d.path, name)) })
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
func (d *dir) shut(f *sftp.File) { d.f.calls.run(func() { _ = f.Close() }) }

// ReadFile looks first: opening a pipe would hold up the whole session.
func (d *dir) ReadFile(name string, limit int64) ([]byte, error) {
	i, err := d.lstat(name)
	if err != nil {
		return nil, err
	}
	return d.content(name, i, limit)
}

// content reads what was looked at.
func (d *dir) content(name string, i info, limit int64) ([]byte, error) {
	full := path.Join(d.path, name)
	switch {
	case !i.Mode.IsRegular():
		return nil, pathError("read", full, errors.New("not a regular file"))
	case i.size > limit:
		return nil, tooLarge(full, limit)
	case i.size == 0, i.size > contentKept: // empty may mean that it does not tell, as in /proc
		data, err := call(d, "read", name, func(full string) ([]byte, error) { return d.read(full, limit+1) })
		if err == nil && int64(len(data)) > limit {
			return nil, tooLarge(full, limit)
		}
		return data, err
	}
	data, err := look(d, "read", name, func(string) *answer[[]byte] {
		return remember(d, d.seen.data, name, func() ([]byte, error) { return d.read(full, i.size) })
	})
	return bytes.Clone(data), err
}

// read reads up to most bytes.
func (d *dir) read(full string, most int64) ([]byte, error) {
	f, err := d.f.Open(full)
	if err != nil {
		return nil, err
	}
	defer d.shut(f)
	data := make([]byte, most)
	n, err := io.ReadFull(f, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return data[:n], err
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

// Ahead asks for everything at once. The names are those of who looks later,
// and checked then.
func (d *dir) Ahead(a hosts.Ahead) {
	for _, name := range a.Links {
		d.link(name)
	}
	for _, name := range a.Infos {
		d.info(name)
	}
	for _, name := range a.Files {
		d.f.calls.run(func() {
			if i, err := wait(d, d.info(name)); err == nil { // a listing would come later
				_, _ = d.content(name, i, contentKept)
			}
		})
	}
	for _, name := range a.Lists {
		d.list(name)
	}
}

package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"

	"renewer/internal/sftp"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// dir is an open directory: the path that it really has, for names to be put
// behind.
type dir struct {
	ctx  context.Context
	c    *conn
	as   rights // what is done in it is done with these
	f    *files // the session with them
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
		if d.f, err = c.sftp(ctx, t.rights()); err == nil {
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
func (d *dir) do(op, name string, do func(ctx context.Context, full string) error) error {
	defer d.seen.forget(name)
	_, err := call(d, op, name, func(ctx context.Context, full string) (nothing, error) { return nothing{}, do(ctx, full) })
	return err
}

// Mkdir: OpenSSH's server makes it with the mode that it is asked for.
func (d *dir) Mkdir(name string) error {
	const private = 0o700
	var made info
	err := d.do("mkdir", name, func(ctx context.Context, full string) error {
		i, err := d.f.Mkdir(ctx, full, private)
		made = about(i)
		if err != nil || made.Mode.Perm() == private {
			return err
		}
		if d.as == asRoot || !made.Mode.IsDir() {
			return misconfigured(fmt.Errorf("the SFTP server made it with mode %04o instead of 0700", made.Mode.Perm()), "use OpenSSH's SFTP server: set sftp_server:")
		}
		made.Mode = fs.ModeDir | private
		return d.f.Chmod(ctx, full, private)
	})
	if err == nil {
		d.seen.is(name, made)
	}
	return d.explain(err, name, true)
}

func (d *dir) Chmod(name string, mode fs.FileMode) error {
	i, err := d.lstat(name)
	if err == nil && i.Mode&fs.ModeSymlink != 0 {
		err = pathError("chmod", path.Join(d.path, name), errLink)
	}
	if err != nil {
		return err
	}
	err = d.do("chmod", name, func(ctx context.Context, full string) error { return d.f.Chmod(ctx, full, mode) })
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
	return remember(d, d.seen.lists, name, func(ctx context.Context) ([]string, error) {
		age := d.seen.changes()
		found, err := d.f.List(ctx, path.Join(d.path, name))
		if errors.Is(err, sftp.ErrTooMany) {
			err = misconfigured(fmt.Errorf("%w: more than %d names", err, sftp.EntriesLimit), "give the certificates a directory of their own: dir:")
		}
		if err != nil {
			return nil, err
		}
		infos, names := map[string]info{}, make([]string, 0, len(found))
		for _, e := range found {
			infos[e.Name] = about(e.Info)
			names = append(names, e.Name)
		}
		d.seen.listed(name, infos, age)
		return names, nil
	})
}

func about(i sftp.Info) info {
	return info{Info: hosts.Info{Mode: i.Mode, Owner: hosts.Owner{UID: int(i.UID), GID: int(i.GID)}}, size: int64(min(i.Size, 1<<62))}
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
	return remember(d, d.seen.infos, name, func(ctx context.Context) (info, error) {
		i, err := d.f.Lstat(ctx, path.Join(d.path, name))
		return about(i), err
	})
}

func (d *dir) Readlink(name string) (string, error) { return look(d, "readlink", name, d.link) }

func (d *dir) link(name string) *answer[string] {
	return remember(d, d.seen.links, name, func(ctx context.Context) (string, error) { return d.f.ReadLink(ctx, path.Join(d.path, name)) })
}

func (d *dir) Symlink(target, name string) error {
	return d.explain(d.do("symlink", name, func(ctx context.Context, full string) error { return d.f.Symlink(ctx, target, full) }), name, true)
}

func (d *dir) Rename(from, to string) error {
	if !fs.ValidPath(from) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrInvalid}
	}
	defer d.seen.forget(from)
	return d.explain(d.do("rename", to, func(ctx context.Context, full string) error {
		return d.f.Rename(ctx, path.Join(d.path, from), full)
	}), to, false)
}

func (d *dir) Remove(name string) error {
	isDir := false
	if i, err := d.lstat(name); err == nil {
		isDir = i.Mode.IsDir()
	}
	return d.explain(d.do("remove", name, func(ctx context.Context, full string) error {
		if isDir {
			return d.f.Rmdir(ctx, full)
		}
		return d.f.Remove(ctx, full)
	}), name, false)
}

// Sync syncs a directory through a handle on it, where the server has fsync
// and opens directories for reading, as OpenSSH's does.
func (d *dir) Sync(name string) error {
	if !d.f.syncs {
		return nil
	}
	_, err := call(d, "sync", name, func(ctx context.Context, full string) (nothing, error) {
		f, err := d.f.Open(ctx, full, sftp.Read)
		var refused *sftp.StatusError
		if errors.As(err, &refused) && refused.Code != sftp.CodeNoSuchFile {
			return nothing{}, nil // not this server
		}
		if err != nil {
			return nothing{}, err
		}
		defer f.Forget()
		return nothing{}, f.Sync(ctx)
	})
	return err
}

// ReadFile looks first: opening a pipe would hold up the whole session.
func (d *dir) ReadFile(name string, limit int64) (hosts.Info, []byte, error) {
	i, err := d.lstat(name)
	if err != nil {
		return hosts.Info{}, nil, err
	}
	c, err := d.content(name, i, limit)
	return c.info, bytes.Clone(c.data), err
}

// content reads what was looked at.
func (d *dir) content(name string, i info, limit int64) (content, error) {
	full := path.Join(d.path, name)
	switch {
	case !i.Mode.IsRegular():
		return content{}, pathError("read", full, errNotRegular)
	case i.size > limit:
		return content{}, tooLarge(full, limit)
	case i.size == 0, i.size > contentKept: // empty may mean that it does not tell, as in /proc
		c, err := call(d, "read", name, func(ctx context.Context, full string) (content, error) { return d.read(ctx, full, limit+1) })
		if err == nil && int64(len(c.data)) > limit {
			return content{}, tooLarge(full, limit)
		}
		return c, err
	}
	return look(d, "read", name, func(string) *answer[content] {
		return remember(d, d.seen.data, name, func(ctx context.Context) (content, error) { return d.read(ctx, full, i.size) })
	})
}

// read reads up to most bytes of what it opens.
func (d *dir) read(ctx context.Context, full string, most int64) (content, error) {
	f, err := d.f.Open(ctx, full, sftp.Read)
	if errors.Is(err, fs.ErrPermission) && d.as != d.c.t.rights() {
		return d.readForeign(ctx, full, int(most))
	}
	if err != nil {
		return content{}, err
	}
	defer f.Forget()
	i, data, err := f.ReadAll(ctx, int(most))
	if err == nil && !i.Mode.IsRegular() {
		err = errNotRegular
	}
	return content{about(i).Info, data}, err
}

func tooLarge(full string, limit int64) error {
	return renewer.WithHint(pathError("read", full, fmt.Errorf("larger than %d bytes", limit)), "this is no certificate, key or pid file; is the path right?")
}

// Create makes all files in one go.
func (d *dir) Create(made ...hosts.File) error {
	var own, foreign []sftp.NewFile
	for _, f := range made {
		if !fs.ValidPath(f.Name) {
			return &fs.PathError{Op: "create", Path: f.Name, Err: fs.ErrInvalid}
		}
		defer d.seen.forget(f.Name)
		n := sftp.NewFile{Name: path.Join(d.path, f.Name), UID: f.Owner.UID, GID: f.Owner.GID, Mode: f.Mode, Data: f.Data}
		if d.as != d.c.t.rights() && asUser(f.Owner.UID) != d.as {
			foreign = append(foreign, n)
		} else {
			own = append(own, n)
		}
	}
	_, err := ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.f.Create(ctx, own, d.f.syncs) })
	for _, f := range foreign {
		if err == nil {
			_, err = ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.createForeign(ctx, f) })
			err = pathError("create", f.Name, err)
		}
	}
	return d.explain(err, made[0].Name, d.takesNew(err))
}

// takesNew reports whether an error is about making a file, and not about what
// came after that.
func (d *dir) takesNew(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && p.Op == "create"
}

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

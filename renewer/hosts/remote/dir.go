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
	"time"

	"renewer/internal/sftp"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// dir is an open directory: the path that it really has, for names to be put
// behind.
type dir struct {
	ctx   context.Context
	c     *conn
	as    rights // what is done in it is done with these
	f     *files // the session with them
	asked string // the path that it was opened by
	path  string
	seen  *memory
	end   func()
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
		d := &dir{ctx: ctx, c: c, asked: name, seen: newMemory()}
		d.end = sync.OnceFunc(func() {
			if d.f != nil {
				c.unused(d.f)
			}
			c.release()
		})
		have, known := c.wayTo(name)
		if d.path, d.as = have.path, have.as; !known {
			d.as = t.rights()
		}
		if d.f, err = c.sftp(ctx, d.as); err == nil && !known {
			err = d.open(path.Join("/", t.cfg.Root), name, create)
		}
		if err == nil && !known {
			c.keepWay(name, way{d.path, d.as, time.Now()})
		}
		if err != nil {
			d.end()
			return nil, err
		}
		return d, nil
	})
}

func (d *dir) Close() error {
	d.seen.letGo()
	d.end()
	return nil
}

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
		if !made.Mode.IsDir() {
			return errNotDirectory
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

var errNotDirectory = errors.New("not a directory")

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

// Link goes through a name that nobody else uses, so all of it can be sent at
// once: where the link cannot be made, there is nothing to be renamed.
func (d *dir) Link(target, temp, name string) error {
	if !fs.ValidPath(temp) {
		return &fs.PathError{Op: "link", Path: temp, Err: fs.ErrInvalid}
	}
	defer d.seen.forget(temp)
	parent := d.parent(name)
	return d.explain(d.do("link", name, func(ctx context.Context, full string) error {
		return d.f.Link(ctx, target, path.Join(d.path, temp), full, parent)
	}), name, false)
}

func (d *dir) Rename(from, to string) error {
	if !fs.ValidPath(from) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrInvalid}
	}
	parent := d.parent(to)
	_, err := call(d, "rename", to, func(ctx context.Context, full string) (nothing, error) {
		return nothing{}, d.f.Rename(ctx, path.Join(d.path, from), full, parent)
	})
	if err != nil {
		d.seen.forget(from)
		d.seen.forget(to)
		return d.explain(err, to, false)
	}
	d.seen.move(from, to)
	return nil
}

func (d *dir) Remove(names ...string) error {
	var gone []sftp.Gone
	for _, name := range names {
		i, err := d.lstat(name)
		if err != nil {
			return pathError("remove", path.Join(d.path, name), bare(err))
		}
		gone = append(gone, sftp.Gone{Name: path.Join(d.path, name), Dir: i.Mode.IsDir()})
		defer d.seen.forget(name)
	}
	if len(names) == 0 {
		return nil
	}
	_, err := ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.f.Remove(ctx, gone...) })
	last := names[len(names)-1]
	return d.explain(pathError("remove", path.Join(d.path, last), err), last, false)
}

// bare is an error without the path, which is told once.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Fill needs three journeys, but step by step where there are files that the
// session's user may not make, or directories that the server makes as it likes.
func (d *dir) Fill(name string, mode fs.FileMode, files ...hosts.File) ([]hosts.File, error) {
	defer d.seen.forget(name)
	own := make([]sftp.NewFile, 0, len(files))
	for _, f := range files {
		if below := path.Join(name, f.Name); !fs.ValidPath(below) || path.Dir(below) != name {
			return nil, &fs.PathError{Op: "create", Path: below, Err: fs.ErrInvalid}
		}
		if d.foreign(f) {
			return hosts.Fill(d, name, mode, files)
		}
		own = append(own, sftp.NewFile{Name: path.Join(d.path, name, f.Name), UID: f.Owner.UID, GID: f.Owner.GID, Mode: f.Mode, Data: f.Data})
	}
	found, err := ask(d, func(ctx context.Context) ([]sftp.Found, error) {
		return d.f.Fill(ctx, path.Join(d.path, name), mode, own, d.f.syncs)
	})
	if errors.Is(err, sftp.ErrMode) {
		d.seen.forget(name)
		if err := d.Remove(d.below(name)...); err != nil {
			return nil, err
		}
		return hosts.Fill(d, name, mode, files)
	}
	if err != nil {
		return nil, d.explain(err, name, d.takesNew(err))
	}
	out := make([]hosts.File, 0, len(found))
	for _, f := range found {
		i := about(f.Info)
		out = append(out, hosts.File{Name: path.Base(f.Name), Mode: i.Mode.Perm(), Owner: i.Owner, Data: f.Data})
	}
	return out, nil
}

// below are a directory's names, and it.
func (d *dir) below(name string) (out []string) {
	names, _ := d.ReadDir(name) // where that cannot be read, it is not removed
	for _, n := range names {
		out = append(out, path.Join(name, n))
	}
	return append(out, name)
}

// Sync syncs a directory through a handle on it, where the server has fsync
// and opens directories for reading, as OpenSSH's does.
func (d *dir) Sync(name string) error {
	h, err := wait(d, d.handle(name))
	if err != nil {
		return pathError("sync", path.Join(d.path, name), err)
	}
	if h == nil {
		return nil
	}
	_, err = call(d, "sync", name, func(ctx context.Context, _ string) (nothing, error) { return nothing{}, h.Sync(ctx) })
	return err
}

// parent is the handle of the directory that a name is in; nil for none.
func (d *dir) parent(name string) *sftp.File {
	h, _ := wait(d, d.handle(path.Dir(name))) // what is to be changed there says what is wrong
	return h
}

// handle opens a directory to be synced; it stays open with this one. nil: this
// server does not.
func (d *dir) handle(name string) *answer[*sftp.File] {
	if !d.f.syncs {
		return known[*sftp.File](nil, nil)
	}
	return remember(d, d.seen.handles, name, func(ctx context.Context) (*sftp.File, error) {
		f, err := d.f.Open(ctx, path.Join(d.path, name), sftp.Read)
		var refused *sftp.StatusError
		if errors.As(err, &refused) && refused.Code != sftp.CodeNoSuchFile {
			return nil, nil
		}
		return f, err
	})
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
		if d.foreign(f) {
			foreign = append(foreign, n)
		} else {
			own = append(own, n)
		}
	}
	_, err := ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.f.Create(ctx, own, d.f.syncs) })
	for len(foreign) > 0 && err == nil {
		at := path.Dir(foreign[0].Name)
		same := slices.IndexFunc(foreign, func(f sftp.NewFile) bool { return path.Dir(f.Name) != at })
		if same < 0 {
			same = len(foreign)
		}
		now := foreign[:same]
		foreign = foreign[same:]
		_, err = ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.createForeign(ctx, now) })
		err = pathError("create", now[0].Name, bare(err))
	}
	return d.explain(err, made[0].Name, d.takesNew(err))
}

// foreign reports whether a file is to belong to another user than all that the
// session makes.
func (d *dir) foreign(f hosts.File) bool {
	return d.as != d.c.t.rights() && asUser(f.Owner.UID) != d.as
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
	for _, name := range a.Syncs {
		d.handle(name)
	}
}

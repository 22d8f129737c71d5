package remote

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

var (
	errNotDirectory = errors.New("not a directory")
	errLink         = errors.New("is a symbolic link")
)

// Mkdir: OpenSSH's server makes it with the mode that it is asked for.
func (d *dir) Mkdir(name string) error {
	const private = fs.ModeDir | 0o700
	i, err := d.mkdir(name, private)
	switch {
	case err != nil || i.Mode == private:
	case !i.Mode.IsDir():
		err = pathError("mkdir", path.Join(d.path, name), errNotDirectory)
	default:
		i.Mode, err = private, d.chmod(name, private)
	}
	if err == nil {
		keep(d.seen, d.seen.infos, name, i, nil)
	}
	return d.explain(err, name, true)
}

// mkdir makes a directory and tells what there is then, also where it was not made.
func (d *dir) mkdir(name string, mode fs.FileMode) (i info, err error) {
	defer d.seen.forget(name)
	return call(d, "mkdir", name, func(ctx context.Context, full string) (info, error) {
		b := d.batch()
		made, look := b.Mkdir(full, mode), b.Lstat(full)
		_ = b.Send() // Get tells
		_, err := made.Get(ctx)
		i, lerr := look.Get(ctx)
		if err == nil {
			err = lerr
		}
		return about(i), err
	})
}

func (d *dir) Chmod(name string, mode fs.FileMode) error {
	i, err := d.lstat(name)
	if err == nil && i.Mode&fs.ModeSymlink != 0 {
		err = pathError("chmod", path.Join(d.path, name), errLink)
	}
	if err != nil {
		return err
	}
	return d.explain(d.chmod(name, mode), name, false)
}

func (d *dir) chmod(name string, mode fs.FileMode) error {
	defer d.seen.forget(name)
	return d.change("chmod", name, func(b *sftp.Batch, full string) []sftp.Reply[nothing] {
		return []sftp.Reply[nothing]{b.Chmod(full, mode)}
	})
}

// Link goes through a name that no one else uses, so all of it can be sent at
// once: where the link cannot be made, there is nothing to be renamed.
func (d *dir) Link(target, temp, name string) error {
	if !fs.ValidPath(temp) {
		return &fs.PathError{Op: "link", Path: temp, Err: fs.ErrInvalid}
	}
	parent := d.parent(name)
	err := d.change("link", name, func(b *sftp.Batch, full string) []sftp.Reply[nothing] {
		at := path.Join(d.path, temp)
		return d.synced(b, parent, b.Symlink(target, at), b.Rename(at, full))
	})
	if err != nil {
		d.seen.forget(temp)
		d.seen.forget(name)
		return d.explain(err, name, false)
	}
	d.seen.put(name)
	keep(d.seen, d.seen.links, name, target, nil)
	return nil
}

func (d *dir) Rename(from, to string) error {
	if !fs.ValidPath(from) {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrInvalid}
	}
	parent := d.parent(to)
	err := d.change("rename", to, func(b *sftp.Batch, full string) []sftp.Reply[nothing] {
		return d.synced(b, parent, b.Rename(path.Join(d.path, from), full))
	})
	if err != nil {
		d.seen.forget(from)
		d.seen.forget(to)
		return d.explain(err, to, false)
	}
	d.seen.move(from, to)
	return nil
}

// synced has what was changed in a directory on disk.
func (d *dir) synced(b *sftp.Batch, parent *sftp.File, changes ...sftp.Reply[nothing]) []sftp.Reply[nothing] {
	if parent != nil {
		changes = append(changes, b.Sync(parent))
	}
	return changes
}

func (d *dir) Remove(names ...string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if _, err := d.lstat(name); err != nil {
			return pathError("remove", path.Join(d.path, name), bare(err))
		}
	}
	last := names[len(names)-1]
	err := d.change("remove", last, func(b *sftp.Batch, _ string) (all []sftp.Reply[nothing]) {
		for _, name := range names {
			i, _ := d.lstat(name)
			if full := path.Join(d.path, name); i.Mode.IsDir() {
				all = append(all, b.Rmdir(full))
			} else {
				all = append(all, b.Remove(full))
			}
		}
		return all
	})
	for _, name := range names {
		d.seen.forget(name)
	}
	return d.explain(err, last, false)
}

// Discard sends all of it at once, for files of the names that are likely; others
// are looked for where the directory is not empty then. Where the link cannot be put
// into the directory, it is in the way of what follows.
func (d *dir) Discard(name, temp, gone string, likely []string) error {
	for _, n := range append([]string{name, temp, gone}, likely...) {
		if !fs.ValidPath(n) {
			return &fs.PathError{Op: "remove", Path: n, Err: fs.ErrInvalid}
		}
	}
	if t, known := lookUp(d.seen, d.seen.lists, name); known && t.err == nil {
		likely = t.value
	}
	var linked, renamed, removed sftp.Reply[nothing]
	failed, err := call(d, "remove", name, func(ctx context.Context, full string) (failed error, err error) {
		at, b := path.Join(d.path, temp), d.batch()
		b.Symlink(name, at)
		linked = b.Rename(at, path.Join(full, gone))
		renamed = b.Rename(full, at)
		for _, f := range slices.Concat(likely, []string{gone}) {
			b.Remove(path.Join(at, f))
		}
		removed = b.Rmdir(at)
		_ = b.Send() // Get tells
		if _, err = linked.Get(ctx); err == nil {
			_, err = renamed.Get(ctx)
		}
		_, failed = removed.Get(ctx)
		if err == nil {
			err = fatalOnly(failed)
		}
		return failed, err
	})
	d.seen.forget(name)
	d.seen.forget(temp)
	if err == nil && failed != nil {
		return hosts.RemoveAll(d, temp)
	}
	return d.explain(err, name, false)
}

// bare is an error without the path, which is reported once.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Sync syncs a directory through a handle on it, where the server has fsync
// and opens directories for reading, as OpenSSH's does.
func (d *dir) Sync(name string) error {
	h, err := d.handle(name)
	if err != nil || h == nil {
		return pathError("sync", path.Join(d.path, name), err)
	}
	_, err = one(d, "sync", name, func(b *sftp.Batch, _ string) sftp.Reply[nothing] { return b.Sync(h) })
	return err
}

// parent is the handle of the directory that a name is in; nil for none.
func (d *dir) parent(name string) *sftp.File {
	h, _ := d.handle(path.Dir(name)) // what is to be changed there says what is wrong
	return h
}

// handle opens a directory to be synced; it stays open. nil: this server does not.
func (d *dir) handle(name string) (*sftp.File, error) {
	if !d.f.syncs {
		return nil, nil
	}
	if h := d.seen.handles[name]; h != nil {
		return h, nil
	}
	f, err := one(d, "open", name, func(b *sftp.Batch, full string) sftp.Reply[*sftp.File] { return b.Open(full+"/.", sftp.Read) })
	var refused *sftp.StatusError
	if errors.As(err, &refused) && refused.Code != sftp.CodeNoSuchFile {
		return nil, nil
	}
	if err == nil {
		d.seen.handles[name] = f
	}
	return f, bare(err)
}

package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"renewer/internal/sftp"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

var errNotRegular = errors.New("not a regular file")

func (d *dir) ReadDir(name string) ([]string, error) {
	if t, ok := lookUp(d.seen, d.seen.lists, name); ok {
		return slices.Clone(t.value), pathError("list", path.Join(d.path, name), t.err)
	}
	found, err := call(d, "list", name, d.f.ReadDir)
	if errors.Is(err, sftp.ErrTooMany) {
		return nil, tooMany(err)
	}
	if err != nil {
		keep(d.seen, d.seen.lists, name, nil, bare(err))
		return nil, err
	}
	found = slices.DeleteFunc(found, func(e sftp.Entry) bool { return d.begun.At(path.Join(d.path, name, e.Name)) })
	return d.seen.listed(name, found), nil
}

func tooMany(err error) error {
	return misconfigured(fmt.Errorf("%w: more than %d names", err, sftp.EntriesLimit), "use a separate directory for the certificates: set dir:")
}

func (d *dir) Lstat(name string) (hosts.Info, error) {
	i, err := d.lstat(name)
	return i.Info, err
}

func (d *dir) lstat(name string) (info, error) {
	if t, ok := lookUp(d.seen, d.seen.infos, name); ok {
		return t.value, pathError("lstat", path.Join(d.path, name), t.err)
	}
	if fs.ValidPath(name) && (d.seen.missing(name) || d.begun.At(path.Join(d.path, name))) { // what is begun has no other user
		return info{}, pathError("lstat", path.Join(d.path, name), fs.ErrNotExist)
	}
	i, err := one(d, "lstat", name, (*sftp.Batch).Lstat)
	keep(d.seen, d.seen.infos, name, about(i), bare(err))
	return about(i), err
}

func (d *dir) Readlink(name string) (string, error) {
	if t, ok := lookUp(d.seen, d.seen.links, name); ok {
		return t.value, pathError("readlink", path.Join(d.path, name), t.err)
	}
	target, err := one(d, "readlink", name, (*sftp.Batch).ReadLink)
	keep(d.seen, d.seen.links, name, target, bare(err))
	return target, err
}

// ReadFile looks first: opening a pipe would hold up the whole session.
func (d *dir) ReadFile(name string, limit int64) (hosts.Info, []byte, error) {
	i, err := d.lstat(name)
	if err != nil {
		return hosts.Info{}, nil, err
	}
	full := path.Join(d.path, name)
	if !i.Mode.IsRegular() {
		return hosts.Info{}, nil, pathError("read", full, errNotRegular)
	}
	d.seen.mu.Lock()
	c, ok := d.seen.data[name]
	d.seen.mu.Unlock()
	if !ok && i.size <= limit {
		c, err = call(d, "read", name, func(ctx context.Context, full string) (content, error) { return d.read(ctx, full, limit+1) })
		if err == nil && len(c.data) <= contentKept {
			d.seen.mu.Lock()
			d.seen.data[name] = c
			d.seen.mu.Unlock()
		}
	}
	if err == nil && max(i.size, int64(len(c.data))) > limit {
		return hosts.Info{}, nil, tooLarge(full, limit)
	}
	return c.info, bytes.Clone(c.data), err
}

// read reads up to most bytes of what it opens.
func (d *dir) read(ctx context.Context, full string, most int64) (content, error) {
	i, data, err := d.f.ReadAll(ctx, full, int(most))
	if errors.Is(err, fs.ErrPermission) && d.as != d.c.t.rights() {
		return d.readForeign(ctx, full, int(most))
	}
	if err == nil && !i.Mode.IsRegular() {
		err = errNotRegular
	}
	return content{about(i).Info, data}, err
}

func tooLarge(full string, limit int64) error {
	return renewer.WithHint(pathError("read", full, fmt.Errorf("larger than %d bytes", limit)), "too large for a certificate, key or pid file: check the path")
}

func (d *dir) Room() (renewer.Room, error) {
	room, err := one(d, "statvfs", ".", (*sftp.Batch).Room)
	return renewer.Room{Free: room.Free, Used: room.Used}, err
}

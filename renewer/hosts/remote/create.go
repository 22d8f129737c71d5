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

// Create makes all files in one go.
func (d *dir) Create(made ...hosts.File) error {
	var own, foreign []sftp.NewFile
	for _, f := range made {
		if !fs.ValidPath(f.Name) {
			return &fs.PathError{Op: "create", Path: f.Name, Err: fs.ErrInvalid}
		}
		defer d.seen.forget(f.Name)
		if n := d.new(f.Name, f); d.foreign(f.Owner) {
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
	return d.explain(err, made[0].Name, takesNew(err))
}

func (d *dir) new(name string, f hosts.File) sftp.NewFile {
	return sftp.NewFile{Name: path.Join(d.path, name), UID: f.Owner.UID, GID: f.Owner.GID, Mode: f.Mode, Data: f.Data}
}

// foreign reports whether a file is to belong to another user than all that the
// session makes.
func (d *dir) foreign(owner hosts.Owner) bool {
	return d.as != d.c.t.rights() && asUser(owner.UID) != d.as
}

// takesNew reports whether an error is about making a file, and not about what
// came after that.
func takesNew(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && p.Op == "create"
}

// Publish needs three journeys, but step by step where there are files that the
// session's user may not make, or directories that the server makes as it likes.
func (d *dir) Publish(temp, name string, mode fs.FileMode, files ...hosts.File) error {
	r := sftp.Revision{Temp: path.Join(d.path, temp), Name: path.Join(d.path, name), Mode: mode}
	for _, f := range files {
		below := path.Join(temp, f.Name)
		if !fs.ValidPath(below) || path.Dir(below) != temp || !fs.ValidPath(name) {
			return &fs.PathError{Op: "create", Path: below, Err: fs.ErrInvalid}
		}
		if d.foreign(f.Owner) {
			return hosts.Publish(d, temp, name, mode, files)
		}
		r.Files = append(r.Files, d.new(below, f))
	}
	r.Sync, r.Parent = d.f.syncs, d.parent(name)
	begun := d.begun
	if begun.Of(r) {
		d.begun = nil
	} else {
		begun = nil
	}
	_, err := ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.f.Publish(ctx, r, begun) })
	if errors.Is(err, sftp.ErrMode) {
		d.seen.forget(temp)
		if err := hosts.RemoveAll(d, temp); err != nil {
			return err
		}
		return hosts.Publish(d, temp, name, mode, files)
	}
	if err != nil {
		d.seen.forget(temp)
		d.seen.forget(name)
		return d.explain(err, temp, takesNew(err))
	}
	d.published(name, mode, files)
	return nil
}

// published remembers what was just read back.
func (d *dir) published(name string, mode fs.FileMode, files []hosts.File) {
	d.seen.put(name)
	keep(d.seen, d.seen.infos, name, info{Info: hosts.Info{Mode: fs.ModeDir | mode.Perm()}}, nil)
	names := []string{}
	for _, f := range files {
		names = append(names, f.Name)
		full, i := path.Join(name, f.Name), hosts.Info{Mode: f.Mode.Perm(), Owner: f.Owner}
		keep(d.seen, d.seen.infos, full, info{i, int64(len(f.Data))}, nil)
		if len(f.Data) <= contentKept {
			d.seen.data[full] = content{i, f.Data}
		}
	}
	keep(d.seen, d.seen.lists, name, names, nil)
}

package remote

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

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
	if d.notTheirs(err, own) { // all of them were made
		var again []string
		for _, f := range own {
			name := strings.TrimPrefix(f.Name, d.path+"/")
			d.seen.forget(name)
			again = append(again, name)
		}
		if err := d.Remove(again...); err != nil {
			return err
		}
		return d.Create(made...)
	}
	for len(foreign) > 0 && err == nil {
		at := path.Dir(foreign[0].Name)
		same := slices.IndexFunc(foreign, func(f sftp.NewFile) bool { return path.Dir(f.Name) != at })
		if same < 0 {
			same = len(foreign)
		}
		now := foreign[:same]
		foreign = foreign[same:]
		_, err = ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.createForeign(ctx, now) })
		if filled := (*fs.PathError)(nil); !errors.As(err, &filled) {
			err = pathError("create", now[0].Name, err)
		}
	}
	return d.explain(err, made[0].Name, takesNew(err))
}

func (d *dir) new(name string, f hosts.File) sftp.NewFile {
	return sftp.NewFile{Name: path.Join(d.path, name), UID: f.Owner.UID, GID: f.Owner.GID, Mode: f.Mode, Data: f.Data}
}

// foreign reports whether a file is to belong to another user than all that the
// session makes, or to a group that this user may not give it to.
func (d *dir) foreign(owner hosts.Owner) bool {
	if d.as == d.c.t.rights() {
		return false
	}
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	return asUser(owner.UID) != d.as || d.c.notOf[member{d.as, owner.GID}]
}

// member is a user and a group.
type member struct {
	user rights
	gid  int
}

// notTheirs notes the group of a file that the session's user may not give it to, as
// only its members may: root has to.
func (d *dir) notTheirs(err error, files []sftp.NewFile) bool {
	var p *fs.PathError
	if d.as == d.c.t.rights() || !errors.As(err, &p) || p.Op != "chown" || !errors.Is(err, fs.ErrPermission) {
		return false
	}
	n := slices.IndexFunc(files, func(f sftp.NewFile) bool { return f.Name == p.Path })
	if n < 0 {
		return false
	}
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	key := member{d.as, files[n].GID}
	known := d.c.notOf[key]
	d.c.notOf[key] = true
	return !known
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
	if errors.Is(err, sftp.ErrMode) || d.notTheirs(err, r.Files) {
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

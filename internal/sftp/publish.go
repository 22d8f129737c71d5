package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// Revision is a directory of files that is to be there whole, or not at all.
type Revision struct {
	Temp, Name string // Temp, which no one else uses, gets Name
	Mode       fs.FileMode
	Files      []NewFile // below Temp
	Sync       bool      // all of it is to be on disk
	Parent     *File     // what Name lies in, to be synced; may be nil
}

// ErrMode says that the server made a directory with another mode than it was
// asked for.
var ErrMode = errors.New("the server changes the modes of directories")

// Publish makes a directory for its owner alone, and files in it as Create does;
// looks at what is there then, through what was opened; and gives the directory its
// mode and its name. Three journeys in all, the first of them not where it was begun
// before (nil: it was not). An error may leave the directory under Temp.
func (c *Client) Publish(ctx context.Context, r Revision, begun *Beginning) error {
	if begun == nil {
		b := c.Batch()
		begun = b.Begin(r.Temp, r.names())
		_ = b.Send() // Get tells
	}
	open, err := begun.opened(ctx)
	if err == nil {
		err = c.complete(ctx, r, open)
	}
	b := c.Batch()
	for _, f := range open.all() {
		b.Close(f)
	}
	if err != nil {
		_ = b.Send() // nothing hangs on it
		return err
	}
	steps := []step{{"chmod", r.Temp, b.Chmod(r.Temp, r.Mode)}, {"rename", r.Name, b.Rename(r.Temp, r.Name)}}
	if r.Parent != nil && r.Sync {
		steps = append(steps, step{"sync", path.Dir(r.Name), b.Sync(r.Parent)})
	}
	_ = b.Send() // did tells
	return did(ctx, steps)
}

func (r Revision) names() (names []string) {
	for _, f := range r.Files {
		names = append(names, f.Name)
	}
	return names
}

// Beginning is a new directory with empty files, asked for.
type Beginning struct {
	temp      string
	names     []string
	mkdir     Reply[None]
	look      Reply[Info]
	files     []Reply[*File]
	list, dir Reply[*File]
}

// Begin asks for what Publish begins with.
func (b *Batch) Begin(temp string, files []string) *Beginning {
	g := &Beginning{temp: temp, names: files, mkdir: b.Mkdir(temp, 0o700), look: b.Lstat(temp)}
	g.files = b.create(files)
	g.list, g.dir = b.OpenDir(temp), b.Open(temp, Read)
	return g
}

// Of reports whether it is that of a revision.
func (g *Beginning) Of(r Revision) bool {
	return g != nil && g.temp == r.Temp && slices.Equal(g.names, r.names())
}

// At reports whether it is a directory of that name.
func (g *Beginning) At(name string) bool { return g != nil && g.temp == name }

// Made reports whether the directory was made, as one that was not there; what was
// opened is for the caller to close where it was not.
func (g *Beginning) Made(ctx context.Context) (made bool, open []*File, err error) {
	_, err = g.mkdir.Get(ctx)
	var refused *StatusError
	if err == nil || !errors.As(err, &refused) {
		return err == nil, nil, err
	}
	o, _ := g.opened(ctx)
	return false, o.all(), nil
}

// Abandon removes what was begun and is not to be completed.
func (c *Client) Abandon(ctx context.Context, g *Beginning) error {
	open, _ := g.opened(ctx)
	b := c.Batch()
	for _, f := range open.all() {
		b.Close(f)
	}
	for _, name := range g.names {
		b.Remove(name)
	}
	gone := b.Rmdir(g.temp)
	_ = b.Send() // Get tells
	_, err := gone.Get(ctx)
	return err
}

// opened is a new directory and its files.
type opened struct {
	files []*File
	list  *File
	dir   *File // nil where the server opens no directories
}

func (o opened) all() (all []*File) {
	for _, f := range append([]*File{o.list, o.dir}, o.files...) {
		if f != nil {
			all = append(all, f)
		}
	}
	return all
}

func (g *Beginning) opened(ctx context.Context) (o opened, failed error) {
	fail := func(err error) {
		if failed == nil {
			failed = err
		}
	}
	if _, err := g.mkdir.Get(ctx); err != nil {
		fail(&fs.PathError{Op: "create", Path: g.temp, Err: err})
	}
	i, err := g.look.Get(ctx)
	if err == nil && i.Mode != fs.ModeDir|0o700 {
		err = ErrMode
	}
	fail(err)
	o.files, err = made(ctx, g.names, g.files)
	fail(err)
	o.list, err = g.list.Get(ctx)
	fail(err)
	var refused *StatusError
	if o.dir, err = g.dir.Get(ctx); err != nil && !errors.As(err, &refused) {
		fail(err)
	}
	return o, failed
}

// complete writes the files and reads them back in the same journey. A server
// that does what is asked about one file in another order is asked once more.
func (c *Client) complete(ctx context.Context, r Revision, o opened) error {
	b := c.Batch()
	steps := b.fill(r.Files, o.files, r.Sync)
	if o.dir != nil && r.Sync {
		steps = append(steps, step{"sync", r.Temp, b.Sync(o.dir)})
	}
	written, list := b.readBack(r, o), b.List(o.list)
	_ = b.Send() // did tells
	if err := did(ctx, steps); err != nil {
		return err
	}
	differs, err := written.differs(ctx, r)
	if err == nil && differs != nil {
		b = c.Batch()
		written = b.readBack(r, o)
		_ = b.Send() // Get tells
		differs, err = written.differs(ctx, r)
	}
	if err == nil {
		err = differs
	}
	if err != nil {
		return err
	}
	names, err := list.Get(ctx)
	if err != nil {
		return err
	}
	return r.holds(names)
}

type written []Content

func (b *Batch) readBack(r Revision, o opened) (w written) {
	for n, f := range r.Files {
		w = append(w, b.Content(o.files[n], len(f.Data)+1, len(f.Data)))
	}
	return w
}

// differs says what is not as it was to be.
func (w written) differs(ctx context.Context, r Revision) (differs, err error) {
	for n, f := range r.Files {
		i, data, err := w[n].Get(ctx)
		if err != nil {
			return nil, &fs.PathError{Op: "read back", Path: f.Name, Err: err}
		}
		same := i.Mode == f.Mode.Perm() && int(i.UID) == f.UID && int(i.GID) == f.GID && bytes.Equal(data, f.Data)
		if !same && differs == nil {
			differs = fmt.Errorf("%s: the file on disk differs from what was written: content, mode or owner", f.Name)
		}
	}
	return differs, nil
}

// holds looks whether a listing has the files and nothing else.
func (r Revision) holds(names []Entry) error {
	want := map[string]bool{}
	for _, f := range r.Files {
		want[path.Base(f.Name)] = true
	}
	for _, e := range names {
		if !want[e.Name] {
			return fmt.Errorf("%s exists too, and only its owner could have created it", e.Name)
		}
		delete(want, e.Name)
	}
	for name := range want {
		return fmt.Errorf("%s was removed again", name)
	}
	return nil
}

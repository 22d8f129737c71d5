package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Flags of Open.
const (
	Read      = 0x01
	Write     = 0x02
	Create    = 0x08
	Exclusive = 0x20
)

// Stat tells what a name leads to.
func (c *Client) Stat(ctx context.Context, name string) (Info, error) {
	return c.about(ctx, typeStat, name)
}

// Lstat tells what a name itself is.
func (c *Client) Lstat(ctx context.Context, name string) (Info, error) {
	return c.about(ctx, typeLstat, name)
}

func (c *Client) about(ctx context.Context, kind byte, name string) (Info, error) {
	r, err := c.one(ctx, kind, typeAttrs, func(w *writer) { w.text(name) })
	return c.attributes(r, err)
}

// LstatAll tells what each of names is, in one journey; the first that cannot
// be told is the error.
func (c *Client) LstatAll(ctx context.Context, names []string) ([]Info, error) {
	b := c.Batch()
	for _, name := range names {
		b.add(typeLstat, func(w *writer) { w.text(name) })
	}
	_ = b.Send() // wait tells
	out := make([]Info, len(names))
	for n, name := range names {
		var err error
		if out[n], err = c.attributes(b.wait(ctx, n, typeAttrs)); err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: name, Err: err}
		}
	}
	return out, nil
}

func (c *Client) attributes(r *reader, err error) (Info, error) {
	if err != nil {
		return Info{}, err
	}
	i := r.info()
	if r.bad() {
		return Info{}, c.broke("attributes cut short")
	}
	return i, nil
}

// RealPath is a path without links in it.
func (c *Client) RealPath(ctx context.Context, name string) (string, error) {
	return c.name(ctx, typeRealpath, name)
}

// Resolve is RealPath and Stat in one journey.
func (c *Client) Resolve(ctx context.Context, name string) (string, Info, error) {
	b := c.Batch()
	where := b.add(typeRealpath, func(w *writer) { w.text(name) })
	what := b.add(typeStat, func(w *writer) { w.text(name) })
	_ = b.Send() // wait tells
	real, err := c.oneName(b.wait(ctx, where, typeName))
	if err != nil {
		return "", Info{}, err
	}
	info, err := c.attributes(b.wait(ctx, what, typeAttrs))
	return real, info, err
}

// ReadLink is what a symbolic link leads to.
func (c *Client) ReadLink(ctx context.Context, name string) (string, error) {
	return c.name(ctx, typeReadlink, name)
}

func (c *Client) name(ctx context.Context, kind byte, name string) (string, error) {
	return c.oneName(c.one(ctx, kind, typeName, func(w *writer) { w.text(name) }))
}

func (c *Client) oneName(r *reader, err error) (string, error) {
	if err != nil {
		return "", err
	}
	n, text := r.uint32(), r.text(nameLimit)
	if n != 1 || r.bad() {
		return "", c.broke("%d names for one", n)
	}
	return text, nil
}

func (c *Client) change(ctx context.Context, kind byte, body func(*writer)) error {
	_, err := c.one(ctx, kind, typeStatus, body)
	return err
}

// Mkdir makes a directory with a mode, and tells what there is then: servers
// other than OpenSSH's may make it with a mode of their own.
func (c *Client) Mkdir(ctx context.Context, name string, mode fs.FileMode) (Info, error) {
	b := c.Batch()
	made := b.add(typeMkdir, func(w *writer) { w.text(name); w.uint32(hasMode); w.uint32(uint32(mode.Perm())) })
	look := b.add(typeLstat, func(w *writer) { w.text(name) })
	_ = b.Send() // wait tells
	if _, err := b.wait(ctx, made, typeStatus); err != nil {
		return Info{}, err
	}
	return c.attributes(b.wait(ctx, look, typeAttrs))
}

// Link puts a link under a name, through temp, in one journey; with parent,
// which may be nil, that is on disk. Where temp is there already, what is there
// may be what gets the name.
func (c *Client) Link(ctx context.Context, target, temp, name string, parent *File) error {
	b := c.Batch()
	// OpenSSH takes the target first, whatever the draft says.
	b.add(typeSymlink, func(w *writer) { w.text(target); w.text(temp) })
	b.rename(temp, name, parent)
	return b.all(ctx)
}

// Rename replaces what is there (posix-rename@openssh.com); with parent, which
// may be nil, that is on disk.
func (c *Client) Rename(ctx context.Context, from, to string, parent *File) error {
	b := c.Batch()
	b.rename(from, to, parent)
	return b.all(ctx)
}

func (b *Batch) rename(from, to string, parent *File) {
	b.add(typeExtended, func(w *writer) { w.text("posix-rename@openssh.com"); w.text(from); w.text(to) })
	if parent != nil {
		b.add(typeExtended, func(w *writer) { w.text("fsync@openssh.com"); w.text(parent.handle) })
	}
}

// Gone is what is to be removed.
type Gone struct {
	Name string
	Dir  bool
}

// Remove removes things in their order, in one journey.
func (c *Client) Remove(ctx context.Context, gone ...Gone) error {
	b := c.Batch()
	for _, g := range gone {
		kind := byte(typeRemove)
		if g.Dir {
			kind = typeRmdir
		}
		b.add(kind, func(w *writer) { w.text(g.Name) })
	}
	return b.all(ctx)
}

// all sends what was added and waits until it was done; the first refusal is
// the error.
func (b *Batch) all(ctx context.Context) error {
	_ = b.Send() // wait tells
	var first error
	for n := range b.waiting {
		if _, err := b.wait(ctx, n, typeStatus); first == nil {
			first = err
		}
	}
	return first
}

// Chmod follows a link.
func (c *Client) Chmod(ctx context.Context, name string, mode fs.FileMode) error {
	return c.change(ctx, typeSetstat, func(w *writer) { w.text(name); w.uint32(hasMode); w.uint32(uint32(mode.Perm())) })
}

// Room is what statvfs@openssh.com tells of a file system.
type Room struct {
	Free, FreeInodes, Inodes uint64
	ReadOnly                 bool
}

// Room tells how much of a file system is free.
func (c *Client) Room(ctx context.Context, name string) (Room, error) {
	r, err := c.one(ctx, typeExtended, typeReply, func(w *writer) { w.text("statvfs@openssh.com"); w.text(name) })
	if err != nil {
		return Room{}, err
	}
	var f [11]uint64 // bsize frsize blocks bfree bavail files ffree favail fsid flag namemax
	for n := range f {
		f[n] = r.uint64()
	}
	if r.bad() {
		return Room{}, c.broke("figures cut short")
	}
	return Room{Free: f[1] * f[4], Inodes: f[5], FreeInodes: f[7], ReadOnly: f[9]&1 != 0}, nil
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Info
}

// ErrTooMany is wrapped by errors of directories that hold more than is read.
var ErrTooMany = errors.New("the directory holds too much")

// List returns what is in a directory.
func (c *Client) List(ctx context.Context, name string) ([]Entry, error) {
	r, err := c.one(ctx, typeOpendir, typeHandle, func(w *writer) { w.text(name) })
	if err != nil {
		return nil, err
	}
	handle, err := c.handle(r)
	if err != nil {
		return nil, err
	}
	defer c.forget(handle)
	var out []Entry
	for size := 0; ; {
		b := c.Batch()
		const ahead = 2 // the second is mostly the end
		for range ahead {
			b.add(typeReaddir, func(w *writer) { w.text(handle) })
		}
		_ = b.Send() // wait tells
		for n := range ahead {
			r, err := b.wait(ctx, n, typeName)
			var status *StatusError
			if errors.As(err, &status) && status.Code == CodeEOF {
				return out, nil
			}
			if err != nil {
				return nil, err
			}
			size += len(r.rest)
			count := r.uint32()
			if len(out)+int(count) > EntriesLimit || size > listingLimit {
				return nil, ErrTooMany
			}
			if count == 0 {
				return nil, c.broke("a listing without names that does not end")
			}
			for range count {
				e := Entry{Name: r.text(nameLimit)}
				r.bytes(nameLimit) // as ls -l has it
				e.Info = r.info()
				if r.bad() || strings.ContainsAny(e.Name, "/\x00") || e.Name == "" {
					return nil, c.broke("a name that is none")
				}
				if e.Name != "." && e.Name != ".." {
					out = append(out, e)
				}
			}
		}
	}
}

func (c *Client) handle(r *reader) (string, error) {
	const limit = 256 // the draft's
	h := r.text(limit)
	if r.bad() {
		return "", c.broke("a handle cut short")
	}
	return h, nil
}

// forget closes a handle that was only read from, without waiting.
func (c *Client) forget(handle string) {
	b := c.Batch()
	b.add(typeClose, func(w *writer) { w.text(handle) })
	_ = b.Send() // it ends with the session
}

// File is an open file.
type File struct {
	c      *Client
	handle string
	at     uint64
}

// Open opens a file. What is created belongs to its owner alone only where the
// server's umask says so.
func (c *Client) Open(ctx context.Context, name string, flags uint32) (*File, error) {
	r, err := c.one(ctx, typeOpen, typeHandle, func(w *writer) { w.text(name); w.uint32(flags); w.uint32(0) })
	if err != nil {
		return nil, err
	}
	handle, err := c.handle(r)
	if err != nil {
		return nil, err
	}
	return &File{c: c, handle: handle}, nil
}

// Fill makes an empty file what it is to be, and closes it.
func (f *File) Fill(ctx context.Context, is NewFile, sync bool) error {
	return f.c.fill(ctx, []NewFile{is}, []*File{f}, sync)
}

// Forget closes a file that was only read, without waiting.
func (f *File) Forget() { f.c.forget(f.handle) }

// Sync has the file on disk (fsync@openssh.com).
func (f *File) Sync(ctx context.Context) error {
	return f.c.change(ctx, typeExtended, func(w *writer) { w.text("fsync@openssh.com"); w.text(f.handle) })
}

// chunk is what one packet carries of a file.
const chunk = 32 << 10

func (f *File) write(b *Batch, data []byte) {
	for len(data) > 0 {
		part := data[:min(chunk, len(data))]
		b.add(typeWrite, func(w *writer) { w.text(f.handle); w.uint64(f.at); w.text(string(part)) })
		f.at += uint64(len(part))
		data = data[len(part):]
	}
}

// ReadAll tells what was opened and returns its first bytes, most of them. Of
// what is no regular file nothing is returned.
func (f *File) ReadAll(ctx context.Context, most int) (Info, []byte, error) {
	b := f.c.Batch()
	stat := b.add(typeFstat, func(w *writer) { w.text(f.handle) })
	read := func(b *Batch, at, n int) int {
		return b.add(typeRead, func(w *writer) { w.text(f.handle); w.uint64(uint64(at)); w.uint32(uint32(n)) })
	}
	n := min(chunk, most)
	first := read(b, 0, n)
	_ = b.Send() // wait tells
	info, err := f.c.attributes(b.wait(ctx, stat, typeAttrs))
	if err != nil || !info.Mode.IsRegular() {
		return info, nil, err
	}
	var data []byte
	for at := first; ; {
		part, err := f.part(ctx, b, at, n)
		if errors.Is(err, io.EOF) {
			return info, data, nil
		}
		if err != nil {
			return info, nil, err
		}
		data = append(data, part...)
		if len(data) >= most || uint64(len(data)) == info.Size {
			return info, data, nil
		}
		b, n = f.c.Batch(), min(chunk, most-len(data))
		at = read(b, len(data), n)
		_ = b.Send() // wait tells
	}
}

func (f *File) part(ctx context.Context, b *Batch, at, asked int) ([]byte, error) {
	r, err := b.wait(ctx, at, typeData)
	var status *StatusError
	if errors.As(err, &status) && status.Code == CodeEOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	part := r.bytes(uint32(asked))
	if r.bad() || len(part) == 0 {
		return nil, f.c.broke("data of another length than asked for")
	}
	return part, nil
}

// NewFile is a file that is to be written whole.
type NewFile struct {
	Name     string
	UID, GID int
	Mode     fs.FileMode
	Data     []byte
}

// Create makes files, none of which may be there: each has its owner and mode
// before its first byte, and is on disk with sync. Two journeys for all of
// them. An error may leave some.
func (c *Client) Create(ctx context.Context, files []NewFile, sync bool) error {
	b := c.Batch()
	for _, f := range files {
		b.create(f.Name)
	}
	_ = b.Send() // wait tells
	open, err := c.opened(ctx, b, 0, files)
	if err != nil {
		return err
	}
	return c.fill(ctx, files, open, sync)
}

func (b *Batch) create(name string) {
	b.add(typeOpen, func(w *writer) {
		w.text(name)
		w.uint32(Read | Write | Create | Exclusive)
		w.uint32(hasMode)
		w.uint32(0o600)
	})
}

// opened are the files that a batch has created, or none.
func (c *Client) opened(ctx context.Context, b *Batch, first int, files []NewFile) ([]*File, error) {
	open := make([]*File, len(files))
	var failed error
	for n := range files {
		r, err := b.wait(ctx, first+n, typeHandle)
		if err == nil {
			var handle string
			if handle, err = c.handle(r); err == nil {
				open[n] = &File{c: c, handle: handle}
			}
		}
		if failed == nil && err != nil {
			failed = &fs.PathError{Op: "create", Path: files[n].Name, Err: err}
		}
	}
	if failed != nil {
		for _, f := range open {
			if f != nil {
				f.Forget()
			}
		}
		return nil, failed
	}
	return open, nil
}

// Found is a file as it was read.
type Found struct {
	Name string
	Info
	Data []byte
}

// Fill makes a directory for its owner alone, files in it as Create does, and
// returns what is in it then; what was made is read through what was opened.
// The directory gets its mode last. Three journeys in all.
func (c *Client) Fill(ctx context.Context, dir string, mode fs.FileMode, files []NewFile, sync bool) ([]Found, error) {
	b := c.Batch()
	made := b.add(typeMkdir, func(w *writer) { w.text(dir); w.uint32(hasMode); w.uint32(0o700) })
	look := b.add(typeLstat, func(w *writer) { w.text(dir) })
	first := len(b.waiting)
	for _, f := range files {
		b.create(f.Name)
	}
	_ = b.Send() // wait tells
	_, err := b.wait(ctx, made, typeStatus)
	open, oerr := c.opened(ctx, b, first, files)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: dir, Err: err}
	}
	if oerr != nil {
		return nil, oerr
	}
	i, err := c.attributes(b.wait(ctx, look, typeAttrs))
	if err == nil && i.Mode != fs.ModeDir|0o700 {
		err = ErrMode
	}
	if err != nil {
		for _, f := range open {
			f.Forget()
		}
		return nil, err
	}
	return c.filled(ctx, dir, mode, files, open, sync)
}

// ErrMode says that the server made a directory with another mode than it was
// asked for.
var ErrMode = errors.New("the server gives directories modes of its own")

// filled: what is written is looked at in a journey of its own, because servers
// may do what is asked about one file in another order.
func (c *Client) filled(ctx context.Context, dir string, mode fs.FileMode, files []NewFile, open []*File, sync bool) ([]Found, error) {
	b := c.Batch()
	list := b.add(typeOpendir, func(w *writer) { w.text(dir) })
	handle := b.add(typeOpen, func(w *writer) { w.text(dir); w.uint32(Read); w.uint32(0) })
	first := len(b.waiting)
	steps := b.fill(files, open, sync)
	_ = b.Send() // wait tells
	failed := b.done(ctx, first, steps)
	names, err := c.handleOf(b.wait(ctx, list, typeHandle))
	own, oerr := c.handleOf(b.wait(ctx, handle, typeHandle)) // servers that open no directories sync none
	if failed == nil {
		failed = err
	}

	b = c.Batch()
	var looks []look
	var list2 []int
	if failed == nil {
		for n, f := range files {
			looks = append(looks, b.look(open[n], len(f.Data)))
		}
		list2 = append(list2, b.add(typeReaddir, func(w *writer) { w.text(names) }), b.add(typeReaddir, func(w *writer) { w.text(names) }))
	}
	changes := len(b.waiting)
	if oerr == nil && sync {
		b.add(typeExtended, func(w *writer) { w.text("fsync@openssh.com"); w.text(own) })
	}
	if failed == nil {
		b.add(typeSetstat, func(w *writer) { w.text(dir); w.uint32(hasMode); w.uint32(uint32(mode.Perm())) })
	}
	last := len(b.waiting)
	for _, f := range open {
		b.add(typeClose, func(w *writer) { w.text(f.handle) })
	}
	for h, err := range map[string]error{names: err, own: oerr} {
		if err == nil {
			b.add(typeClose, func(w *writer) { w.text(h) })
		}
	}
	_ = b.Send() // wait tells
	if failed != nil {
		return nil, failed
	}
	found := make([]Found, len(files))
	for n, l := range looks {
		found[n].Name = files[n].Name
		if found[n].Info, found[n].Data, err = c.looked(ctx, b, l); err != nil {
			return nil, &fs.PathError{Op: "read back", Path: files[n].Name, Err: err}
		}
	}
	if err := c.exactly(ctx, b, list2, files); err != nil {
		return nil, err
	}
	for n := changes; n < last; n++ {
		if _, err := b.wait(ctx, n, typeStatus); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// exactly looks whether a listing has the files and nothing else.
func (c *Client) exactly(ctx context.Context, b *Batch, answers []int, files []NewFile) error {
	want := map[string]bool{".": true, "..": true}
	for _, f := range files {
		want[path.Base(f.Name)] = true
	}
	for _, n := range answers {
		r, err := b.wait(ctx, n, typeName)
		var status *StatusError
		if errors.As(err, &status) && status.Code == CodeEOF {
			break
		}
		if err != nil {
			return err
		}
		for count := r.uint32(); count > 0; count-- {
			name := r.text(nameLimit)
			r.bytes(nameLimit)
			r.info()
			if r.bad() {
				return c.broke("a listing cut short")
			}
			if !want[name] {
				return fmt.Errorf("%s is there too, and nobody but its owner could put it there", name)
			}
			delete(want, name)
		}
	}
	for name := range want {
		if name != "." && name != ".." {
			return fmt.Errorf("%s is gone again", name)
		}
	}
	return nil
}

func (c *Client) handleOf(r *reader, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return c.handle(r)
}

// look is what was asked about an open file.
type look struct {
	info  int   // the number of its attributes
	parts []int // those of its content
}

// look asks for a file of so many bytes, and for one more.
func (b *Batch) look(f *File, size int) (l look) {
	l.info = b.add(typeFstat, func(w *writer) { w.text(f.handle) })
	for at := 0; at <= size; at += chunk {
		l.parts = append(l.parts, b.add(typeRead, func(w *writer) { w.text(f.handle); w.uint64(uint64(at)); w.uint32(chunk) }))
	}
	return l
}

func (c *Client) looked(ctx context.Context, b *Batch, l look) (info Info, data []byte, err error) {
	if info, err = c.attributes(b.wait(ctx, l.info, typeAttrs)); err != nil {
		return info, nil, err
	}
	f := File{c: c}
	for _, n := range l.parts {
		part, err := f.part(ctx, b, n, chunk)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return info, nil, err
		}
		data = append(data, part...)
	}
	return info, data, nil
}

// step is what was asked of which file.
type step struct{ op, name string }

func (c *Client) fill(ctx context.Context, files []NewFile, open []*File, sync bool) error {
	b := c.Batch()
	steps := b.fill(files, open, sync)
	for n := range files {
		b.add(typeClose, func(w *writer) { w.text(open[n].handle) })
		steps = append(steps, step{"close", files[n].Name})
	}
	_ = b.Send() // wait tells
	return b.done(ctx, 0, steps)
}

// done waits for steps of a batch, from a number on.
func (b *Batch) done(ctx context.Context, first int, steps []step) (failed error) {
	for n := range steps {
		if _, err := b.wait(ctx, first+n, typeStatus); err != nil && failed == nil {
			failed = &fs.PathError{Op: steps[n].op, Path: steps[n].name, Err: err}
		}
	}
	return failed
}

// fill adds what makes empty files what they are to be.
func (b *Batch) fill(files []NewFile, open []*File, sync bool) (steps []step) {
	start := len(b.waiting)
	for n, f := range files {
		h := open[n]
		did := func(op string) {
			for len(steps) < len(b.waiting)-start {
				steps = append(steps, step{op, f.Name})
			}
		}
		b.add(typeFsetstat, func(w *writer) {
			w.text(h.handle)
			w.uint32(hasOwner)
			w.uint32(uint32(f.UID))
			w.uint32(uint32(f.GID))
		})
		did("chown")
		b.add(typeFsetstat, func(w *writer) { w.text(h.handle); w.uint32(hasMode); w.uint32(uint32(f.Mode.Perm())) })
		did("chmod")
		h.write(b, f.Data)
		did("write")
		if sync {
			b.add(typeExtended, func(w *writer) { w.text("fsync@openssh.com"); w.text(h.handle) })
			did("sync")
		}
	}
	return steps
}

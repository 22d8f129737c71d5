package sftp

import (
	"io/fs"
	"strings"
)

// Flags of Open.
const (
	Read      = 0x01
	Write     = 0x02
	Create    = 0x08
	Exclusive = 0x20
)

// File is an open file, or an open directory.
type File struct{ handle string }

// Stat tells what a name leads to.
func (b *Batch) Stat(name string) Reply[Info] { return b.about(typeStat, name) }

// Lstat tells what a name itself is.
func (b *Batch) Lstat(name string) Reply[Info] { return b.about(typeLstat, name) }

// Fstat tells what was opened.
func (b *Batch) Fstat(f *File) Reply[Info] { return b.about(typeFstat, f.handle) }

func (b *Batch) about(kind byte, of string) Reply[Info] {
	return add(b, kind, typeAttrs, attributes, func(w *writer) { w.text(of) })
}

func attributes(c *Client, r *reader) (Info, error) {
	i := r.info()
	if r.bad() {
		return Info{}, c.broke("truncated attributes")
	}
	return i, nil
}

// RealPath is a path without links in it.
func (b *Batch) RealPath(name string) Reply[string] { return b.name(typeRealpath, name) }

// ReadLink is what a symbolic link leads to.
func (b *Batch) ReadLink(name string) Reply[string] { return b.name(typeReadlink, name) }

func (b *Batch) name(kind byte, of string) Reply[string] {
	return add(b, kind, typeName, oneName, func(w *writer) { w.text(of) })
}

func oneName(c *Client, r *reader) (string, error) {
	n, text := r.uint32(), r.text(nameLimit)
	if n != 1 || r.bad() {
		return "", c.broke("%d names for one", n)
	}
	return text, nil
}

// Open opens a file. What is created has no rights but its owner's.
func (b *Batch) Open(name string, flags uint32) Reply[*File] {
	return add(b, typeOpen, typeHandle, handle, func(w *writer) {
		w.text(name)
		w.uint32(flags)
		if flags&Create == 0 {
			w.uint32(0)
			return
		}
		w.uint32(hasMode)
		w.uint32(0o600)
	})
}

// OpenDir opens a directory to be listed.
func (b *Batch) OpenDir(name string) Reply[*File] {
	return add(b, typeOpendir, typeHandle, handle, func(w *writer) { w.text(name) })
}

func handle(c *Client, r *reader) (*File, error) {
	const limit = 256 // the draft's
	h := r.text(limit)
	if r.bad() {
		return nil, c.broke("truncated handle")
	}
	return &File{h}, nil
}

// Close closes what was opened.
func (b *Batch) Close(f *File) Reply[None] {
	return b.change(typeClose, func(w *writer) { w.text(f.handle) })
}

// Sync has an open file on disk (fsync@openssh.com).
func (b *Batch) Sync(f *File) Reply[None] {
	return b.change(typeExtended, func(w *writer) { w.text("fsync@openssh.com"); w.text(f.handle) })
}

// Give gives an open file its owner and its mode.
func (b *Batch) Give(f *File, uid, gid int, mode fs.FileMode) Reply[None] {
	return b.change(typeFsetstat, func(w *writer) {
		w.text(f.handle)
		w.uint32(hasOwner | hasMode)
		w.uint32(uint32(uid))
		w.uint32(uint32(gid))
		w.uint32(uint32(mode.Perm()))
	})
}

// Write writes data to an open file.
func (b *Batch) Write(f *File, data []byte) (parts []Reply[None]) {
	for at := 0; at < len(data); at += chunk {
		part := data[at:min(at+chunk, len(data))]
		parts = append(parts, b.change(typeWrite, func(w *writer) { w.text(f.handle); w.uint64(uint64(at)); w.text(string(part)) }))
	}
	return parts
}

// Chmod follows a link.
func (b *Batch) Chmod(name string, mode fs.FileMode) Reply[None] {
	return b.change(typeSetstat, func(w *writer) { w.text(name); w.uint32(hasMode); w.uint32(uint32(mode.Perm())) })
}

// Mkdir makes a directory. Servers other than OpenSSH's may make it with a mode
// of their own.
func (b *Batch) Mkdir(name string, mode fs.FileMode) Reply[None] {
	return b.change(typeMkdir, func(w *writer) { w.text(name); w.uint32(hasMode); w.uint32(uint32(mode.Perm())) })
}

// Symlink makes a link. OpenSSH takes the target first, whatever the draft says.
func (b *Batch) Symlink(target, name string) Reply[None] {
	return b.change(typeSymlink, func(w *writer) { w.text(target); w.text(name) })
}

// Rename replaces what is there (posix-rename@openssh.com).
func (b *Batch) Rename(from, to string) Reply[None] {
	return b.change(typeExtended, func(w *writer) { w.text("posix-rename@openssh.com"); w.text(from); w.text(to) })
}

// Remove removes what is no directory.
func (b *Batch) Remove(name string) Reply[None] {
	return b.change(typeRemove, func(w *writer) { w.text(name) })
}

// Rmdir removes an empty directory.
func (b *Batch) Rmdir(name string) Reply[None] {
	return b.change(typeRmdir, func(w *writer) { w.text(name) })
}

func (b *Batch) change(kind byte, body func(*writer)) Reply[None] {
	return add[None](b, kind, typeStatus, nil, body)
}

// Room is what statvfs@openssh.com tells of a file system.
type Room struct {
	Free, Used, FreeInodes, Inodes uint64
	ReadOnly                       bool
}

// Room tells how much of a file system is free.
func (b *Batch) Room(name string) Reply[Room] {
	return add(b, typeExtended, typeReply, func(c *Client, r *reader) (Room, error) {
		var f [11]uint64 // bsize frsize blocks bfree bavail files ffree favail fsid flag namemax
		for n := range f {
			f[n] = r.uint64()
		}
		if r.bad() {
			return Room{}, c.broke("truncated numbers")
		}
		return Room{Free: f[1] * f[4], Used: f[1] * (f[2] - f[3]), Inodes: f[5], FreeInodes: f[7], ReadOnly: f[9]&1 != 0}, nil
	}, func(w *writer) { w.text("statvfs@openssh.com"); w.text(name) })
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Info
}

func entries(c *Client, r *reader) (part listed, err error) {
	part.size = len(r.rest)
	count := r.uint32()
	if count > EntriesLimit {
		return part, ErrTooMany
	}
	if count == 0 {
		return part, c.broke("endless directory listing without names")
	}
	for range count {
		e := Entry{Name: r.text(nameLimit)}
		r.bytes(nameLimit) // as ls -l has it
		e.Info = r.info()
		if r.bad() || strings.ContainsAny(e.Name, "/\x00") || e.Name == "" {
			return part, c.broke("an invalid name")
		}
		if e.Name != "." && e.Name != ".." {
			part.entries = append(part.entries, e)
		}
	}
	return part, nil
}

package hosts

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"renewer/renewer"
)

// localDir is a Dir that the kernel keeps inside its directory: every name is
// looked up in a directory that was opened, and no link is followed. The
// directories below it stay open once they were entered: else each look at a
// file would open every one on the way to it again.
type localDir struct {
	mu   sync.Mutex
	subs map[string]int // descriptors, by name
}

func newLocalDir(fd int) *localDir { return &localDir{subs: map[string]int{".": fd}} }

// at runs do on the directory that a name is in, and its last part.
func (d *localDir) at(op, name string, do func(dir int, base string) error) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	d.mu.Lock()
	dir, err := d.enter(path.Dir(name))
	d.mu.Unlock()
	if err == nil {
		err = again(func() error { return do(dir, path.Base(name)) })
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (d *localDir) Room() (r renewer.Room, err error) {
	err = d.at("statfs", ".", func(dir int, _ string) error {
		var s unix.Statfs_t
		if err := unix.Fstatfs(dir, &s); err != nil {
			return err
		}
		unit := uint64(s.Frsize)
		r = renewer.Room{Free: s.Bavail * unit, Used: (s.Blocks - s.Bfree) * unit}
		return nil
	})
	return r, err
}

// again has the room looked up again if a name lies in it: it may have got another
// name, and what is done in it then must not be done.
func (d *localDir) anew(names ...string) {
	if slices.ContainsFunc(names, inRoom) {
		d.leave(ownerDir)
	}
}

// again makes a call that a signal cut short once more.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// enter returns a directory, opened; mu is held.
func (d *localDir) enter(name string) (int, error) {
	if sub, ok := d.subs[name]; ok {
		return sub, nil
	}
	if d.subs == nil {
		return 0, fs.ErrClosed
	}
	parent, err := d.enter(path.Dir(name))
	if err != nil {
		return 0, err
	}
	sub, err := openat(parent, path.Base(name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return 0, err
	}
	d.subs[name] = sub
	return sub, nil
}

func openat(dir int, name string, flags int) (fd int, err error) {
	err = again(func() error { fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0o600); return err })
	return fd, err
}

// leave lets go of directories that have another name from now on, or none.
func (d *localDir) leave(names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for open, sub := range d.subs {
		for _, name := range names {
			if open == name || strings.HasPrefix(open, name+"/") {
				_ = unix.Close(sub)
				delete(d.subs, open)
				break
			}
		}
	}
}

func (d *localDir) Ahead(Ahead) {}

func (d *localDir) Mkdir(name string) error {
	d.anew(name)
	return d.at("mkdir", name, func(dir int, base string) error { return unix.Mkdirat(dir, base, 0o700) })
}

func (d *localDir) Chmod(name string, mode fs.FileMode) error {
	d.mu.Lock()
	dir, err := d.enter(name)
	d.mu.Unlock()
	if err == nil {
		err = again(func() error { return unix.Fchmod(dir, uint32(mode.Perm())) })
	}
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: name, Err: err}
	}
	return nil
}

func (d *localDir) Readlink(name string) (target string, err error) {
	err = d.at("readlink", name, func(dir int, base string) error {
		room := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(dir, base, room)
		target = string(room[:max(0, n)])
		return err
	})
	return target, err
}

func (d *localDir) Publish(temp, name string, mode fs.FileMode, files ...File) error {
	return Publish(d, temp, name, mode, files)
}

// Discard syncs nothing: a revision itself shows whether it is complete.
func (d *localDir) Discard(name, temp, gone string, _ []string) error {
	if err := d.link(name, temp, path.Join(name, gone)); err != nil {
		return err
	}
	if err := d.rename(name, temp); err != nil {
		return err
	}
	return RemoveAll(d, temp)
}

func (d *localDir) Link(target, temp, name string) error {
	if err := d.link(target, temp, name); err != nil {
		return err
	}
	return d.Sync(path.Dir(name))
}

func (d *localDir) link(target, temp, name string) error {
	d.anew(temp)
	if err := d.at("symlink", temp, func(dir int, base string) error { return unix.Symlinkat(target, dir, base) }); err != nil {
		return err
	}
	return d.rename(temp, name)
}

func (d *localDir) Rename(from, to string) error {
	if err := d.rename(from, to); err != nil {
		return err
	}
	return d.Sync(path.Dir(to))
}

func (d *localDir) rename(from, to string) error {
	d.anew(from, to)
	defer d.leave(from, to)
	return d.at("rename", to, func(dir int, base string) error {
		return d.at("rename", from, func(old int, name string) error { return unix.Renameat(old, name, dir, base) })
	})
}

func (d *localDir) Remove(names ...string) error {
	d.anew(names...)
	defer d.leave(names...)
	for _, name := range names {
		if err := d.at("remove", name, remove); err != nil {
			return err
		}
	}
	return nil
}

func remove(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
		if rerr := unix.Unlinkat(dir, base, unix.AT_REMOVEDIR); !errors.Is(rerr, unix.ENOTDIR) {
			return rerr
		}
	}
	return err
}

func (d *localDir) Sync(name string) error {
	d.mu.Lock()
	dir, err := d.enter(name)
	d.mu.Unlock()
	if err == nil {
		err = again(func() error { return unix.Fsync(dir) })
	}
	if err != nil {
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	return nil
}

func (d *localDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, sub := range d.subs {
		_ = unix.Close(sub)
	}
	d.subs = nil
	return nil
}

func (d *localDir) Lstat(name string) (info Info, err error) {
	err = d.at("lstat", name, func(dir int, base string) error {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		info = infoOf(&st)
		return nil
	})
	return info, err
}

func statOf(fd int) (Info, int64, error) {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstat(fd, &st) })
	return infoOf(&st), st.Size, err
}

func infoOf(st *unix.Stat_t) Info {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFREG:
	default:
		mode |= fs.ModeIrregular
	}
	if st.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return Info{Mode: mode, Owner: Owner{UID: int(st.Uid), GID: int(st.Gid)}}
}

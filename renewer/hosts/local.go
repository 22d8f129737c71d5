package hosts

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"renewer/renewer"
)

// Local returns the transport to this machine. root is put before all file
// paths; "/" or empty for none. With a root, no path leaves it through a
// symbolic link. Directories are synced.
func Local(root string) Transport {
	if root == "" {
		root = "/"
	}
	return &local{root: filepath.Clean(root)}
}

type local struct{ root string }

func (l *local) Close() error { return nil }

// DialDocker connects to the socket itself.
func (l *local) DialDocker(ctx context.Context, socket string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(l.root, socket))
}

func (l *local) OpenDir(ctx context.Context, dir string, create bool) (Dir, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !path.IsAbs(dir) || path.Clean(dir) != dir {
		return nil, fmt.Errorf("open %q: not an absolute, clean path", dir)
	}
	if l.root == "/" {
		fd, err := walk(dir, create)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		return newLocalDir(fd), nil
	}
	if create {
		if err := os.MkdirAll(l.root, 0o755); err != nil {
			return nil, fmt.Errorf("create root %w", err)
		}
	}
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	defer root.Close()
	rest := cmp.Or(strings.TrimPrefix(dir, "/"), ".")
	if create {
		if err := mkdirAll(root, rest); err != nil {
			return nil, fmt.Errorf("create %s: %w", dir, err)
		}
	}
	f, err := root.OpenFile(rest, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s below %s: %w", dir, l.root, err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return newLocalDir(fd), nil
}

func mkdirAll(root *os.Root, dir string) error {
	made := ""
	for part := range strings.SplitSeq(dir, "/") {
		made = path.Join(made, part)
		if made == "." {
			continue
		}
		switch err := root.Mkdir(made, 0o755); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return err
		default:
			if err := root.Chmod(made, 0o755); err != nil { // whatever the umask
				return err
			}
			if err := syncDir(root, path.Dir(made)); err != nil {
				return err
			}
		}
	}
	return nil
}

func syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// localDir is a Dir that the kernel keeps inside its directory: every name is
// looked up in a directory that was opened, and no link is followed. The
// directories below it stay open once they were entered: else each look at a
// file would open every one on the way to it anew.
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

// anew has the room looked up again if a name lies in it: it may have got another
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

func (d *localDir) Fill(dir string, mode fs.FileMode, files ...File) ([]File, error) {
	return Fill(d, dir, mode, files)
}

func (d *localDir) Link(target, temp, name string) error {
	d.anew(temp)
	if err := d.at("symlink", temp, func(dir int, base string) error { return unix.Symlinkat(target, dir, base) }); err != nil {
		return err
	}
	return d.Rename(temp, name)
}

func (d *localDir) Rename(from, to string) error {
	d.anew(from, to)
	defer d.leave(from, to)
	err := d.at("rename", to, func(dir int, base string) error {
		return d.at("rename", from, func(old int, name string) error { return unix.Renameat(old, name, dir, base) })
	})
	if err != nil {
		return err
	}
	return d.Sync(path.Dir(to))
}

func (d *localDir) Remove(names ...string) error {
	defer d.leave(names...)
	for _, name := range names {
		d.anew(name)
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

func (d *localDir) Create(files ...File) error {
	for _, f := range files {
		if err := d.create(f); err != nil {
			return err
		}
	}
	return nil
}

func (d *localDir) create(f File) error {
	d.anew(f.Name)
	return d.at("write", f.Name, func(dir int, base string) error {
		fd, err := openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		w := os.NewFile(uintptr(fd), f.Name)
		defer w.Close()
		if err := w.Chown(f.Owner.UID, f.Owner.GID); err != nil {
			return fmt.Errorf("give it to user %d, group %d: %w", f.Owner.UID, f.Owner.GID, bare(err))
		}
		if err := w.Chmod(f.Mode.Perm()); err != nil { // after chown, which may clear bits
			return bare(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return bare(err)
		}
		if err := w.Sync(); err != nil {
			return bare(err)
		}
		return bare(w.Close())
	})
}

// bare is an error without the path, which is told once.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func (d *localDir) ReadFile(name string, limit int64) (info Info, data []byte, err error) {
	err = d.at("read", name, func(dir int, base string) error {
		// A pipe under the name must not make the open wait.
		fd, err := openat(dir, base, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		var size int64
		if info, size, err = statOf(fd); err != nil {
			return err
		}
		if !info.Mode.IsRegular() {
			return errors.New("not a regular file")
		}
		room := bytes.NewBuffer(make([]byte, 0, min(size, limit)+bytes.MinRead))
		if _, err := room.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
			return bare(err)
		}
		if data = room.Bytes(); int64(len(data)) > limit {
			return renewer.WithHint(fmt.Errorf("larger than %d bytes", limit), "this is no certificate, key or pid file; is the path right?")
		}
		return nil
	})
	return info, data, err
}

func (d *localDir) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	dir, err := d.enter(name)
	d.mu.Unlock()
	if err == nil {
		dir, err = openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY) // with a place of its own in it
	}
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(dir), name)
	defer f.Close()
	names, err := f.Readdirnames(entriesLimit + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if len(names) > entriesLimit {
		err = tooManyNames(name)
	}
	return names, err
}

// entriesLimit bounds a directory that certificates lie in.
const entriesLimit = 20_000

func tooManyNames(name string) error {
	return renewer.WithHint(fmt.Errorf("list %s: more than %d names", name, entriesLimit), "give the certificates a directory of their own: dir:")
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

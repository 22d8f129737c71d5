package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

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
	base, rest := l.root, strings.TrimPrefix(dir, "/")
	if l.root == "/" {
		var err error
		if base, rest, err = existing(dir); err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
	}
	if create && base == l.root {
		if err := os.MkdirAll(base, 0o755); err != nil {
			return nil, fmt.Errorf("create root %w", err)
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	if rest == "" {
		return &localDir{root: root}, nil
	}
	defer root.Close()
	sub, err := root.OpenRoot(rest)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := mkdirAll(root, rest); err != nil {
			return nil, fmt.Errorf("create %s: %w", dir, err)
		}
		sub, err = root.OpenRoot(rest)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s below %s: %w", dir, base, err)
	}
	return &localDir{root: sub}, nil
}

// existing resolves the symbolic links, absolute ones too, of the part of a
// path that is there, such as /var/run, and returns the rest beside it.
func existing(dir string) (base, rest string, err error) {
	for base = dir; ; base = path.Dir(base) {
		real, err := filepath.EvalSymlinks(base)
		if err == nil {
			return real, rest, nil
		}
		// A link that leads nowhere is there, and must not be taken for missing.
		if _, lerr := os.Lstat(base); !errors.Is(err, fs.ErrNotExist) || lerr == nil || base == "/" {
			return "", "", err
		}
		rest = path.Join(path.Base(base), rest)
	}
}

func mkdirAll(root *os.Root, dir string) error {
	made := ""
	for part := range strings.SplitSeq(dir, "/") {
		made = path.Join(made, part)
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

// localDir is a Dir that the kernel keeps inside its directory. The directories
// below it stay open once they were entered: else each look at a file would
// open every one on the way to it anew.
type localDir struct {
	root *os.Root
	mu   sync.Mutex
	subs map[string]*os.Root // by name
}

// at returns the directory that a name is in, and its last part.
func (d *localDir) at(name string) (*os.Root, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, err := d.enter(path.Dir(name))
	return dir, path.Base(name), err
}

// enter returns a directory, opened; mu is held.
func (d *localDir) enter(name string) (*os.Root, error) {
	if name == "." {
		return d.root, nil
	}
	if sub, ok := d.subs[name]; ok {
		return sub, nil
	}
	parent, err := d.enter(path.Dir(name))
	if err != nil {
		return nil, err
	}
	sub, err := parent.OpenRoot(path.Base(name))
	if err != nil {
		return nil, in(name, err)
	}
	if d.subs == nil {
		d.subs = map[string]*os.Root{}
	}
	d.subs[name] = sub
	return sub, nil
}

// in has an error name the whole way.
func in(name string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		p.Path = name
	}
	return err
}

// leave lets go of directories that have another name from now on, or none.
func (d *localDir) leave(names ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for open, sub := range d.subs {
		for _, name := range names {
			if open == name || strings.HasPrefix(open, name+"/") {
				_ = sub.Close()
				delete(d.subs, open)
				break
			}
		}
	}
}

func (d *localDir) Ahead(Ahead) {}

func (d *localDir) Mkdir(name string) error {
	dir, base, err := d.at(name)
	if err != nil {
		return err
	}
	return in(name, dir.Mkdir(base, 0o700))
}

func (d *localDir) Chmod(name string, mode fs.FileMode) error {
	dir, base, err := d.at(name)
	if err != nil {
		return err
	}
	return in(name, dir.Chmod(base, mode))
}

func (d *localDir) Readlink(name string) (string, error) {
	dir, base, err := d.at(name)
	if err != nil {
		return "", err
	}
	target, err := dir.Readlink(base)
	return target, in(name, err)
}

func (d *localDir) Symlink(target, name string) error {
	dir, base, err := d.at(name)
	if err != nil {
		return err
	}
	return dir.Symlink(target, base)
}

func (d *localDir) Rename(from, to string) error {
	defer d.leave(from, to)
	if path.Dir(from) != path.Dir(to) {
		return d.root.Rename(from, to)
	}
	dir, base, err := d.at(from)
	if err != nil {
		return err
	}
	return dir.Rename(base, path.Base(to))
}

func (d *localDir) Remove(name string) error {
	defer d.leave(name)
	dir, base, err := d.at(name)
	if err != nil {
		return err
	}
	return in(name, dir.Remove(base))
}

func (d *localDir) Sync(name string) error {
	d.mu.Lock()
	dir, err := d.enter(name)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return syncDir(dir, ".")
}

func (d *localDir) Close() error {
	for _, sub := range d.subs {
		_ = sub.Close()
	}
	d.subs = nil
	return d.root.Close()
}

func (d *localDir) Create(name string) (File, error) {
	dir, base, err := d.at(name)
	if err != nil {
		return nil, err
	}
	f, err := dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, in(name, err)
	}
	return f, nil
}

func (d *localDir) ReadFile(name string, limit int64) ([]byte, error) {
	dir, base, err := d.at(name)
	if err != nil {
		return nil, err
	}
	// A pipe under the name must not make the open wait.
	f, err := dir.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, in(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", name)
	}
	room := bytes.NewBuffer(make([]byte, 0, min(info.Size(), limit)+bytes.MinRead))
	if _, err := room.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	data := room.Bytes()
	if int64(len(data)) > limit {
		return nil, renewer.WithHint(fmt.Errorf("read %s: larger than %d bytes", name, limit),
			"this is no certificate, key or pid file; is the path right?")
	}
	return data, nil
}

func (d *localDir) ReadDir(name string) ([]string, error) {
	d.mu.Lock()
	dir, err := d.enter(name)
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *localDir) Lstat(name string) (Info, error) {
	dir, base, err := d.at(name)
	if err != nil {
		return Info{}, err
	}
	fi, err := dir.Lstat(base)
	if err != nil {
		return Info{}, in(name, err)
	}
	info := Info{Mode: fi.Mode()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		info.Owner = Owner{UID: int(st.Uid), GID: int(st.Gid)}
	}
	return info, nil
}

func syncDir(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

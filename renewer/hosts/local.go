package hosts

import (
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
		return &localDir{root}, nil
	}
	defer root.Close()
	if create {
		if err := mkdirAll(root, rest); err != nil {
			return nil, fmt.Errorf("create %s: %w", dir, err)
		}
	}
	sub, err := root.OpenRoot(rest)
	if err != nil {
		return nil, fmt.Errorf("open %s below %s: %w", dir, base, err)
	}
	return &localDir{sub}, nil
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

// localDir is a Dir that the kernel keeps inside its directory.
type localDir struct{ root *os.Root }

func (d *localDir) Ahead(Ahead)                               {}
func (d *localDir) Mkdir(name string) error                   { return d.root.Mkdir(name, 0o700) }
func (d *localDir) Chmod(name string, mode fs.FileMode) error { return d.root.Chmod(name, mode) }
func (d *localDir) Readlink(name string) (string, error)      { return d.root.Readlink(name) }
func (d *localDir) Symlink(target, name string) error         { return d.root.Symlink(target, name) }
func (d *localDir) Rename(from, to string) error              { return d.root.Rename(from, to) }
func (d *localDir) Remove(name string) error                  { return d.root.Remove(name) }
func (d *localDir) Sync(name string) error                    { return syncDir(d.root, name) }
func (d *localDir) Close() error                              { return d.root.Close() }

func (d *localDir) Create(name string) (File, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *localDir) ReadFile(name string, limit int64) ([]byte, error) {
	// A pipe under the name must not make the open wait.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, renewer.WithHint(fmt.Errorf("read %s: larger than %d bytes", name, limit),
			"this is no certificate, key or pid file; is the path right?")
	}
	return data, nil
}

func (d *localDir) ReadDir(name string) ([]string, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *localDir) Lstat(name string) (Info, error) {
	fi, err := d.root.Lstat(name)
	if err != nil {
		return Info{}, err
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

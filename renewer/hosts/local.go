package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
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

func (l *local) OpenDir(ctx context.Context, dir string, create bool, _ ...Ahead) (Dir, error) {
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

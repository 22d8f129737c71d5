package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"renewer/internal/sftp"
)

// open finds out where a directory really is, making what is missing of it.
// With a root other than / nothing outside of it is taken.
func (d *dir) open(root, name string, create bool) error {
	missing, err := d.nearest(root, path.Join(root, name), create)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	_, err = ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.settle(ctx) })
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	for _, part := range missing {
		if err := d.make(part); err != nil {
			return fmt.Errorf("create %s: %w", name, err)
		}
	}
	return nil
}

// nearest resolves a path as far as it is there, and returns the rest.
func (d *dir) nearest(root, full string, create bool) (missing []string, err error) {
	for base := full; ; {
		real, err := d.real(root, base)
		if err == nil {
			d.path = real
			return missing, nil
		}
		if !create || !errors.Is(err, fs.ErrNotExist) || base == root || base == "/" {
			return nil, err
		}
		// A link that leads nowhere is there, and must not be taken for missing;
		// what else is there now was made meanwhile by somebody else.
		i, lerr := ask(d, func(ctx context.Context) (sftp.Info, error) { return d.f.Lstat(ctx, base) })
		switch {
		case lerr == nil && i.Mode.IsDir():
			continue
		case lerr == nil || !errors.Is(lerr, fs.ErrNotExist):
			return nil, fmt.Errorf("%s: %w", base, err)
		}
		missing = append([]string{path.Base(base)}, missing...)
		base = path.Dir(base)
	}
}

// real returns the path of a directory without links in it, which has to be
// inside of root.
func (d *dir) real(root, full string) (string, error) {
	if root == "/" {
		return d.resolve(full)
	}
	var real, base string
	var err, rootErr error
	var both sync.WaitGroup
	both.Go(func() { base, rootErr = d.resolve(root) })
	real, err = d.resolve(full)
	both.Wait()
	switch {
	case err != nil:
		return "", err
	case rootErr != nil:
		return "", fmt.Errorf("root %s: %w", root, rootErr)
	case real != base && !strings.HasPrefix(real, base+"/"):
		return "", fmt.Errorf("%s is outside of root %s", real, root)
	}
	return real, nil
}

// resolve asks at the same time where a path leads and what is there. If that
// changes in between, what is done with the directory fails.
func (d *dir) resolve(full string) (string, error) {
	return ask(d, func(ctx context.Context) (string, error) {
		real, i, err := d.f.Resolve(ctx, full)
		switch {
		case err != nil:
			return "", err
		case !i.Mode.IsDir():
			return "", errors.New("not a directory")
		case !path.IsAbs(real) || path.Clean(real) != real:
			return "", fmt.Errorf("the server resolves it to %q", real)
		}
		return real, nil
	})
}

// make makes a directory in this one, mode 0755, synced, and is it then.
func (d *dir) make(part string) error {
	const mode = 0o755
	err := d.do("mkdir", part, func(ctx context.Context, full string) error {
		i, err := d.f.Mkdir(ctx, full, mode)
		if err != nil {
			if i, lerr := d.f.Lstat(ctx, full); lerr == nil && i.Mode.IsDir() {
				return nil // somebody else made it meanwhile
			}
			return err
		}
		if i.Mode == fs.ModeDir|mode {
			return nil
		}
		return d.f.Chmod(ctx, full, mode) // the server's umask is another one
	})
	if err != nil {
		return d.explain(err, part, false)
	}
	if err := d.Sync("."); err != nil {
		return err
	}
	d.path = path.Join(d.path, part)
	d.seen = newMemory()
	return nil
}

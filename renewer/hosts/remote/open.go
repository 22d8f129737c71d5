package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// open finds out where a directory really is, making what is missing of it.
// With a root other than / nothing outside of it is taken.
func (d *dir) open(root, name string, create bool) error {
	real, err := d.real(root, path.Join(root, name))
	if err == nil {
		d.path = real
		return nil
	}
	if !create || !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", name, err)
	}
	if err := d.make(root, path.Join(root, name)); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
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
	return ask(d, func() (string, error) {
		var info fs.FileInfo
		var statErr error
		var both sync.WaitGroup
		both.Go(func() { info, statErr = d.f.Stat(full) })
		real, err := d.f.RealPath(full)
		both.Wait()
		switch {
		case err != nil:
			return "", err
		case statErr != nil:
			return "", statErr
		case !info.IsDir():
			return "", errors.New("not a directory")
		case !path.IsAbs(real) || path.Clean(real) != real:
			return "", fmt.Errorf("the server resolves it to %q", real)
		}
		return real, nil
	})
}

// make creates what is missing of a path, each part with mode 0755, synced.
func (d *dir) make(root, full string) error {
	base, missing := full, []string(nil)
	for {
		real, err := d.real(root, base)
		if err == nil {
			d.path = real
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || base == root || base == "/" {
			return err
		}
		// A link that leads nowhere is there, and must not be taken for missing;
		// what else is there now was made meanwhile by somebody else.
		info, lerr := ask(d, func() (fs.FileInfo, error) { return d.f.Lstat(base) })
		switch {
		case lerr == nil && info.IsDir():
			continue
		case lerr == nil || !errors.Is(lerr, fs.ErrNotExist):
			return fmt.Errorf("%s: %w", base, err)
		}
		missing = append([]string{path.Base(base)}, missing...)
		base = path.Dir(base)
	}
	for _, part := range missing {
		err := d.do("mkdir", part, func(made string) error {
			if err := d.f.Mkdir(made); err != nil {
				if info, lerr := d.f.Lstat(made); lerr == nil && info.IsDir() {
					return nil // somebody else made it meanwhile
				}
				return err
			}
			return d.f.Chmod(made, 0o755)
		})
		if err != nil {
			return d.explain(err, part, false)
		}
		if err := d.Sync("."); err != nil {
			return err
		}
		d.path = path.Join(d.path, part)
	}
	return nil
}

package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// open finds out where a directory really is, making what is missing of it.
// With a root other than / nothing outside of it is taken.
func (d *dir) open(root, name string, create bool) error {
	real, err := d.real(path.Join(root, name))
	if err == nil {
		if err := d.inside(root, real); err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
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

// real returns the path of a directory without links in it.
func (d *dir) real(full string) (string, error) {
	return ask(d, func() (string, error) {
		real, err := d.f.RealPath(full)
		if err != nil {
			return "", err
		}
		info, err := d.f.Stat(real)
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", errors.New("not a directory")
		}
		if !path.IsAbs(real) || path.Clean(real) != real {
			return "", fmt.Errorf("the server resolves it to %q", real)
		}
		return real, nil
	})
}

func (d *dir) inside(root, real string) error {
	if root == "/" {
		return nil
	}
	base, err := d.real(root)
	if err != nil {
		return fmt.Errorf("root %s: %w", root, err)
	}
	if real != base && !strings.HasPrefix(real, base+"/") {
		return fmt.Errorf("%s is outside of root %s", real, root)
	}
	return nil
}

// make creates what is missing of a path, each part with mode 0755, synced.
func (d *dir) make(root, full string) error {
	base, missing := full, []string(nil)
	for {
		real, err := d.real(base)
		if err == nil {
			if err := d.inside(root, real); err != nil {
				return err
			}
			d.path = real
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || base == root || base == "/" {
			return err
		}
		// A link that leads nowhere is there, and must not be taken for missing.
		_, lerr := ask(d, func() (fs.FileInfo, error) { return d.f.Lstat(base) })
		if lerr == nil || !errors.Is(lerr, fs.ErrNotExist) {
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

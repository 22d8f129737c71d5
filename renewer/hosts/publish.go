package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"renewer/renewer"
)

// publish finds a whole revision that holds exactly files, or writes one:
// number 0 for what was found in place, else one more than the highest. It
// returns its name, or an error with nothing published.
func (pl *place) publish(files []File, found bool) (name string, err error) {
	sum := digest(files)
	revs, err := pl.revisions()
	if err != nil {
		return "", err
	}
	r := revision{hash: sum[:hashLen]}
	for _, have := range revs {
		if !found {
			r.n = max(r.n, have.n+1)
		}
		if have.hash != r.hash || (have.n == 0) != found {
			continue
		}
		got, err := pl.read(have.String())
		if err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err == nil && digest(got) == sum {
			return have.String(), nil
		}
		if found { // the name is needed
			if err := pl.discard(path.Join(pl.base, have.String())); err != nil {
				return "", err
			}
		}
	}
	if !found {
		r.n = max(r.n, 1)
	}
	for _, dir := range []string{storeDir, pl.base} {
		if err := pl.ensureDir(dir); err != nil {
			return "", err
		}
	}
	mode := storeMode
	if found {
		mode = restMode
	}
	return r.String(), pl.write(r.String(), files, sum, mode)
}

// ensureDir makes a directory that service users may pass through.
func (pl *place) ensureDir(name string) error {
	info, err := pl.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := pl.dir.Mkdir(name); err != nil {
			return err
		}
		if err := pl.dir.Sync(path.Dir(name)); err != nil {
			return err
		}
		info, err = pl.dir.Lstat(name)
	}
	switch {
	case err != nil:
		return err
	case !info.Mode.IsDir():
		return renewer.WithHint(fmt.Errorf("%s is not a directory", path.Join(pl.path, name)), "move it away; renewer keeps its revisions under this name")
	case info.Mode.Perm() != storeMode:
		return pl.dir.Chmod(name, storeMode)
	}
	return nil
}

// write fills a private temporary directory, looks at what is really there,
// and gives it its name.
func (pl *place) write(name string, files []File, sum string, mode fs.FileMode) (err error) {
	dir := pl.temp(name)
	if err := pl.removeAll(dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = pl.removeAll(dir) // give the space back; what is left is swept by the next Stage
		}
	}()
	got, err := pl.dir.Fill(dir, mode, files...)
	if err != nil {
		return err
	}
	if digest(got) != sum {
		return errors.New("what was read back is not what was written: content, mode or owner differ")
	}
	return pl.dir.Rename(dir, path.Join(pl.base, name))
}

// Fill is what Dir.Fill does, step by step, for a Dir that has no better way.
func Fill(d Dir, dir string, mode fs.FileMode, files []File) (found []File, err error) {
	if err := d.Mkdir(dir); err != nil {
		return nil, err
	}
	below := make([]File, 0, len(files))
	for _, f := range files {
		f.Name = path.Join(dir, f.Name)
		below = append(below, f)
	}
	if err := d.Create(below...); err != nil {
		return nil, err
	}
	if err := d.Sync(dir); err != nil {
		return nil, err
	}
	if found, err = (&place{dir: d, path: "."}).read(dir); err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	return found, d.Chmod(dir, mode)
}

// removeAll removes a directory of files, or a link.
func (pl *place) removeAll(full string) error {
	info, err := pl.dir.Lstat(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode.IsDir() {
		return pl.dir.Remove(full)
	}
	names, err := pl.dir.ReadDir(full)
	if err != nil {
		return err
	}
	gone := make([]string, 0, len(names)+1)
	for _, n := range names {
		below := path.Join(full, n)
		info, err := pl.dir.Lstat(below)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode.IsDir() {
			gone = append(gone, below)
		} else if err := pl.removeAll(below); err != nil {
			return err
		}
	}
	return pl.dir.Remove(append(gone, full)...)
}

// sweep removes what crashes have left under temporary names; below base only a
// version before made any. The server of a connection that broke may still be at
// what it was told before, and put files into a directory that is being emptied: it
// is emptied again then.
func (pl *place) sweep() error {
	for dir, mark := range map[string]string{pl.base: tempMark, pl.room: tempMark + pl.short() + "-"} {
		names, err := pl.dir.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, mark) {
				continue
			}
			left := path.Join(dir, name)
			err := pl.removeAll(left)
			for again := 0; again < 2 && err != nil && !errors.Is(err, renewer.ErrUnreachable); again++ {
				err = pl.removeAll(left)
			}
			if err != nil {
				return fmt.Errorf("remove leftover %s: %w", name, err)
			}
		}
	}
	return nil
}

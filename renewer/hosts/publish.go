package hosts

import (
	"cmp"
	"crypto/rand"
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
			if err := pl.discard(have); err != nil {
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
	if found {
		return r.String(), pl.write(pl.temp(r.String()), r.String(), restMode, files)
	}
	return r.String(), pl.write(pl.temp(newName), r.String(), storeMode, files)
}

// ensureDir makes a directory that service users may pass through.
func (pl *place) ensureDir(name string) error {
	info, err := pl.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		made := pl.dir.Mkdir(name)
		if info, err = pl.dir.Lstat(name); err != nil { // it may be another renewer's by now
			return cmp.Or(made, err)
		}
		err = pl.dir.Sync(path.Dir(name))
	}
	switch {
	case err != nil:
		return err
	case !info.Mode.IsDir():
		return renewer.WithHint(fmt.Errorf("%s is not a directory", path.Join(pl.path, name)), "move it away; renewer needs this name for its revisions")
	case info.Mode.Perm() != storeMode:
		return pl.dir.Chmod(name, storeMode)
	}
	return nil
}

// write fills a private temporary directory, which gets its mode and its name when
// all of it is there.
func (pl *place) write(temp, name string, mode fs.FileMode, files []File) error {
	temp, err := pl.free(temp)
	if err != nil {
		return err
	}
	if err := pl.dir.Publish(temp, path.Join(pl.base, name), mode, files...); err != nil {
		_ = RemoveAll(pl.dir, temp) // give the space back; what is left is swept by the next Stage
		return err
	}
	return nil
}

// Publish is what Dir.Publish does, step by step, for a Dir that has no better way.
func Publish(d Dir, temp, name string, mode fs.FileMode, files []File) error {
	if err := d.Mkdir(temp); err != nil {
		return err
	}
	below := make([]File, 0, len(files))
	for _, f := range files {
		f.Name = path.Join(temp, f.Name)
		below = append(below, f)
	}
	if err := d.Create(below...); err != nil {
		return err
	}
	if err := d.Sync(temp); err != nil {
		return err
	}
	found, err := readDir(d, temp)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if digest(found) != digest(files) {
		return errors.New("the files on disk differ from what was written: content, mode or owner")
	}
	if err := d.Chmod(temp, mode); err != nil {
		return err
	}
	return d.Rename(temp, name)
}

// RemoveAll removes a directory, or what else is there, if anything is.
func RemoveAll(d Dir, name string) error {
	info, err := d.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode.IsDir() {
		return d.Remove(name)
	}
	names, err := d.ReadDir(name)
	if err != nil {
		return err
	}
	gone := make([]string, 0, len(names)+1)
	for _, n := range names {
		below := path.Join(name, n)
		info, err := d.Lstat(below)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode.IsDir() {
			gone = append(gone, below)
		} else if err := RemoveAll(d, below); err != nil {
			return err
		}
	}
	return d.Remove(append(gone, name)...)
}

// free is a temporary name under which nothing lies: another one where that cannot be
// removed.
func (pl *place) free(temp string) (string, error) {
	err := RemoveAll(pl.dir, temp)
	if err == nil || errors.Is(err, renewer.ErrUnreachable) {
		return temp, err
	}
	return temp + "-" + strings.ToLower(rand.Text()[:hashLen]), nil
}

// leftover is the error of something that cannot be removed. It costs space, and no
// renewal.
func (pl *place) leftover(name string, err error) error {
	full := path.Join(pl.path, name)
	err = fmt.Errorf("remove leftover %s: %w", full, err)
	if errors.Is(err, renewer.ErrUnreachable) {
		return err
	}
	return renewer.WithHint(err, "renewals are not affected; run on the host: lsattr -R "+full+" to find files with the attributes i or a, then chattr -R -ia "+full+" && rm -r "+full)
}

// sweep removes what crashes have left under temporary names; below base only a
// version before made any. The server of a connection that broke may still be at
// its earlier requests, and put files into a directory that is being emptied: it
// is emptied again then. What cannot be removed is left: only a host that cannot be
// reached any more is an error; the rest is what Prune says of it.
func (pl *place) sweep() (left, err error) {
	for dir, mark := range map[string]string{pl.base: tempMark, pl.room: tempMark + short(pl.base) + "-"} {
		names, err := pl.dir.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return left, err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, mark) {
				continue
			}
			full := path.Join(dir, name)
			err := RemoveAll(pl.dir, full)
			for again := 0; again < 2 && err != nil && !errors.Is(err, renewer.ErrUnreachable); again++ {
				err = RemoveAll(pl.dir, full)
			}
			if err != nil {
				left = cmp.Or(left, pl.leftover(full, err))
			}
			if errors.Is(err, renewer.ErrUnreachable) {
				return left, left
			}
		}
	}
	return left, nil
}

package hosts

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"renewer/renewer"
)

// seen is what lies under a live name.
type seen struct {
	exists bool   // something is there, if only a link that leads nowhere
	ours   bool   // it is the link that renewer puts there
	target string // of a link, as written
	path   string // where its content is, without a link in the way; empty for nowhere
}

// linkTarget is what the live name leads to. It goes through `current`, so
// that one rename moves all names.
func (pl *place) linkTarget(name string) string { return path.Join(pl.base, current, name) }

// link is what a name leads to, if it is a symbolic link.
func (pl *place) link(name string) (target string, is bool, err error) {
	target, err = pl.dir.Readlink(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, renewer.ErrUnreachable) {
		return target, err == nil, err
	}
	info, lerr := pl.dir.Lstat(name)
	if lerr == nil && info.Mode&fs.ModeSymlink == 0 {
		return "", false, nil
	}
	return "", false, cmp.Or(lerr, err)
}

// look tells what lies under a live name. What cannot be taken over is an
// error: a directory, or a link that leads out of the placement's directory.
func (pl *place) look(name string) (seen, error) {
	target, is, err := pl.link(name)
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, nil
	}
	if err != nil {
		return seen{}, err
	}
	s := seen{exists: true, target: target, ours: is && target == pl.linkTarget(name)}
	var where string
	var info Info
	if s.ours {
		where, info, err = pl.through(name)
	} else {
		where, info, err = pl.resolve(name)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err != nil:
		return seen{}, err
	case info.Mode.IsDir():
		return seen{}, renewer.WithHint(fmt.Errorf("%s is a directory", path.Join(pl.path, name)), "renewer places a file there: move the directory away, or choose another name under files:")
	case !info.Mode.IsRegular():
		return seen{}, renewer.WithHint(fmt.Errorf("%s is not a regular file", path.Join(pl.path, name)), "move it away, or choose another name under files:")
	}
	s.path = where
	return s, nil
}

// through is resolve for a link of ours, whose way is known.
func (pl *place) through(name string) (string, Info, error) {
	live, err := pl.live()
	if live == "" || err != nil {
		return pl.resolve(name)
	}
	rev := path.Join(pl.base, live)
	for _, dir := range []string{storeDir, pl.base, rev} {
		if pl.real[dir] {
			continue
		}
		if info, err := pl.dir.Lstat(dir); err != nil || !info.Mode.IsDir() {
			return pl.resolve(name)
		}
		pl.real[dir] = true
	}
	where := path.Join(rev, name)
	info, err := pl.dir.Lstat(where)
	if err == nil && info.Mode&fs.ModeSymlink != 0 {
		return pl.resolve(name)
	}
	return where, info, err
}

// resolve follows the links of a name by hand, so that no transport can be
// led out of the directory.
func (pl *place) resolve(name string) (string, Info, error) {
	const maxLinks = 16
	done, rest, info := ".", strings.Split(name, "/"), Info{Mode: fs.ModeDir}
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			if done == "." {
				return "", Info{}, pl.leaves(name)
			}
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		var err error
		if info, err = pl.dir.Lstat(next); err != nil {
			return "", Info{}, err
		}
		if info.Mode&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		target, err := pl.dir.Readlink(next)
		if err != nil {
			return "", Info{}, err
		}
		if links++; links > maxLinks {
			return "", Info{}, renewer.WithHint(fmt.Errorf("%s: too many links", path.Join(pl.path, name)), "the links form a loop: remove them")
		}
		if path.IsAbs(target) {
			inside, ok := strings.CutPrefix(target, pl.path+"/")
			if !ok {
				return "", Info{}, pl.leaves(name)
			}
			done, target = ".", inside
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, info, nil
}

func (pl *place) leaves(name string) error {
	return renewer.WithHint(
		fmt.Errorf("%s is a symbolic link to outside of the directory", path.Join(pl.path, name)),
		"another tool manages the file: set dir: to the directory of the real file, or replace the link by a copy of the file")
}

// live returns the revision that `current` names; empty for none.
func (pl *place) live() (string, error) {
	target, err := pl.dir.Readlink(path.Join(pl.base, current))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if _, ok := parseRevision(target); !ok {
		return "", renewer.WithHint(fmt.Errorf("%s points to %q, which is not a revision", path.Join(pl.path, pl.base, current), target), "remove that link; renewer then creates it again")
	}
	return target, nil
}

// names are those of a revision's files, sorted; none for no revision.
func (pl *place) names(revision string) ([]string, error) {
	if revision == "" {
		return nil, nil
	}
	names, err := pl.dir.ReadDir(path.Join(pl.base, revision))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

// linked returns the names under which a revision is seen when it is live.
func (pl *place) linked(live string) ([]string, error) {
	names, err := pl.names(live)
	if err != nil {
		return nil, err
	}
	return pl.links(names)
}

// allLinks returns the names in the directory that are links.
func (pl *place) allLinks() (out []string, err error) {
	names, err := pl.dir.ReadDir(".")
	for _, name := range names {
		info, err := pl.dir.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return nil, err
		}
		if info.Mode&fs.ModeSymlink != 0 {
			out = append(out, name)
		}
	}
	return out, err
}

// links returns those of names that are links of ours.
func (pl *place) links(names []string) ([]string, error) {
	pl.dir.Ahead(Ahead{Links: names})
	slices.Sort(names)
	var out []string
	for _, name := range names {
		target, is, err := pl.link(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if is && target == pl.linkTarget(name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// put makes name a link to target, replacing what is there at once.
func (pl *place) put(target, name string) error {
	if err := pl.dir.Link(target, pl.temp(rand.Text()), name); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

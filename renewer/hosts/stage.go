package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"renewer/renewer"
)

// Stage writes content beside what is live and tells what that is. Leftovers
// of crashed calls are removed first.
func (h *Host) Stage(ctx context.Context, p renewer.Placement, content map[renewer.FileKind][]byte) (renewer.Staged, error) {
	st, err := h.stage(ctx, p, content)
	return st, h.doing("stage", p, h.kept(ctx, p, err))
}

func (h *Host) stage(ctx context.Context, p renewer.Placement, content map[renewer.FileKind][]byte) (renewer.Staged, error) {
	owner, err := h.owner(ctx, p)
	if err != nil {
		return renewer.Staged{}, err
	}
	files, err := wanted(p, owner, content)
	if err != nil {
		return renewer.Staged{}, err
	}
	names := slices.Sorted(maps.Values(p.Files))
	first := h.toWrite(p)
	first.Next = &Next{tempIn(roomOf(h.me()), baseOf(p), newName), namesOf(files), owner}
	pl, err := h.open(ctx, p, true, first)
	if err != nil {
		return renewer.Staged{}, err
	}
	defer pl.close()
	if err := h.runsBeside(ctx, p.Activate); err != nil {
		return renewer.Staged{}, err
	}
	if err := pl.claim(); err != nil {
		return renewer.Staged{}, err
	}
	if err := pl.sweep(); err != nil {
		return renewer.Staged{}, err
	}
	taken, err := pl.takeOver(names)
	if err != nil {
		return renewer.Staged{}, err
	}
	if err := h.notMounted(ctx, p.Dir, taken.foreign); err != nil {
		return renewer.Staged{}, err
	}
	if err := ctx.Err(); err != nil {
		return renewer.Staged{}, err
	}
	st := renewer.Staged{Previous: taken.revision}
	if st.Revision, err = pl.publish(files, false); err != nil {
		return renewer.Staged{}, err
	}
	st.Live = st.Revision == taken.revision && taken.linked
	h.mu.Lock()
	defer h.mu.Unlock()
	h.staged[path.Join(p.Dir, p.Certificate)] = st.Revision
	return st, nil
}

// wanted lays content out as the placement says.
func wanted(p renewer.Placement, owner Owner, content map[renewer.FileKind][]byte) ([]File, error) {
	if len(content) != len(p.Files) {
		return nil, fmt.Errorf("%d files to place, content for %d", len(p.Files), len(content))
	}
	files := make([]File, 0, len(p.Files))
	for _, kind := range slices.Sorted(maps.Keys(p.Files)) {
		mode, ok := p.Modes[kind]
		if !ok || mode.Perm()&0o400 == 0 {
			return nil, fmt.Errorf("mode %04o of %s: its owner could not read it", mode.Perm(), kind)
		}
		if kind.Secret() && mode.Perm()&0o007 != 0 {
			return nil, renewer.WithHint(fmt.Errorf("mode %04o of %s: everybody could use the private key", mode.Perm(), kind), "use 0400, or 0440 with a group")
		}
		data, ok := content[kind]
		if !ok || len(data) == 0 || len(data) > maxFile {
			return nil, fmt.Errorf("content of %s: %d bytes", kind, len(data))
		}
		files = append(files, File{Name: p.Files[kind], Mode: mode.Perm(), Owner: owner, Data: data})
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return files, nil
}

func namesOf(files []File) []string {
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// found is what takeOver saw.
type found struct {
	revision string   // holds what is seen through the names; empty for nothing
	linked   bool     // every name is a link of ours
	foreign  []string // names that hold something but are not links of ours
}

// takeOver makes sure that a whole revision holds what is now seen through
// the names. Mostly that is the live one. Where a name is a plain file, or
// somebody changed the live revision, all that is seen is copied to r0-HASH8.
// No live name is touched.
func (pl *place) takeOver(names []string) (found, error) {
	live, err := pl.live()
	if err != nil {
		return found{}, err
	}
	ours, err := pl.linked(live)
	if err != nil {
		return found{}, err
	}
	out := found{linked: true}
	var files []File
	for _, name := range union(names, ours) {
		s, err := pl.look(name)
		if err != nil {
			return found{}, err
		}
		if !s.ours {
			out.linked = false
		}
		if s.path == "" {
			out.linked = false
			continue
		}
		if !s.ours {
			out.foreign = append(out.foreign, name)
		}
		f, err := readFile(pl.dir, s.path)
		if err != nil {
			return found{}, err
		}
		f.Name = name
		files = append(files, f)
	}
	if live != "" && len(out.foreign) == 0 {
		_, err := pl.whole(live, files...)
		if err == nil {
			out.revision = live
			return out, nil
		}
		if !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist) {
			return found{}, err
		}
	}
	if len(files) == 0 {
		return out, nil
	}
	if out.revision, err = pl.publish(files, true); err != nil {
		return found{}, fmt.Errorf("copy what is in place: %w", err)
	}
	return out, nil
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// Flip makes a revision live. It may be an earlier one: that is how the way
// back goes. When it fails, the names lead to the revision before or to this
// one, whole, and the same call goes on from there.
func (h *Host) Flip(ctx context.Context, p renewer.Placement, revision string) error {
	return h.doing("flip to "+revision, p, h.kept(ctx, p, h.flip(ctx, p, revision)))
}

func (h *Host) flip(ctx context.Context, p renewer.Placement, revision string) error {
	first := h.toWrite(p, revision)
	first.Recent = h.justStaged(p, revision)
	pl, err := h.open(ctx, p, false, first)
	if err != nil {
		return err
	}
	defer pl.close()
	if err := pl.claim(); err != nil {
		return err
	}
	files, err := pl.whole(revision)
	if err != nil {
		return err
	}
	names := namesOf(files)
	if err := pl.claimed(p, names); err != nil {
		return err
	}
	taken, err := pl.takeOver(names)
	if err != nil {
		return err
	}
	link := path.Join(pl.base, current)
	if taken.revision != "" && taken.revision != revision {
		// Same content under every name, now through `current`.
		if err := pl.lead(link, taken.revision); err != nil {
			return err
		}
		for _, name := range taken.foreign {
			if err := pl.put(pl.linkTarget(name), name); err != nil {
				return err
			}
		}
	}
	before, err := pl.names(taken.revision)
	if err != nil {
		return err
	}
	if err := pl.lead(link, revision); err != nil {
		return err
	}
	// Where all names stay and this is not done again, no link of ours leads nowhere.
	return pl.tidy(names, taken.revision == revision || !slices.Equal(before, names))
}

// justStaged reports, once, whether a revision is what Stage left last: what that
// has read and written needs no second look, if it was a moment ago.
func (h *Host) justStaged(p renewer.Placement, revision string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := path.Join(p.Dir, p.Certificate)
	just := h.staged[key] == revision
	delete(h.staged, key)
	return just
}

// lead makes `current` name a revision, if it does not yet.
func (pl *place) lead(link, revision string) error {
	if live, err := pl.live(); err != nil || live == revision {
		return err
	}
	if r, ok := parseRevision(revision); ok && r.n == 0 {
		if err := pl.dir.Chmod(path.Join(pl.base, revision), storeMode); err != nil {
			return err
		}
	}
	return pl.put(revision, link)
}

// tidy makes the links of the live revision complete and removes those of
// ours that lead nowhere now, which may have any name.
func (pl *place) tidy(names []string, any bool) error {
	among := names
	if any {
		var err error
		if among, err = pl.allLinks(); err != nil {
			return err
		}
	}
	ours, err := pl.links(among)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(ours, name) {
			if err := pl.put(pl.linkTarget(name), name); err != nil {
				return err
			}
		}
	}
	gone := slices.DeleteFunc(ours, func(name string) bool { return slices.Contains(names, name) })
	for _, name := range gone {
		if err := pl.discard(name); err != nil {
			return err
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return pl.dir.Sync(".")
}

// claimed refuses to go back to a revision of another layout where a name of
// it has since been given to another certificate.
func (pl *place) claimed(p renewer.Placement, names []string) error {
	now := slices.Collect(maps.Values(p.Files))
	for _, name := range names {
		if slices.Contains(now, name) {
			continue
		}
		info, err := pl.dir.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode&fs.ModeSymlink == 0 {
			continue // copied first
		}
		target, err := pl.dir.Readlink(name)
		if err != nil {
			return err
		}
		if dir, _ := path.Split(target); path.Dir(path.Dir(path.Clean(dir))) == storeDir && target != pl.linkTarget(name) {
			return renewer.WithHint(fmt.Errorf("%s belongs to another certificate now: it leads to %s", path.Join(pl.path, name), target),
				"that revision is from before the entry's files: changed; renew instead of going back")
		}
	}
	return nil
}

// Prune removes all revisions but the live one and those named, and closes a copy of
// what was found: it has the modes that the files had, which may let everybody read.
func (h *Host) Prune(ctx context.Context, p renewer.Placement, keep []string) error {
	return h.doing("prune", p, h.kept(ctx, p, h.prune(ctx, p, keep)))
}

func (h *Host) prune(ctx context.Context, p renewer.Placement, keep []string) error {
	base := baseOf(p)
	first := Ahead{Recent: true, Lists: []string{base}, Infos: []string{roomOf(h.me())}, Links: []string{path.Join(base, current)}}
	pl, err := h.open(ctx, p, false, first)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pl.close()
	if err := pl.claim(); err != nil {
		return err
	}
	live, err := pl.live()
	if err != nil {
		return err
	}
	revs, err := pl.revisions()
	if err != nil {
		return err
	}
	likely := slices.Sorted(maps.Values(p.Files))
	for _, r := range revs {
		name := path.Join(base, r.String())
		switch {
		case r.String() == live:
		case !slices.Contains(keep, r.String()):
			err = pl.discard(name, likely...)
		case r.n == 0:
			err = pl.shut(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shut keeps others out of a copy of what was found.
func (pl *place) shut(name string) error {
	if i, err := pl.dir.Lstat(name); err != nil || i.Mode.Perm() == restMode {
		return err
	}
	return pl.dir.Chmod(name, restMode)
}

package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"renewer/renewer"
)

// Flip makes a revision live. It may be an earlier one: that is how the way
// back goes. When it fails, the names lead to the revision before or to this
// one, whole, and the same call goes on from there.
func (h *Host) Flip(ctx context.Context, p renewer.Placement, revision string) error {
	return h.doing("flip to "+revision+" of", p, h.kept(ctx, p, h.flip(ctx, p, revision)))
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
		if err := pl.unlink(name); err != nil {
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
			return renewer.WithHint(fmt.Errorf("%s belongs to another certificate now: it points to %s", path.Join(pl.path, name), target),
				"that revision was written before files: of the entry changed; run renewer renew instead of renewer rollback")
		}
	}
	return nil
}

package hosts

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"

	"renewer/renewer"
)

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
			err = pl.discard(r, likely...)
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

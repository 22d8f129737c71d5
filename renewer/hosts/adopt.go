package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"renewer/renewer"
)

// Adopt hands what is seen through the placement's names to check and, if that
// has no objection, makes sure that a whole revision holds it: the live one, or
// else a copy as r0-HASH8. No live name is touched.
func (h *Host) Adopt(ctx context.Context, p renewer.Placement, check func(map[renewer.FileKind][]byte) error) (string, error) {
	revision, err := h.adopt(ctx, p, check)
	return revision, h.doing("adopt the files in", p, h.kept(ctx, p, err))
}

func (h *Host) adopt(ctx context.Context, p renewer.Placement, check func(map[renewer.FileKind][]byte) error) (string, error) {
	pl, err := h.open(ctx, p, false, h.toWrite(p))
	const hint = "set dir: and files: of the entry to the paths of the existing files"
	if errors.Is(err, fs.ErrNotExist) {
		return "", renewer.WithHint(fmt.Errorf("directory %s is missing", p.Dir), hint)
	}
	if err != nil {
		return "", err
	}
	defer pl.close()
	content := map[renewer.FileKind][]byte{}
	for kind, name := range p.Files {
		s, err := pl.look(name)
		if err != nil {
			return "", err
		}
		if s.path == "" {
			return "", renewer.WithHint(fmt.Errorf("%s is missing", name), hint)
		}
		f, err := readFile(pl.dir, s.path)
		if err != nil {
			return "", err
		}
		content[kind] = f.Data
	}
	if err := check(content); err != nil {
		return "", err
	}
	if err := pl.claim(); err != nil {
		return "", err
	}
	taken, err := pl.takeOver(slices.Sorted(maps.Values(p.Files)))
	return taken.revision, err
}

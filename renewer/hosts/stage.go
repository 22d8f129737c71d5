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
	left, err := pl.sweep()
	if err != nil {
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
	if delete(h.left, path.Join(p.Dir, p.Certificate)); left != nil {
		h.left[path.Join(p.Dir, p.Certificate)] = left
	}
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
			return nil, fmt.Errorf("mode %04o of %s: its owner cannot read it", mode.Perm(), kind)
		}
		if kind.Secret() && mode.Perm()&0o007 != 0 {
			return nil, renewer.WithHint(fmt.Errorf("mode %04o of %s: every user could read the private key", mode.Perm(), kind), "use 0400, or 0440 with a group")
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
		return found{}, fmt.Errorf("copy the current files: %w", err)
	}
	return out, nil
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

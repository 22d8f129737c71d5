package hosts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"

	"renewer/internal/pattern"
	"renewer/renewer"
)

const (
	storeDir  = ".renewer"
	current   = "current"
	tempMark  = ".tmp-" // starts the name of whatever a crash may leave behind
	maxFile   = 1 << 20 // bytes; certificates and keys are far smaller
	storeMode = fs.FileMode(0o755)
	restMode  = fs.FileMode(0o700) // of a copy of what was found while it is not live: everybody may read a private key in it
	hashLen   = 8
)

// place is the open directory of a placement and its revisions below base.
type place struct {
	h      *Host
	dir    Dir
	path   string // of dir, for messages
	base   string // .renewer/CERT
	me     renewer.Mark
	room   string // in which all that is written is made, once it is claimed: see mark.go
	unlock func()

	real map[string]bool // directories below that are no links
}

func (pl *place) close() {
	_ = pl.dir.Close() // nothing is written through it
	pl.unlock()
}

func baseOf(p renewer.Placement) string { return path.Join(storeDir, p.Certificate) }

// toLook is what a placement looks at: whose the directory is, its live names,
// what is live, and other revisions.
func (h *Host) toLook(p renewer.Placement, revisions ...string) Ahead {
	base, names := baseOf(p), slices.Sorted(maps.Values(p.Files))
	a := Ahead{
		Infos: []string{storeDir, ownerDir, base, roomOf(h.me())},
		Links: append([]string{path.Join(base, current)}, names...),
	}
	for _, dir := range append([]string{current}, revisions...) {
		a.Trees = append(a.Trees, Tree{path.Join(base, dir), names})
	}
	return a
}

// toWrite is toLook and what is needed to write there.
func (h *Host) toWrite(p renewer.Placement, revisions ...string) Ahead {
	a := h.toLook(p, revisions...)
	a.Lists, a.Syncs = []string{baseOf(p), roomOf(h.me())}, []string{baseOf(p)}
	return a
}

// digest identifies files whatever their order, as lower-case hex.
func digest(files []File) string {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%q %o %d %d %x\n", f.Name, f.Mode.Perm(), f.Owner.UID, f.Owner.GID, sha256.Sum256(f.Data))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// revision is the name of a revision, taken apart.
type revision struct {
	n    int // 0: what was found in place
	hash string
}

func (r revision) String() string { return fmt.Sprintf("r%d-%s", r.n, r.hash) }

var revisionName = pattern.New(`^r(0|[1-9][0-9]{0,8})-([0-9a-f]{8})$`)

func parseRevision(name string) (revision, bool) {
	m := revisionName.FindStringSubmatch(name)
	if m == nil {
		return revision{}, false
	}
	n, err := strconv.Atoi(m[1])
	return revision{n: n, hash: m[2]}, err == nil
}

// revisions lists the published revisions, newest first.
func (pl *place) revisions() ([]revision, error) {
	names, err := pl.dir.ReadDir(pl.base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []revision
	for _, name := range names {
		if r, ok := parseRevision(name); ok {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b revision) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.hash, b.hash))
	})
	return out, nil
}

// read returns the files of a directory below base as they are on disk.
func (pl *place) read(name string) ([]File, error) { return readDir(pl.dir, path.Join(pl.base, name)) }

func readDir(d Dir, dir string, read ...File) ([]File, error) {
	names, err := d.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(names))
	for _, name := range names {
		if n := slices.IndexFunc(read, func(f File) bool { return f.Name == name }); n >= 0 {
			files = append(files, read[n])
			continue
		}
		f, err := readFile(d, path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// readFile reads what is no link. Owner and mode are those of what was read.
func readFile(d Dir, name string) (File, error) {
	info, err := d.Lstat(name)
	if err != nil {
		return File{}, err
	}
	if !info.Mode.IsRegular() {
		return File{}, fmt.Errorf("%s is not a regular file: %w", name, errDamaged)
	}
	info, data, err := d.ReadFile(name, maxFile)
	if err != nil {
		return File{}, err
	}
	return File{Name: path.Base(name), Mode: info.Mode.Perm(), Owner: info.Owner, Data: data}, nil
}

// whole reads a revision and refuses one that is not what its name says; read are
// files of it that were read just now, and are not read again.
func (pl *place) whole(name string, read ...File) ([]File, error) {
	r, ok := parseRevision(name)
	if !ok {
		return nil, fmt.Errorf("%q is not the name of a revision", name)
	}
	files, err := readDir(pl.dir, path.Join(pl.base, name), read...)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) {
		return nil, fmt.Errorf("%w: revision %s: %w", renewer.ErrNoRevision, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", name, err)
	}
	if digest(files)[:hashLen] != r.hash {
		return nil, renewer.WithHint(
			fmt.Errorf("revision %s is %w: names, content, modes or owner were changed", name, errDamaged),
			"another program changed files, modes or owners below "+path.Join(pl.path, pl.base)+"; renew or place the certificate again")
	}
	return files, nil
}

// errDamaged is wrapped by what is said of a revision that is not whole.
var errDamaged error = damaged{}

type damaged struct{}

func (damaged) Error() string        { return "changed since renewer wrote it" }
func (damaged) Is(target error) bool { return target == renewer.ErrNoRevision }

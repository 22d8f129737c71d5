package hosts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
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
}

func (pl *place) close() {
	_ = pl.dir.Close() // nothing is written through it
	pl.unlock()
}

// ahead tells the transport what is going to be looked at: the live names and
// their links, what is live and, if it is not empty, one more revision. The
// links of ours under other names need the whole directory, which may be large.
func (pl *place) ahead(names []string, revision string, others bool) {
	a := Ahead{
		Lists: []string{pl.base, ownerDir}, Infos: []string{pl.base},
		Links: append([]string{path.Join(pl.base, current)}, names...),
	}
	if others {
		a.Lists = append(a.Lists, ".")
		a.Syncs = []string{pl.base}
	} else {
		a.Infos = append(append(a.Infos, storeDir), names...)
	}
	pl.dir.Ahead(a)
	if revision != "" {
		pl.readAhead(revision, names)
	}
	if live, err := pl.live(); err == nil && live != "" && live != revision {
		pl.readAhead(live, names)
	}
}

// readAhead tells that a directory below base is going to be read.
func (pl *place) readAhead(name string, files []string) {
	dir := path.Join(pl.base, name)
	a := Ahead{Lists: []string{dir}}
	for _, f := range files {
		a.Files = append(a.Files, path.Join(dir, f))
	}
	pl.dir.Ahead(a)
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
func (pl *place) read(name string) ([]File, error) {
	dir := path.Join(pl.base, name)
	names, err := pl.dir.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(names))
	for _, name := range names {
		f, err := pl.readFile(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// readFile reads what is no link. Owner and mode are those of what was read.
func (pl *place) readFile(name string) (File, error) {
	info, err := pl.dir.Lstat(name)
	if err != nil {
		return File{}, err
	}
	if !info.Mode.IsRegular() {
		return File{}, fmt.Errorf("%s is not a regular file: %w", path.Join(pl.path, name), errDamaged)
	}
	info, data, err := pl.dir.ReadFile(name, maxFile)
	if err != nil {
		return File{}, err
	}
	return File{Name: path.Base(name), Mode: info.Mode.Perm(), Owner: info.Owner, Data: data}, nil
}

// whole reads a revision and refuses one that is not what its name says.
func (pl *place) whole(name string) ([]File, error) {
	r, ok := parseRevision(name)
	if !ok {
		return nil, fmt.Errorf("%q is not the name of a revision", name)
	}
	files, err := pl.read(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDamaged) {
		return nil, fmt.Errorf("%w: revision %s: %w", renewer.ErrNoRevision, name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("revision %s: %w", name, err)
	}
	if digest(files)[:hashLen] != r.hash {
		return nil, renewer.WithHint(
			fmt.Errorf("revision %s is %w: names, content, modes or owner were changed", name, errDamaged),
			"somebody wrote through the links, or changed modes or owner, below "+path.Join(pl.path, pl.base)+"; renew or place the certificate again")
	}
	return files, nil
}

// errDamaged is wrapped by what is said of a revision that is not whole.
var errDamaged error = damaged{}

type damaged struct{}

func (damaged) Error() string        { return "not as it was written" }
func (damaged) Is(target error) bool { return target == renewer.ErrNoRevision }

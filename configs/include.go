package configs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// joined are the sections that an included file may have: they are joined with
// those of the fleet file. Every other key stands in the fleet file alone, so
// that what it says of the daemon is seen in one place.
var joined = []string{"issuers", "hosts", "groups", "profiles", "windows", "certificates", "notify", "watch"}

const anInclude = "a path such as fleet.d/hosts.yaml or fleet.d/*.yaml, from the directory of this file"

var readInclude = set("paths", 1, textLike(anInclude, func(s string) bool {
	_, err := path.Match(s, "")
	return err == nil && !strings.Contains(s, "**")
}))

// includedSchema are the keys of an included file.
func includedSchema() schema {
	s := maps.Clone(fleetSchema)
	for k := range s {
		if !slices.Contains(joined, k) {
			s[k] = nil
		}
	}
	return s
}

// include reads the files that the fleet file names and joins them to its
// settings. It reports false where one could not be read.
func (l *loader) include(s settings) bool {
	if x, there := s["include"]; there && x.value == nil {
		return false
	}
	before := len(l.faults)
	files := l.matches(s)
	parts, keys := make([]loader, len(files)), includedSchema()
	l.sums = make([]sum, len(files))
	read := make([]settings, len(files))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range files {
		l.files = append(l.files, f.name)
		parts[i] = *l
		parts[i].file, parts[i].index, parts[i].main, parts[i].faults, parts[i].refused = f.name, int32(i+1), l.file, nil, 0
		g.Go(func() error {
			read[i], l.sums[i] = parts[i].included(f, keys)
			return nil
		})
	}
	_ = g.Wait() // what failed is a fault
	ok := len(l.faults) == before
	seen := map[string]map[string]pos{}
	for i, part := range read {
		l.faults, l.refused = append(l.faults, parts[i].faults...), l.refused+parts[i].refused
		if ok = ok && part != nil; ok {
			l.join(s, part, seen)
		}
	}
	return ok
}

// included reads one file; nil where that cannot be done.
func (l *loader) included(f match, keys schema) (settings, sum) {
	data, err := readFile(l.disk, f.name, MaxSize)
	if err != nil {
		expected := "expected a file that renewer may read"
		if errors.Is(err, fs.ErrNotExist) {
			expected = "expected an existing file, or a pattern such as *.yaml, which may match none"
		}
		l.unread(f.at, quote(f.name)+" cannot be read", err, expected)
		return nil, sum{}
	}
	root := l.document(data)
	if root == nil {
		return nil, sum{}
	}
	s, _ := l.object(l.locate(root), root, "an included file", keys)
	return s, sha256.Sum256(data)
}

// unread is a fault of a file or directory that is named and cannot be read.
func (l *loader) unread(at pos, what string, err error, expected string) {
	l.fault(at, what+": "+reason(err).Error(), expected)
	l.faults[len(l.faults)-1].err = err
}

// join adds the sections of an included file.
func (l *loader) join(to, more settings, seen map[string]map[string]pos) {
	for _, k := range joined {
		have := to[k]
		switch list := more[k].value.(type) {
		case []setting:
			all, _ := have.value.([]setting)
			to[k] = setting{have.at.or(more[k].at), append(all, list...)}
		case []item:
			all, _ := have.value.([]item)
			if seen[k] == nil {
				seen[k] = make(map[string]pos, len(all)+len(list))
				for _, it := range all {
					seen[k][it.name] = it.at
				}
			}
			for _, it := range list {
				if first, twice := seen[k][it.name]; twice {
					l.fault(it.at, fmt.Sprintf("key %s is given twice in %s", quote(it.name), k), "expected it once; "+l.first(first, it.at))
					continue
				}
				seen[k][it.name] = it.at
				all = append(all, it)
			}
			to[k] = setting{have.at.or(more[k].at), all}
		}
	}
}

// match is a file to include, and the place that names it.
type match struct {
	name string
	at   pos
}

// matches finds the files to include, each once, in the order of the list and
// then of their names.
func (l *loader) matches(s settings) (files []match) {
	seen := map[string]bool{path.Clean(l.file): true}
	for _, x := range get[[]setting](s, "include") {
		pattern := filepath.ToSlash(x.value.(string))
		dir := filepath.Dir(l.file)
		if path.IsAbs(pattern) {
			dir = "/"
		}
		names, err := l.glob(dir, strings.Split(strings.Trim(path.Clean(pattern), "/"), "/"), false)
		if err != nil {
			if at, ok := errors.AsType[*fs.PathError](err); ok {
				dir = at.Path
			}
			l.unread(x.at, "include "+quote(pattern)+": "+quote(dir)+" cannot be read", err, "expected a directory that renewer may read")
		}
		if !hasMeta(pattern) && slices.Contains(names, path.Clean(l.file)) {
			l.fault(x.at, "the fleet file includes itself", "expected other files")
		}
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				files = append(files, match{name, x.at})
			}
		}
	}
	return files
}

func hasMeta(pattern string) bool { return strings.ContainsAny(pattern, `*?[\`) }

// glob is filepath.Glob that does not take what cannot be read for what is not
// there: its certificates would be let go of. A name that begins with a dot has to
// be asked for, as in a shell: editors leave such files. What comes after a
// wildcard need not be there; what a directory lists is there.
func (l *loader) glob(dir string, segments []string, wild bool) ([]string, error) {
	if len(segments) == 0 {
		return []string{dir}, nil
	}
	segment, rest := segments[0], segments[1:]
	if !wild && !hasMeta(segment) {
		return l.glob(filepath.Join(dir, segment), rest, false)
	}
	entries, err := fs.ReadDir(l.disk, dir)
	if wild && errors.Is(err, syscall.ENOTDIR) || !wild && l.absent(dir, err) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		if ok, _ := path.Match(segment, e.Name()); !ok || e.Name()[0] == '.' && segment[0] != '.' {
			continue
		}
		below, err := l.glob(filepath.Join(dir, e.Name()), rest, true)
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	return out, err
}

// absent reports whether err is that a directory is not there: neither it nor
// one above is a link that leads nowhere.
func (l *loader) absent(dir string, err error) bool {
	for errors.Is(err, fs.ErrNotExist) {
		if _, err = fs.Lstat(l.disk, dir); err == nil {
			return false
		}
		above := filepath.Dir(dir)
		if _, err := fs.Stat(l.disk, above); err == nil || above == dir {
			return true
		}
		dir = above
	}
	return false
}

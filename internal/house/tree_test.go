package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "renewer"
)

// pkg is one directory with Go files: its path in the tree and what its files
// import, whatever their build constraints say.
type pkg struct {
	path                 string
	imports, testImports []string
}

// readTree parses the import clauses of every Go file of the module. It reads
// in process, and not through `go list`, so that go test's cache sees what the
// result depends on.
func readTree(t *testing.T) []pkg {
	t.Helper()
	byPath := map[string]*pkg{}
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(name, ".") && file != "." || strings.HasPrefix(name, "_")
			if hidden || name == "testdata" || file == "bin" || file == "var" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := path.Dir(file)
		p := byPath[dir]
		if p == nil {
			p = &pkg{path: dir}
			byPath[dir] = p
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if strings.HasSuffix(name, "_test.go") {
				p.testImports = append(p.testImports, imported)
			} else {
				p.imports = append(p.imports, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for _, p := range byPath {
		p.imports, p.testImports = unique(p.imports), unique(p.testImports)
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b pkg) int { return strings.Compare(a.path, b.path) })
	return list
}

func unique(paths []string) []string {
	slices.Sort(paths)
	return slices.Compact(paths)
}

// own reports whether an import path is of this module.
func own(path string) bool { return strings.HasPrefix(path, module+"/") }

// short is an import path of this module as a path in the tree; others stay.
func short(path string) string { return strings.TrimPrefix(path, module+"/") }

// standard reports whether an import path is of the standard library: the go
// command keeps paths without a dot in the first element for it.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !own(path) && !strings.Contains(first, ".")
}

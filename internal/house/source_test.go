package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// files calls do with the path in the tree of each file that is kept in the
// repository, generated and built ones left out.
func files(t *testing.T, do func(file string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (strings.HasPrefix(name, ".") || file == "bin" || file == "var"):
			return fs.SkipDir
		case d.Type().IsRegular():
			do(file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A source is a parsed Go file.
type source struct {
	path string
	text string
	set  *token.FileSet
	file *ast.File
}

func parse(t *testing.T, file string) source {
	t.Helper()
	s := source{path: file, text: read(t, file), set: token.NewFileSet()}
	var err error
	if s.file, err = parser.ParseFile(s.set, file, s.text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) line(pos token.Pos) int { return s.set.Position(pos).Line }

// A literal is a string of a Go file, its parts joined: "a "+name+" b" is
// "a … b".
type literal struct {
	text string
	pos  token.Pos
}

// literals returns the strings of a file but imports, struct tags and
// patterns.
func (s source) literals() (list []literal) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			n.Tag = nil
		case *ast.CallExpr:
			return !isPattern(n.Fun)
		case *ast.BinaryExpr:
			if text, ok := joined(n); ok {
				list = append(list, literal{text: text, pos: n.Pos()})
				for _, side := range []ast.Expr{n.X, n.Y} {
					list = append(list, s.inCalls(side)...)
				}
				return false
			}
		case *ast.BasicLit:
			if text, ok := joined(n); ok {
				list = append(list, literal{text: text, pos: n.Pos()})
			}
		}
		return true
	})
	return list
}

// inCalls returns the strings in what a sum adds that is no literal: the
// arguments of its calls.
func (s source) inCalls(e ast.Expr) (list []literal) {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return append(s.inCalls(e.X), s.inCalls(e.Y)...)
	case *ast.BasicLit:
		return nil
	default:
		inner := s
		inner.file = &ast.File{Name: ast.NewIdent("_"), Decls: []ast.Decl{&ast.GenDecl{Tok: token.VAR, Specs: []ast.Spec{
			&ast.ValueSpec{Names: []*ast.Ident{ast.NewIdent("_")}, Values: []ast.Expr{e}},
		}}}}
		return inner.literals()
	}
}

// joined is the text of a literal, or of a sum with one in it; what is no
// literal in a sum is "…".
func joined(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.ParenExpr:
		return joined(e.X)
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		left, isLeft := joined(e.X)
		right, isRight := joined(e.Y)
		if !isLeft {
			left = "…"
		}
		if !isRight {
			right = "…"
		}
		return left + right, isLeft || isRight
	}
	return "", false
}

// isPattern reports whether a function's argument is a regular expression.
func isPattern(fun ast.Expr) bool {
	selected, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := selected.X.(*ast.Ident)
	return ok && (of.Name == "regexp" || of.Name == "pattern")
}

// folder is the directory of a file, without testdata and what is below it.
func folder(file string) string {
	dir, _, _ := strings.Cut(path.Dir(file), "/testdata")
	return dir
}

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"renewer/internal/near"
)

// said in a text: a command and what follows it, up to the end of the clause.
var (
	commandIn = regexp.MustCompile("\\brenewer ((?:--(?:config|socket)[ =]\\S+ )*[a-z][a-z-]*\\b[^;,()`\"\n]*)")
	codeBlock = regexp.MustCompile("(?s)```(?:sh|console|bash|)\n(.*?)```")
	codeSpan  = regexp.MustCompile("`renewer [^`\n]+`")
)

// prose are words that follow the name of the program in sentences, and are near to that of
// a command.
var prose = map[string]bool{"runs": true, "forgets": true, "starts": true, "can": true}

// Every command that a hint, an error or the documentation names can be typed: its words
// are commands, and its flags are theirs.
func TestCommandsInTextsCanBeTyped(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			for at, text := range textsOf(t, path) {
				for _, m := range commandIn.FindAllStringSubmatch(text, -1) {
					found += typed(t, path+":"+strconv.Itoa(at), m[1])
				}
			}
		case strings.HasSuffix(path, ".md"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			code := codeSpan.FindAllString(string(b), -1)
			for _, m := range codeBlock.FindAllStringSubmatch(string(b), -1) {
				code = append(code, m[1])
			}
			for _, m := range commandIn.FindAllStringSubmatch(strings.Join(code, "\n"), -1) {
				found += typed(t, path, m[1])
			}
		}
		return nil
	})
	if err != nil || found < 200 {
		t.Errorf("only %d commands were found: %v", found, err)
	}
}

// textsOf are the strings of a Go file by their lines; what is put in is NAME.
func textsOf(t *testing.T, path string) map[int]string {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[int]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BinaryExpr, *ast.BasicLit:
			text, isText := literal(n.(ast.Expr))
			if isText {
				texts[set.Position(n.Pos()).Line] += "\n" + text
			}
			return false
		}
		return true
	})
	return texts
}

func literal(x ast.Expr) (text string, isText bool) {
	switch x := x.(type) {
	case *ast.BasicLit:
		if x.Kind != token.STRING {
			return "NAME", false
		}
		text, _ := strconv.Unquote(x.Value)
		return text, true
	case *ast.BinaryExpr:
		left, a := literal(x.X)
		right, b := literal(x.Y)
		return left + right, a || b
	}
	return "NAME", false
}

// typed counts a text that is a command, and checks it.
func typed(t *testing.T, at, text string) int {
	root := newRoot(&cli{}, nil)
	words := strings.Fields(strings.TrimRight(text, ".:?"))
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		words = words[2:]
	}
	first, names := words[0], commandNames(nil)
	cmd, rest, err := root.Find(words)
	if err != nil || cmd == root {
		if name, ok := near.Word(first, names); ok && !prose[first] {
			t.Errorf("%s: renewer %s: no command; %s?", at, text, name)
		}
		return 0
	}
	if cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		if name, ok := near.Word(strings.TrimRight(rest[0], "."), below(cmd)); ok && !strings.HasPrefix(rest[0], name) {
			t.Errorf("%s: renewer %s: no command %q; %s?", at, text, rest[0], name)
		}
	}
	for _, word := range rest {
		if word == "renewer" || word == "--" || word == "|" || word == "&&" {
			break
		}
		word = strings.TrimLeft(word, "[(")
		if name, ok := strings.CutPrefix(word, "--"); ok {
			name, _, _ = strings.Cut(strings.TrimRight(name, ".,:)]?"), "=")
			if !has(cmd, name) {
				t.Errorf("%s: renewer %s: %s has no flag --%s", at, text, cmd.CommandPath(), name)
			}
		}
	}
	return 1
}

func has(cmd *cobra.Command, flag string) bool {
	cmd.InitDefaultHelpFlag()
	return cmd.Flags().Lookup(flag) != nil || cmd.InheritedFlags().Lookup(flag) != nil
}

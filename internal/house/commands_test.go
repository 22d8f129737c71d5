package house

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	runs  = regexp.MustCompile(`exec\.Command(Context)?\(`)
	given = regexp.MustCompile(`\.Env\b[^=\n]*= `)
)

// Every command that renewer runs has an environment that it was given: without one it
// would inherit renewer's own, with its tokens, credentials and sockets. See package
// internal/cleanenv.
func TestCommandsInheritNoEnvironment(t *testing.T) {
	t.Parallel()
	found := 0
	err := fs.WalkDir(os.DirFS(root), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && file != "." || d.Name() == "testdata" || file == "internal" || file == "examples" || file == "e2e" || file == "bin" || file == "var"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(os.DirFS(root), file)
		if err != nil {
			return err
		}
		commands := len(runs.FindAllIndex(text, -1))
		if found += commands; commands > len(given.FindAllIndex(text, -1)) {
			t.Errorf("%s runs %d commands, and does not set the environment of each", file, commands)
		}
		return nil
	})
	if err != nil || found < 5 {
		t.Errorf("%d commands found: the tree was not read whole: %v", found, err)
	}
}

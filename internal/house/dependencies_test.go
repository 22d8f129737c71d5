package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// majorSuffix is the /v2 and later of a module path.
var majorSuffix = regexp.MustCompile(`/v[0-9]+$`)

// TestDependenciesAreExplained holds that ARCHITECTURE.md names every module
// that ours requires directly, by its path (a major version suffix may be left
// out).
func TestDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	direct := directModules(t)
	if len(direct) < 10 {
		t.Fatalf("go.mod has %d direct modules: %q; it was not read whole", len(direct), direct)
	}
	for _, module := range direct {
		if !strings.Contains(string(text), majorSuffix.ReplaceAllString(module, "")) {
			t.Errorf("ARCHITECTURE.md does not say why %s is there", module)
		}
	}
}

// directModules returns the modules that go.mod requires without "indirect".
func directModules(t *testing.T) (paths []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	block := false
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "require" && words[1] == "(":
			block = true
		case len(words) == 1 && words[0] == ")":
			block = false
		case strings.HasSuffix(strings.TrimSpace(line), "// indirect"):
		case len(words) >= 3 && words[0] == "require":
			paths = append(paths, words[1])
		case block && len(words) >= 2 && !strings.HasPrefix(words[0], "//"):
			paths = append(paths, words[0])
		}
	}
	return paths
}

package linediff

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUnified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after, want string }{
		"same":                       {"a\n", "a\n", ""},
		"created":                    {"", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"},
		"emptied":                    {"a\n", "", "@@ -1,1 +0,0 @@\n-a\n"},
		"replaced":                   {"a\nb\nc\n", "a\nB\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		"the last line gets its end": {"a", "a\n", "@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n"},
		"far apart": {
			"1\n2\n3\n4\n5\n6\n7\n8\n9\n", "x\n2\n3\n4\n5\n6\n7\n8\ny\n",
			"@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+y\n",
		},
	} {
		got := Unified("old", c.before, "new", c.after)
		if c.want != "" {
			c.want = "--- old\n+++ new\n" + c.want
		}
		if got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// patch(1) makes the second text out of the first.
func TestPatchTakesIt(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("patch is not installed")
	}
	file := filepath.Join(t.TempDir(), "f")
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "d\n", "\n"}), 0, 20).Draw(t, "lines"), "") +
			rapid.SampledFrom([]string{"", "z"}).Draw(t, "end")
	})
	rapid.Check(t, func(r *rapid.T) {
		before, after := text.Draw(r, "before"), text.Draw(r, "after")
		d := Unified("f", before, "f", after)
		if before == "" || after == "" || d == "" {
			return // patch creates and removes files then
		}
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			r.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), patch, "-s", "-F", "0", file)
		cmd.Stdin = strings.NewReader(d)
		if out, err := cmd.CombinedOutput(); err != nil {
			r.Fatalf("%v: %s\n%s", err, out, d)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != after {
			r.Fatalf("%q became %q, not %q (%v)\n%s", before, got, after, err, d)
		}
	})
}

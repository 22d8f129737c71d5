package plaintext

import (
	"strings"
	"testing"
	"unicode/utf8"
)

const hostile = "a\x1b[31m\x1b]0;title\x07 \u009b31m \u202egpj.exe\u2066 \r \x00 \xff \u2028end\n\ttab é"

func TestText(t *testing.T) {
	t.Parallel()
	got := Text(hostile)
	if strings.ContainsFunc(got, steers) || !utf8.ValidString(got) {
		t.Errorf("%q steers", got)
	}
	for _, kept := range []string{"a", "end\n\ttab é", "gpj.exe", "[31m"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%q lost %q", got, kept)
		}
	}
	if same := "plain é\n\t"; Text(same) != same {
		t.Errorf("%q was changed", same)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	x := strings.Repeat("x", longestRun)
	for text, want := range map[string]string{
		"":                                    "",
		x:                                     x,
		x + "x":                               x + "…",
		"a " + strings.Repeat(x, 1000) + " b": "a " + x + "… b",
		x + "xy" + x + "xx y":                 x + "…y" + x + "… y",
		strings.Repeat("é", 100) + ".":        strings.Repeat("é", longestRun) + "….",
		strings.Repeat("─", 200):              strings.Repeat("─", 200), // rules of tables
		strings.Repeat(" ", 200) + "\n":       strings.Repeat(" ", 200) + "\n",
	} {
		if got := Short(text); got != want {
			t.Errorf("%q became %q", text, got)
		}
		var out strings.Builder
		if _, err := (&Writer{To: &out}).Write([]byte(text)); err != nil || out.String() != want {
			t.Errorf("%q is written as %q, %v", text, out.String(), err)
		}
	}
}

// However it is cut into writes, nothing that steers gets through, and colours
// do where they may.
func TestWriter(t *testing.T) {
	t.Parallel()
	const coloured = "\x1b[31mred\x1b[0m \x1b[2J \x1b[1;5m é \u009b"
	for _, text := range []string{hostile, coloured, "\x1b", "é\x1b[", coloured + hostile} {
		for size := 1; size <= len(text); size++ {
			for _, colours := range []bool{true, false} {
				var out strings.Builder
				w := &Writer{To: &out, Colours: colours}
				for rest := text; rest != ""; {
					n := min(size, len(rest))
					if m, err := w.Write([]byte(rest[:n])); m != n || err != nil {
						t.Fatal(m, err)
					}
					rest = rest[n:]
				}
				got := out.String()
				if colours {
					got = strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "", "\x1b[1;5m", "").Replace(got)
				}
				if strings.ContainsFunc(got, steers) {
					t.Fatalf("%q in parts of %d: %q steers", text, size, got)
				}
			}
		}
	}
	var out strings.Builder
	if _, err := (&Writer{To: &out, Colours: true}).Write([]byte("\x1b[31mé\x1b[0m\n")); err != nil || out.String() != "\x1b[31mé\x1b[0m\n" {
		t.Errorf("coloured text came as %q, %v", out.String(), err)
	}
}

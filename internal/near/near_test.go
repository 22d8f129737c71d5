package near

import (
	"testing"

	"pgregory.net/rapid"
)

func TestEditsAreADistance(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[a-cä]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := edits(a, b)
		if d != edits(b, a) || (d == 0) != (a == b) || d > max(len([]rune(a)), len([]rune(b))) {
			t.Fatalf("%d edits from %q to %q, %d back", d, a, b, edits(b, a))
		}
	})
}

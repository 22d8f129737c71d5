package configs

import (
	"slices"
	"strconv"
	"strings"
)

// quote shows a user's text in a message: escaped, and never very long.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// Suggest is what may have been meant instead of a word that is none of the valid
// ones, for a hint.
func Suggest(word string, valid []string) string { return suggestion(word, valid) }

// suggestion names the nearest of the valid words, or lists them where none is near.
func suggestion(word string, valid []string) string {
	if near, ok := nearest(word, valid); ok {
		return "did you mean " + quote(near) + "?"
	}
	return "expected " + oneOf(valid)
}

// oneOf lists words, and does not go on for ever.
func oneOf(valid []string) string {
	const most = 40
	words := slices.Compact(slices.Sorted(slices.Values(valid)))
	more := ""
	if len(words) > most {
		words, more = words[:most], ", …"
	}
	switch len(words) {
	case 0:
		return "an entry of that kind, and the fleet file has none yet"
	case 1:
		return words[0]
	}
	return "one of " + strings.Join(words, ", ") + more
}

// nearest returns the valid word with the fewest edits, if a slip of the
// hand could explain them.
func nearest(word string, valid []string) (string, bool) {
	if len(word) > 64 {
		return "", false
	}
	fold := strings.NewReplacer("-", "_", " ", "_")
	folded := fold.Replace(strings.ToLower(word))
	best, least := "", 1000
	for _, v := range valid {
		if max(len(word)-len(v), len(v)-len(word)) > max(1, min(len(word), len(v))/3) {
			continue // as many edits at least
		}
		d := edits(folded, fold.Replace(strings.ToLower(v)))
		if d < least || d == least && v < best {
			best, least = v, d
		}
	}
	if least > max(1, min(len(word), len(best))/3) {
		return "", false
	}
	return best, true
}

// edits counts insertions, deletions, replacements and swaps of neighbours
// (the restricted Damerau-Levenshtein distance).
func edits(a, b string) int {
	x, y := []rune(a), []rune(b)
	var older, old []int
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		older, old, row = old, row, make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			replace := old[j-1]
			if x[i-1] != y[j-1] {
				replace++
			}
			row[j] = min(old[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(y)]
}

// Package near finds the word that was meant where one was mistyped.
package near

import "strings"

// Word returns the valid word with the fewest edits, if a slip of the
// hand could explain them.
func Word(word string, valid []string) (string, bool) {
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

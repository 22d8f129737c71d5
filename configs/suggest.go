package configs

import (
	"slices"
	"strconv"
	"strings"

	"renewer/internal/near"
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
	if near, ok := near.Word(word, valid); ok {
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

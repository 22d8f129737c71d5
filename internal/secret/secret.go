// Package secret holds text that must not be seen: whatever prints it, logs it
// or encodes it, gets Hidden in its place.
package secret

import (
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden stands where a secret would.
const Hidden = "[redacted]"

// Text is a secret. The zero value is an empty one.
type Text struct{ value string }

// New makes a secret of a text.
func New(value string) Text { return Text{value} }

// Reveal returns the secret to who needs it.
func (t Text) Reveal() string { return t.value }

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.value == "" }

// String implements fmt.Stringer.
func (Text) String() string { return Hidden }

// LogValue implements slog.LogValuer.
func (Text) LogValue() slog.Value { return slog.StringValue(Hidden) }

// MarshalText implements encoding.TextMarshaler.
func (Text) MarshalText() ([]byte, error) { return []byte(Hidden), nil }

// Format implements fmt.Formatter: no verb gets through.
func (Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Hidden) }

// A part of a secret is looked for by itself if it has leastPart bytes: shorter
// ones are words and numbers that stand everywhere. One of less than longPart
// is hidden where it is a word, a longer one inside of others too.
const (
	leastPart = 4
	longPart  = 8
)

// RedactText returns the text with every secret, and every part of one that a
// library may have cut out of it, hidden.
func RedactText(text string, secrets ...Text) string {
	var whole, words []string
	for _, s := range secrets {
		a, b := parts(s.value)
		whole, words = append(whole, a...), append(words, b...)
	}
	for _, list := range [][]string{whole, words} {
		slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) }) // the longest first
	}
	for _, p := range whole {
		text = hide(text, p, true)
	}
	for _, p := range words {
		text = hide(text, p, len(p) >= longPart)
	}
	return text
}

// parts returns a secret whole, also as it looks in a URL, and cut into words.
// Of a URL the scheme, the names of its parameters and a host that is a name
// of several words, or localhost, are no secrets.
func parts(value string) (whole, words []string) {
	if value == "" {
		return nil, nil
	}
	whole = []string{value, url.QueryEscape(value), url.PathEscape(value)}
	text, open := value, map[string]bool{}
	if u, err := url.Parse(value); err == nil && u.Scheme != "" {
		public := []string{u.Scheme, u.Port()}
		for k := range u.Query() {
			public = append(public, k)
		}
		if h := u.Hostname(); strings.Contains(h, ".") || h == "localhost" {
			public = append(public, h)
		}
		for _, p := range public {
			for _, w := range fields(p) {
				open[strings.ToLower(w)] = true
			}
		}
		if plain, err := url.PathUnescape(value); err == nil && plain != value {
			whole, text = append(whole, plain), text+" "+plain
		}
	}
	for _, w := range fields(text) {
		if len(w) >= leastPart && !open[strings.ToLower(w)] {
			words = append(words, w)
		}
	}
	return whole, words
}

func fields(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return !inWord(r) }) }
func inWord(r rune) bool       { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// hide hides every occurrence of a part, whatever its case; inside of other
// words too, or not.
func hide(text, part string, inside bool) string {
	if part == "" || strings.Contains(Hidden, part) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		end := i + len(part)
		if end <= len(text) && strings.EqualFold(text[i:end], part) && (inside || alone(text, i, end)) {
			out.WriteString(Hidden)
			i = end
			continue
		}
		out.WriteByte(text[i])
		i++
	}
	return out.String()
}

func alone(text string, begin, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:begin])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return !inWord(before) && !inWord(after)
}

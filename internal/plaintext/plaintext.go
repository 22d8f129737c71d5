// Package plaintext removes from text what changes a display: control
// characters of both sets (C0 but for tab and line feed, C1), characters that
// change the direction of text, and bytes that are no text. What hosts, issuers
// and their users say reaches renewer's own words everywhere; it is cleaned
// where it leaves: terminal, page and messages. Logs quote it by themselves.
package plaintext

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s with a replacement character for each rune that steers.
func Text(s string) string {
	if strings.IndexFunc(s, steers) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if steers(r) {
			return utf8.RuneError
		}
		return r
	}, s), string(utf8.RuneError))
}

func steers(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff':
		return true
	}
	return unicode.Is(unicode.Bidi_Control, r)
}

// longestRun is what one letter or digit may stand in a row in what people read: more says
// nothing, and a host can fill a screen with it.
const longestRun = 32

// Short returns s with each longer run cut.
func Short(s string) string {
	var out strings.Builder
	kept, last, run := 0, utf8.RuneError, 0
	for i, r := range s {
		if r != last {
			last, run = r, 0
		}
		if run++; run <= longestRun || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			continue
		}
		if run == longestRun+1 {
			out.WriteString(s[kept:i] + "…")
		}
		kept = i + utf8.RuneLen(r)
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// Writer is a sink for text that people read: runs are cut, as far as they come in one
// write, unless Whole. With Colours the sequences that colour it pass.
type Writer struct {
	To      io.Writer
	Colours bool
	Whole   bool

	part []byte // of a rune or of a sequence that is not whole
}

// Write is used by one goroutine at a time, as what it writes to.
func (w *Writer) Write(p []byte) (int, error) {
	text := append(w.part, p...)
	whole := len(text) - unfinished(text, w.Colours)
	w.part = bytes.Clone(text[whole:])
	if _, err := io.WriteString(w.To, w.clean(text[:whole])); err != nil {
		return 0, err
	}
	return len(p), nil
}

// longest is what a sequence that colours may be long.
const longest = 24

// unfinished is the length of the end of text that more may belong to.
func unfinished(text []byte, colours bool) int {
	if at := bytes.LastIndexByte(text, 0x1b); colours && at >= 0 && len(text)-at < longest {
		if _, ok := colour(text[at:]); !ok && bytes.Trim(bytes.TrimPrefix(text[at+1:], []byte("[")), "0123456789;") == nil {
			return len(text) - at
		}
	}
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			break
		}
	}
	return 0
}

func (w *Writer) text(part []byte) string {
	if w.Whole {
		return Text(string(part))
	}
	return Short(Text(string(part)))
}

func (w *Writer) clean(text []byte) string {
	if !w.Colours {
		return w.text(text)
	}
	var out strings.Builder
	for {
		at := bytes.IndexByte(text, 0x1b)
		if at < 0 {
			out.WriteString(w.text(text))
			return out.String()
		}
		out.WriteString(w.text(text[:at]))
		text = text[at:]
		if n, ok := colour(text); ok {
			out.Write(text[:n])
			text = text[n:]
			continue
		}
		out.WriteRune(utf8.RuneError)
		text = text[1:]
	}
}

// colour is the length of the sequence that text begins with, if all it does is
// to colour (ECMA-48, SGR).
func colour(text []byte) (int, bool) {
	rest, ok := bytes.CutPrefix(text, []byte("\x1b["))
	if !ok {
		return 0, false
	}
	end := len(rest) - len(bytes.TrimLeft(rest, "0123456789;"))
	if end < len(rest) && rest[end] == 'm' && end < longest {
		return len(text) - len(rest) + end + 1, true
	}
	return 0, false
}

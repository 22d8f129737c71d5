package unithost

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// What is kept of a journal: lines, of which most may be errors, and bytes of one
// line and of them all.
const (
	wordLines  = 5
	errorLines = 3
	lineBytes  = 300
	wordBytes  = 600
)

// journal is what a unit, and systemd about it, said of late: the last tries to start
// it are all that explains a failure. No --since: with it, journalctl counts the lines from there
// on, and prints the oldest.
func journal(unit string) []string {
	return []string{
		"journalctl", "--unit=" + unit, "--lines=60", "--no-pager", "--quiet",
		"--output=json", "--output-fields=MESSAGE,PRIORITY,INVOCATION_ID,_SYSTEMD_INVOCATION_ID,_PID",
	}
}

// Words are the last things that a unit said itself when it was last started, errors
// first, in one line; empty where the journal does not tell.
func Words(ctx context.Context, m Machine, unit string) string {
	out, err := m.Output(ctx, journal(unit))
	if err != nil {
		return ""
	}
	return lastWords(out)
}

// word is an entry of the journal (systemd.journal-fields(7)).
type word struct {
	Message json.RawMessage `json:"MESSAGE"`
	Level   string          `json:"PRIORITY"`
	By      string          `json:"_PID"`
	Start   string          `json:"_SYSTEMD_INVOCATION_ID"` // of the unit's own
	About   string          `json:"INVOCATION_ID"`          // of systemd's
}

// lastWords takes those of the last start of which there are any.
func lastWords(out string) string {
	var said []word
	for line := range strings.Lines(out) {
		var w word
		if json.Unmarshal([]byte(line), &w) == nil {
			if w.About != "" {
				w.Start = w.About
			}
			said = append(said, w)
		}
	}
	seen := map[string]bool{}
	for _, w := range slices.Backward(said) {
		if seen[w.Start] {
			continue
		}
		seen[w.Start] = true
		if text := wordsOf(said, w.Start); text != "" {
			return text
		}
	}
	return ""
}

// wordsOf leaves out what systemd says of every unit: the unit's own words are about
// the cause.
func wordsOf(said []word, start string) string {
	var errs, rest []string
	for _, w := range said {
		line := w.text()
		if w.Start != start || line == "" || w.By == "1" && manager(line) || slices.Contains(errs, line) || slices.Contains(rest, line) {
			continue
		}
		if level, err := strconv.Atoi(w.Level); err == nil && level <= 3 {
			errs = append(errs, line)
		} else {
			rest = append(rest, line)
		}
	}
	errs = errs[max(0, len(errs)-errorLines):]
	rest = rest[max(0, len(rest)-wordLines+len(errs)):]
	for {
		text := strings.Join(append(slices.Clone(errs), rest...), "; ")
		switch {
		case len(text) <= wordBytes:
			return text
		case len(rest) > 0:
			rest = rest[1:]
		default:
			errs = errs[1:]
		}
	}
}

// text is a message, cleaned and cut: bytes that are no text are printed as numbers.
func (w word) text() string {
	var line string
	if json.Unmarshal(w.Message, &line) != nil {
		var numbers []int
		_ = json.Unmarshal(w.Message, &numbers) // else it was too long for the journal to print
		var b bytes.Buffer
		for _, n := range numbers {
			b.WriteByte(byte(n))
		}
		line = b.String()
	}
	if line = clean(line); len(line) > lineBytes {
		line = strings.ToValidUTF8(line[:lineBytes], "") + "…"
	}
	return line
}

// manager reports whether a line is systemd's own about starting and stopping.
func manager(line string) bool {
	for _, start := range []string{"Starting ", "Started ", "Stopping ", "Stopped ", "Failed to start "} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	for _, part := range []string{": Scheduled restart job", ": Consumed ", ": Start request repeated", ": Failed with result", ": Main process exited", ": Deactivated successfully"} {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

// clean takes away what a terminal would act on.
func clean(line string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, ""))), " ")
}

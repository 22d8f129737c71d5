package unithost

import (
	"context"
	"strings"
)

// What is kept of a journal: lines, and bytes of them all.
const (
	wordLines = 5
	wordBytes = 600
)

func journal(unit string) []string {
	return []string{"journalctl", "--unit=" + unit, "--lines=30", "--output=cat", "--no-pager", "--quiet"}
}

// Words are the last things that a unit said itself, oldest first, in one line;
// empty where the journal does not tell.
func Words(ctx context.Context, m Machine, unit string) string {
	out, err := m.Output(ctx, journal(unit))
	if err != nil {
		return ""
	}
	return lastWords(out)
}

// lastWords leaves out what systemd says of every unit: the unit's own words are
// about the cause.
func lastWords(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		line = clean(line)
		if line == "" || manager(line) || len(kept) > 0 && kept[len(kept)-1] == line {
			continue
		}
		kept = append(kept, line)
	}
	kept = kept[max(0, len(kept)-wordLines):]
	text := strings.Join(kept, "; ")
	if len(text) > wordBytes {
		text = "…" + strings.ToValidUTF8(text[len(text)-wordBytes:], "")
	}
	return text
}

// manager reports whether a line is systemd's own about starting and stopping.
func manager(line string) bool {
	for _, start := range []string{"Starting ", "Started ", "Stopping ", "Stopped ", "Failed to start ", "Scheduled restart job"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	for _, part := range []string{".service: Scheduled restart job", ".service: Consumed ", ".service: Start request repeated", ".service: Failed with result", ".service: Main process exited", ".service: Deactivated successfully"} {
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

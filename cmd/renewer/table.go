package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

const (
	gap        = "  "
	factColumn = 15
	leastLead  = 12
)

// What a narrow terminal does with a column goes by its name. Hashes are left out
// first; then texts go below their row; then other columns are left out, the first of
// spare first. What remains and has no room goes below, too: nothing is shortened.
var (
	hashes = []string{"fingerprint_sha256", "sha-256", "expected_sha256", "on_disk_sha256", "served_sha256", "serial"}
	texts  = []string{
		"problem", "problems", "hint", "error", "last_error", "reason", "why", "waits_for", "message", "text", "what", "when", "note", "fix",
		"files", "activate", "probe", "default_sans", "sans", "services", "accepted_by", "in_place_on", "subject",
	}
	spare = []string{
		"clock", "revision", "attempts", "rollout", "kind", "generation", "current", "last_error_at", "phase", "issuer", "source",
		"usages", "key", "issued_at", "since", "renew_at",
	}
)

// table prints aligned columns without lines: as wide as they are, or on a terminal as
// wide as that is. With -o wide nothing is left out.
func (c *cli) table(columns []string, rows [][]any) error {
	now := time.Now()
	head, widths, filled := make([]cell, len(columns)), make([]int, len(columns)), make([]bool, len(columns))
	for x, name := range columns {
		head[x].text = strings.ToUpper(strings.ReplaceAll(name, "_", " "))
		widths[x] = text.StringWidth(head[x].text)
	}
	all := make([][]cell, len(rows))
	for y, values := range rows {
		for x, value := range values {
			one := c.shown(value, now)
			widths[x] = max(widths[x], text.StringWidth(inline(one.text)))
			filled[x] = filled[x] || one.text != ""
			all[y] = append(all[y], one)
		}
	}
	room := c.columns
	if c.format == asWide {
		room = 0
	}
	for x, name := range columns {
		if room > 0 && !filled[x] && slices.Contains(texts, name) {
			widths[x] = 0
		}
	}
	line, below := arrange(columns, widths, room)
	out := bufio.NewWriter(c.out)
	writeRow(out, head, line, widths)
	for _, row := range all {
		writeRow(out, row, line, widths)
		for _, x := range below {
			name := strings.ReplaceAll(columns[x], "_", " ")
			if s := row[x].text; s != "" && !strings.HasSuffix(row[line[0]].text, "@"+s) { // web@host says the host
				labelled(out, name, s, room)
			}
		}
	}
	return out.Flush()
}

// inline is a text in one line.
func inline(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(s, "\n", " ")
}

// writeRow writes the cells of a line. The first one, which may be wider than its column,
// then has a line of its own.
func writeRow(out *bufio.Writer, row []cell, line, widths []int) {
	for i, x := range line {
		s := inline(row[x].text)
		pad := widths[x] - text.StringWidth(s)
		out.WriteString(row[x].paint(s))
		switch {
		case i == len(line)-1:
		case pad < 0:
			out.WriteString("\n" + strings.Repeat(" ", widths[x]) + gap)
		default:
			out.WriteString(strings.Repeat(" ", pad) + gap)
		}
	}
	out.WriteString("\n")
}

// labelled writes a text with its name, on as many lines as it needs.
func labelled(out io.Writer, name, s string, room int) {
	indent := gap
	for _, line := range lines(name+": "+s, room-2*len(gap)) {
		fmt.Fprintf(out, "%s%s\n", indent, line)
		indent = gap + gap
	}
}

// arrange chooses the columns of a line and those whose cells go below it; what has no
// width is neither.
func arrange(columns []string, widths []int, room int) (line, below []int) {
	var all []int
	for x, width := range widths {
		if width > 0 {
			all = append(all, x)
		}
	}
	line = slices.Clone(all)
	over := func() int {
		total := len(gap) * (len(line) - 1)
		for _, x := range line {
			total += widths[x]
		}
		return total - room
	}
	if room == 0 || over() <= 0 {
		return line, nil
	}
	leave := func(names []string) {
		for _, name := range names {
			i := slices.IndexFunc(line, func(x int) bool { return columns[x] == name })
			if over() > 0 && len(line) > 1 && (i > 0 || i == 0 && name == "kind") {
				line = slices.Delete(line, i, i+1)
			}
		}
	}
	lower := func(may func(name string) bool) bool {
		widest := 0
		for i := 1; i < len(line); i++ {
			if may(columns[line[i]]) && (widest == 0 || widths[line[i]] > widths[line[widest]]) {
				widest = i
			}
		}
		if widest == 0 || over() <= 0 {
			return false
		}
		below = append(below, line[widest])
		line = slices.Delete(line, widest, widest+1)
		return true
	}
	if leave(hashes); over() <= 0 {
		return line, nil
	}
	line = slices.Clone(all)
	for lower(func(name string) bool { return slices.Contains(texts, name) }) {
	}
	leave(hashes)
	leave(spare)
	for more := true; more; more = lower(func(string) bool { return true }) {
		// A long name may have a line of its own, where the others then have room.
		if n, first := over(), line[0]; n > 0 && widths[first]-n >= leastLead && columns[first] != "time" {
			widths[first] -= n
		}
	}
	slices.Sort(below)
	return line, below
}

// widthOf is the width of a terminal; 0 of what is none.
func widthOf(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	switch {
	case err != nil:
		return 0
	case w == 0: // one that does not know
		return 80
	}
	return w
}

// facts prints one name and value a line; empty values are left out. What is
// longer than a line goes on below itself.
func (c *cli) facts(pairs ...any) {
	now := time.Now()
	for i := 0; i+1 < len(pairs); i += 2 {
		value := c.shown(pairs[i+1], now)
		if value.text == "" {
			continue
		}
		name := pairs[i].(string) + ":"
		for _, line := range lines(value.text, c.columns-factColumn) {
			fmt.Fprintf(c.out, "%-*s%s\n", factColumn, name, value.paint(line))
			name = ""
		}
	}
}

// lines breaks a text between words; a word that is longer than a line, such
// as a fingerprint, stays whole so that it can be copied.
func lines(s string, room int) (out []string) {
	for paragraph := range strings.SplitSeq(s, "\n") {
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			switch {
			case line == "":
				line = word
			case room > 0 && text.StringWidth(line)+1+text.StringWidth(word) > room:
				out = append(out, line)
				line = word
			default:
				line += " " + word
			}
		}
		out = append(out, line)
	}
	return out
}

// heading starts a part of a longer text.
func (c *cli) heading(s string) {
	fmt.Fprintf(c.out, "\n%s\n", text.Bold.Sprint(s))
}

package main

import (
	"bufio"
	"cmp"
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
		"hint", "fix", "error", "last_error", "problems", "text", "reason", "why", "waits_for", "message", "what", "when", "note",
		"files", "default_sans", "sans", "services", "accepted_by", "in_place_on", "activate", "probe", "subject",
	}
	spare = []string{
		"clock", "revision", "attempts", "rollout", "kind", "generation", "current", "last_error_at", "phase", "issuer", "source",
		"usages", "key", "issued_at", "since", "renew_at",
	}
)

// table prints aligned columns without lines: as wide as they are, or on a terminal as
// wide as that is, without texts that no row has. With -o wide nothing is left out.
func (c *cli) table(columns []string, rows [][]any) error {
	now, room := time.Now(), c.columns
	if c.format == asWide {
		room = 0
	}
	widths, all := make([]int, len(columns)), make([][]cell, len(rows)+1)
	for y, values := range rows {
		for x, value := range values {
			one := c.shown(value, now)
			widths[x] = max(widths[x], text.StringWidth(strings.ReplaceAll(one.text, "\n", " ")))
			all[y+1] = append(all[y+1], one)
		}
	}
	for x, name := range columns {
		head := strings.ToUpper(strings.ReplaceAll(name, "_", " "))
		if all[0] = append(all[0], cell{text: head}); widths[x] > 0 || room == 0 || !slices.Contains(texts, name) {
			widths[x] = max(widths[x], text.StringWidth(head))
		}
	}
	line, below := arrange(columns, widths, room)
	out := bufio.NewWriter(c.out)
	for y, row := range all {
		writeRow(out, row, line, widths)
		for _, x := range below {
			if s := row[x].text; y > 0 && s != "" && s != "0" && !strings.HasSuffix(row[line[0]].text, "@"+s) { // web@host says the host
				labelled(out, strings.ToLower(all[0][x].text), s, room)
			}
		}
	}
	return out.Flush()
}

// writeRow writes the cells of a line. The first one, which may be wider than its column,
// then has a line of its own.
func writeRow(out *bufio.Writer, row []cell, line, widths []int) {
	for i, x := range line {
		s := cmp.Or(strings.ReplaceAll(row[x].text, "\n", " "), "-")
		pad := widths[x] - text.StringWidth(s)
		fmt.Fprint(out, row[x].paint(s))
		switch {
		case i == len(line)-1:
		case pad < 0:
			fmt.Fprint(out, "\n"+strings.Repeat(" ", widths[x])+gap)
		default:
			fmt.Fprint(out, strings.Repeat(" ", pad)+gap)
		}
	}
	fmt.Fprint(out, "\n")
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
// width is neither. A first column may have got narrower.
func arrange(columns []string, widths []int, room int) (line, below []int) {
	for x, width := range widths {
		if width > 0 {
			line = append(line, x)
		}
	}
	all := slices.Clone(line)
	over := func() int {
		total := len(gap)*(len(line)-1) - room
		for _, x := range line {
			total += widths[x]
		}
		return total * min(room, 1)
	}
	take := func(lower bool, names ...string) {
		for _, name := range names {
			i := slices.IndexFunc(line, func(x int) bool { return columns[x] == name })
			if over() <= 0 || len(line) == 1 || i < 0 || i == 0 && name != "kind" {
				continue
			}
			if lower {
				below = append(below, line[i])
			}
			line = slices.Delete(line, i, i+1)
		}
	}
	if take(false, hashes...); over() <= 0 {
		return line, nil
	}
	line = all
	take(true, texts...)
	take(false, hashes...)
	if columns[0] == "time" { // of events all else is what they are about
		take(false, "rollout", "generation")
	} else {
		take(false, spare...)
	}
	rest := slices.Clone(line)
	slices.SortStableFunc(rest, func(a, b int) int { return widths[b] - widths[a] })
	for _, x := range rest {
		// A long name may have a line of its own, where the others then have room.
		if n, first := over(), line[0]; n > 0 && widths[first]-n >= leastLead && columns[first] != "time" {
			widths[first] -= n
		}
		take(true, columns[x])
	}
	slices.Sort(below)
	return line, below
}

// width is that of the terminal that results go to; 0 where there is none.
func (c *cli) width() int { return c.columns }

// widthOf is the width of a terminal; 0 of what is none.
func widthOf(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return cmp.Or(w, 80) // one that does not know
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
		for _, line := range lines(value.text, c.width()-factColumn) {
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

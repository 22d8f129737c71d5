package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"renewer/renewer"
)

// colours is on for a terminal only, and off where NO_COLOR is set.
func (c *cli) colours() {
	if isTerminal(c.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		text.EnableColors()
	} else {
		text.DisableColors()
	}
}

// colourOf is by what is at stake.
var colourOf = map[string]text.Color{
	string(renewer.StatusValid): text.FgGreen, string(renewer.HostVerified): text.FgGreen, "up": text.FgGreen, "ok": text.FgGreen,
	string(renewer.StatusDue): text.FgYellow, string(renewer.StatusRenewing): text.FgYellow, string(renewer.StatusPending): text.FgYellow,
	string(renewer.HostStaged): text.FgYellow, string(renewer.HostActivated): text.FgYellow, string(renewer.ResultWaiting): text.FgYellow,
	string(renewer.StatusBlocked): text.FgRed, string(renewer.StatusExpired): text.FgRed, string(renewer.StatusRevoked): text.FgRed,
	string(renewer.HostRolledBack): text.FgRed, string(renewer.HostDrifted): text.FgRed, string(renewer.ResultFailed): text.FgRed,
	string(renewer.StatusOrphaned): text.FgYellow,
	string(renewer.Accepted):       text.FgGreen, string(renewer.Assumed): text.FgGreen, string(renewer.NotLoaded): text.FgYellow,
	string(renewer.NoRoot): text.FgRed,
	"down":                 text.FgRed, "differs": text.FgRed, "unreachable": text.FgRed,
	string(renewer.FindingWarn): text.FgYellow, string(renewer.FindingUnknown): text.FgYellow, string(renewer.FindingFail): text.FgRed,
}

// end is the end of a certificate: a time, coloured by how near it is.
type end struct{ renewer.Row }

func (e end) colour(now time.Time) text.Color {
	left, life := e.NotAfter.Sub(now), e.NotAfter.Sub(e.NotBefore)
	switch {
	case left < life/10 && (e.RenewAt.IsZero() || !now.Before(e.RenewAt)): // life may be dated back by years
		return text.FgRed
	case !e.RenewAt.IsZero() && !now.Before(e.RenewAt):
		return text.FgYellow
	}
	return text.FgGreen
}

// state is a cell with a colour of its own.
type state string

// plain is a cell for scripts.
func plain(cell any) string {
	switch v := cell.(type) {
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format(time.RFC3339)
	case end:
		return plain(v.NotAfter)
	case []string:
		return strings.Join(v, " ")
	default:
		return fmt.Sprint(v)
	}
}

// shown is a cell for people, and its colour (0: none).
func (c *cli) shown(cell any, now time.Time) (string, text.Color) {
	s, colour := plain(cell), text.Color(0)
	switch v := cell.(type) {
	case time.Time:
		s = c.when(v, now)
	case end:
		if !v.NotAfter.IsZero() {
			s, colour = c.when(v.NotAfter, now), v.colour(now)
		}
	case state:
		colour = colourOf[s]
	}
	if s == "" {
		s = "-"
	}
	return strings.Map(harmless, s), colour
}

// harmless keeps what a host or an issuer answered from steering a terminal.
func harmless(r rune) rune {
	if unicode.IsControl(r) && r != '\n' {
		return ' '
	}
	return r
}

func coloured(s string, colour text.Color) string {
	if colour == 0 {
		return s
	}
	return colour.Sprint(s)
}

// when is relative on a terminal, where somebody reads it now.
func (c *cli) when(t, now time.Time) string {
	if t.IsZero() || !isTerminal(c.out) {
		return plain(t)
	}
	return relative(t.Sub(now))
}

func relative(d time.Duration) string {
	if d < 0 {
		return span(-d) + " ago"
	}
	return "in " + span(d)
}

// span is a duration in its two largest units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 10*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// table prints aligned columns without lines. On a terminal, long cells are
// shortened for a row to fit a line; -o wide leaves them whole.
func (c *cli) table(columns []string, rows [][]any) error {
	w := table.NewWriter()
	w.SuppressTrailingSpaces()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", gap
	style.Format.Header = text.FormatUpper
	head := make([]string, len(columns))
	widths := make([]int, len(columns))
	for i, name := range columns {
		head[i] = strings.ReplaceAll(name, "_", " ")
		widths[i] = text.StringWidth(head[i])
	}
	now := time.Now()
	texts, colours := make([][]string, len(rows)), make([][]text.Color, len(rows))
	for y, cells := range rows {
		for x, cell := range cells {
			s, colour := c.shown(cell, now)
			s = strings.ReplaceAll(strings.TrimSpace(s), "\n", " ")
			texts[y], colours[y] = append(texts[y], s), append(colours[y], colour)
			widths[x] = max(widths[x], text.StringWidth(s))
		}
	}
	kept := make([]int, len(columns))
	for i := range kept {
		kept[i] = i
	}
	if room := c.width(); room > 0 && c.format != asWide {
		kept, widths = squeeze(columns, widths, room)
	}
	w.SetStyle(style)
	header := table.Row{}
	for _, x := range kept {
		header = append(header, head[x])
	}
	w.AppendHeader(header)
	for y := range texts {
		row := table.Row{}
		for i, x := range kept {
			row = append(row, coloured(text.Snip(texts[y][x], widths[i], "…"), colours[y][x]))
		}
		w.AppendRow(row)
	}
	_, err := fmt.Fprintln(c.out, w.Render())
	return err
}

const (
	gap         = "  "
	leastColumn = 8
	leastName   = 20
	factColumn  = 15
)

// width is that of the terminal; 0 where nobody counts.
func (c *cli) width() int {
	f, ok := fileOf(c.out)
	if !ok {
		return 0
	}
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return w
}

// spare are the columns that a narrow terminal does without before it
// shortens the others to nothing, the first of them first.
var spare = []string{"clock", "kind", "attempts", "generation", "rollout", "phase", "issuer", "renew_at", "last_error_at"}

// told are the columns of sentences, and how much of one has to be seen for it
// to say anything.
var told = map[string]int{"waits_for": 24, "reason": 24, "why": 24, "text": 24, "problems": 24, "type": 12, "message": 10, "error": 10, "last_error": 12, "verifier": 12, "state": 10}

// squeeze chooses which columns a line has room for, and how wide they are.
// The first names what a row is about, and is never spared.
func squeeze(columns []string, natural []int, room int) (kept, widths []int) {
	var least []int
	for i, name := range columns {
		n := max(text.StringWidth(name), leastColumn, told[name])
		if i == 0 {
			n = max(n, min(natural[i], leastName))
		}
		kept, widths, least = append(kept, i), append(widths, natural[i]), append(least, n)
	}
	for _, name := range spare {
		total := len(gap) * (len(kept) - 1)
		for i := range kept {
			total += min(widths[i], least[i])
		}
		if total <= room {
			break
		}
		if i := slices.IndexFunc(kept, func(x int) bool { return columns[x] == name }); i > 0 {
			kept, widths, least = slices.Delete(kept, i, i+1), slices.Delete(widths, i, i+1), slices.Delete(least, i, i+1)
		}
	}
	widths = fit(widths, least, room)
	return kept[:len(widths)], widths
}

// fit takes from the widest column until a row has room, and from the first,
// which names what the row is about, only when the others have given. Where
// that is not enough, the last columns are left out.
func fit(natural, least []int, room int) []int {
	widths := slices.Clone(natural)
	total := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for from := 1; from >= 0; from-- {
		for total > room {
			widest := -1
			for i := from; i < len(widths); i++ {
				if widths[i] > least[i] && (widest < 0 || widths[i] > widths[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
			total--
		}
	}
	if total > room && len(widths) > 1 {
		return fit(natural[:len(natural)-1], least, room)
	}
	return widths
}

// facts prints one name and value a line; empty values are left out. What is
// longer than a line goes on below itself.
func (c *cli) facts(pairs ...any) {
	now := time.Now()
	for i := 0; i+1 < len(pairs); i += 2 {
		if plain(pairs[i+1]) == "" {
			continue
		}
		s, colour := c.shown(pairs[i+1], now)
		for n, line := range lines(s, c.width()-factColumn) {
			name := ""
			if n == 0 {
				name = pairs[i].(string) + ":"
			}
			fmt.Fprintf(c.out, "%-*s%s\n", factColumn, name, coloured(line, colour))
		}
	}
}

// lines breaks a text between words; a word that is longer than a line, such
// as a fingerprint, stays whole for whoever copies it.
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

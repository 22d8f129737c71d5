package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

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
	"down": text.FgRed, "differs": text.FgRed,
	string(renewer.FindingWarn): text.FgYellow, string(renewer.FindingUnknown): text.FgYellow, string(renewer.FindingFail): text.FgRed,
}

// end is the end of a certificate: a time, coloured by how near it is.
type end struct{ renewer.Row }

func (e end) colour(now time.Time) text.Color {
	left, life := e.NotAfter.Sub(now), e.NotAfter.Sub(e.NotBefore)
	switch {
	case left < life/10:
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

// shown is a cell for people.
func (c *cli) shown(cell any, now time.Time) string {
	s := plain(cell)
	switch v := cell.(type) {
	case time.Time:
		s = c.when(v, now)
	case end:
		if !v.NotAfter.IsZero() {
			return v.colour(now).Sprint(c.when(v.NotAfter, now))
		}
	case state:
		if colour, ok := colourOf[s]; ok {
			return colour.Sprint(s)
		}
	}
	if s == "" {
		return "-"
	}
	return s
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

// table prints aligned columns without lines.
func (c *cli) table(columns []string, rows [][]any) error {
	w := table.NewWriter()
	w.SuppressTrailingSpaces()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	w.SetStyle(style)
	head := make(table.Row, len(columns))
	for i, name := range columns {
		head[i] = strings.ReplaceAll(name, "_", " ")
	}
	w.AppendHeader(head)
	now := time.Now()
	for _, cells := range rows {
		row := make(table.Row, len(cells))
		for i, cell := range cells {
			row[i] = c.shown(cell, now)
		}
		w.AppendRow(row)
	}
	_, err := fmt.Fprintln(c.out, w.Render())
	return err
}

// facts prints one name and value a line; empty values are left out.
func (c *cli) facts(pairs ...any) {
	now := time.Now()
	for i := 0; i+1 < len(pairs); i += 2 {
		if plain(pairs[i+1]) != "" {
			fmt.Fprintf(c.out, "%-14s %s\n", pairs[i].(string)+":", c.shown(pairs[i+1], now))
		}
	}
}

// heading starts a part of a longer text.
func (c *cli) heading(s string) {
	fmt.Fprintf(c.out, "\n%s\n", text.Bold.Sprint(s))
}

package main

import (
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"renewer/renewer"
)

// look finds out where results go. Colours are for a terminal only, and off where
// NO_COLOR is set.
func (c *cli) look() {
	if f, ok := fileOf(c.out); ok && c.columns == 0 {
		c.columns = widthOf(f)
	}
	if c.columns > 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
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
	string(renewer.SeverityCritical): text.FgRed, string(renewer.SeverityWarning): text.FgYellow,
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

// cell is what a table or a list of facts shows.
type cell struct {
	text   string
	colour text.Color // 0: none
}

// shown is a value as people read it; empty where there is none.
func (c *cli) shown(value any, now time.Time) cell {
	out := cell{text: plain(value)}
	switch v := value.(type) {
	case time.Time:
		out.text = c.when(v, now)
	case end:
		if !v.NotAfter.IsZero() {
			out = cell{c.when(v.NotAfter, now), v.colour(now)}
		}
	case state:
		out.colour = colourOf[out.text]
	}
	out.text = strings.Map(harmless, strings.TrimSpace(out.text))
	return out
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

func (x cell) paint(s string) string { return coloured(s, x.colour) }

// when is relative on a terminal, where it is read now.
func (c *cli) when(t, now time.Time) string {
	if t.IsZero() || c.columns == 0 {
		return plain(t)
	}
	return relative(t.Sub(now))
}

func relative(d time.Duration) string {
	switch span := renewer.Span(d.Abs()); {
	case span == "":
		return "now"
	case d < 0:
		return span + " ago"
	default:
		return "in " + span
	}
}

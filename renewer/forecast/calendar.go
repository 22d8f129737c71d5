package forecast

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Calendar returns the forecast as an iCalendar object (RFC 5545): one event for each
// window in which restarts come, one for each day and entry of the fleet file for what
// comes outside of windows, and one for each thing that is remarkable. The same thing has
// the same UID each time.
func (f Forecast) Calendar() []byte {
	w := &calendar{stamp: stamp(f.From)}
	w.line("BEGIN:VCALENDAR")
	w.line("VERSION:2.0")
	w.line("PRODID:-//renewer//forecast//EN")
	w.line("CALSCALE:GREGORIAN")
	w.line("METHOD:PUBLISH")
	w.line("X-WR-CALNAME:" + escaped(strings.TrimSpace("renewer "+f.Fleet)))
	for _, e := range f.Events {
		if e.Kind.Remarkable() {
			about := strings.Trim(e.Certificate+"@"+e.Host, "@")
			if about == "" {
				about = e.Issuer
			}
			summary := strings.TrimSpace(title[e.Kind] + " " + about)
			w.event(uid(string(e.Kind), e.Certificate, e.Host, e.Issuer, stamp(e.Time)), e.Time, e.Until, summary, e.Reason)
		}
	}
	for _, g := range gather(f.Events) {
		w.event(g.uid(), g.start, g.end, g.summary(), g.text())
	}
	w.line("END:VCALENDAR")
	return []byte(w.out.String())
}

var title = map[Kind]string{
	Expires: "expires:", AtRisk: "at risk:", Refused: "issuer refuses:", CAExpires: "CA expires:", CARotates: "CA is replaced:", Collision: "restarts collide",
}

// occasion is what events are put together by: a window until it closes, or a day of an
// entry. It stays the same when a part of its events has passed.
type occasion struct {
	window, entry string
	at            time.Time
}

func occasionOf(e Event) occasion {
	if e.Window != "" && !e.Until.IsZero() {
		return occasion{window: e.Window, at: e.Until.UTC()}
	}
	entry, _, _ := strings.Cut(e.Certificate, "@")
	return occasion{entry: entry, at: e.Time.UTC().Truncate(Day)}
}

// gathering is what happens on one occasion.
type gathering struct {
	occasion
	start, end time.Time
	events     []Event
}

// gather puts together what happens on the same occasion.
func gather(events []Event) (out []*gathering) {
	by := map[occasion]*gathering{}
	for _, e := range events {
		if e.Kind.Remarkable() {
			continue
		}
		of := occasionOf(e)
		g := by[of]
		if g == nil {
			g = &gathering{occasion: of, start: e.Time}
			by[of] = g
			out = append(out, g)
		}
		g.end = later(g.end, e.Time)
		if of.window != "" {
			g.end = of.at
		}
		g.events = append(g.events, e)
	}
	return out
}

func (o occasion) uid() string {
	if o.window != "" {
		return uid("window", o.window, stamp(o.at))
	}
	return uid("day", o.entry, stamp(o.at))
}

func (g *gathering) summary() string {
	renewals, restarts := 0, 0
	for _, e := range g.events {
		switch e.Kind {
		case Renewal:
			renewals++
		default:
			restarts++
		}
	}
	var parts []string
	if renewals > 0 {
		parts = append(parts, number(renewals, "renewal"))
	}
	if restarts > 0 {
		parts = append(parts, number(restarts, "restart"))
	}
	text := strings.Join(parts, ", ")
	if g.window != "" {
		return text + " in window " + g.window
	}
	return g.entry + ": " + text
}

func number(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// mostLines is how many of its events are written out.
const mostLines = 40

func (g *gathering) text() string {
	var lines []string
	for i, e := range g.events {
		if i == mostLines {
			lines = append(lines, fmt.Sprintf("and %d more", len(g.events)-i))
			break
		}
		where := ""
		if e.Host != "" {
			where = " on " + e.Host
		}
		lines = append(lines, fmt.Sprintf("%s %s %s%s: %s", e.Time.Format("15:04Z"), e.Kind, e.Certificate, where, e.Reason))
	}
	return strings.Join(lines, "\n")
}

// uid names an event, the same each time.
func uid(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:16]) + "@renewer"
}

func stamp(t time.Time) string { return t.UTC().Format("20060102T150405Z") }

type calendar struct {
	out   strings.Builder
	stamp string
}

func (c *calendar) event(uid string, start, end time.Time, summary, text string) {
	if !end.After(start) {
		end = start.Add(15 * time.Minute) // else a calendar shows nothing
	}
	c.line("BEGIN:VEVENT")
	c.line("UID:" + uid)
	c.line("DTSTAMP:" + c.stamp)
	c.line("DTSTART:" + stamp(start))
	c.line("DTEND:" + stamp(end))
	c.line("SUMMARY:" + escaped(summary))
	c.line("DESCRIPTION:" + escaped(text))
	c.line("TRANSP:TRANSPARENT")
	c.line("END:VEVENT")
}

// escaped writes text as section 3.3.11 has it.
func escaped(s string) string {
	s = strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\n", `\n`).Replace(s)
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// longestLine is that of section 3.1, in octets, without the line break.
const longestLine = 75

// line writes a content line, folded where it is too long and between characters.
func (c *calendar) line(s string) {
	for room := longestLine; len(s) > room; room = longestLine - 1 { // the blank counts
		at := room
		for !utf8.RuneStart(s[at]) {
			at--
		}
		c.out.WriteString(s[:at] + "\r\n ")
		s = s[at:]
	}
	c.out.WriteString(s + "\r\n")
}

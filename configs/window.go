package configs

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // hosts without zoneinfo have windows too

	"github.com/robfig/cron/v3"
	"go.yaml.in/yaml/v3"
)

// Window is a maintenance window: it opens when its cron spec fires in its
// time zone, and stays open for its duration of real time.
//
// On the days when clocks change it opens once for each time that the wall
// clock shows: a start in the hour that is skipped opens at the end of the
// gap, a start in the hour that comes twice opens the first time.
type Window struct {
	Name     string
	Spec     string
	Duration time.Duration
	Location *time.Location

	fields cron.Schedule // of wall-clock times, written as if they were UTC
}

// At reports whether the window is open at t, and when it opens next after t.
func (w Window) At(t time.Time) (open bool, next time.Time) {
	return !w.after(t.Add(-w.Duration)).After(t), w.after(t)
}

// after returns the first opening after t.
func (w Window) after(t time.Time) time.Time {
	// Clocks move by hours at most: a day earlier is before any opening that
	// could lie after t.
	wall := asUTC(t.In(w.Location)).Add(-day)
	for {
		wall = w.fields.Next(wall)
		if wall.IsZero() {
			return time.Time{} // not within five years; refused when read
		}
		if at := w.instant(wall); at.After(t) {
			return at.UTC()
		}
	}
}

// Of the longest time that a window is closed: a year and some days are looked at, as
// far as so many openings go.
const (
	shutFor   = 400 * day
	shutLooks = 50_000
)

// LongestShut returns the longest time that the window is closed.
func (w Window) LongestShut() (longest time.Duration) {
	wall := w.fields.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) // any time will do
	first := w.instant(wall)
	for open, n := first, 0; open.Sub(first) < shutFor && n < shutLooks; n++ {
		if wall = w.fields.Next(wall); wall.IsZero() {
			return shutFor
		}
		next := w.instant(wall)
		longest = max(longest, next.Sub(open)-w.Duration)
		open = next
	}
	return longest
}

func asUTC(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// instant returns when the clock on the wall first shows a time, or jumps over it.
func (w Window) instant(wall time.Time) time.Time {
	in := func(t time.Time) time.Time {
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, w.Location)
	}
	t := in(wall)
	if shown := asUTC(t); !shown.Equal(wall) {
		// In a gap Date answers on either side of it; the gap is the
		// transition nearest to the answer.
		start, end := t.ZoneBounds()
		if shown.Before(wall) {
			return end
		}
		return start
	}
	// Of two instants Date may return the later one: try the offset from
	// before the last transition.
	if start, _ := t.ZoneBounds(); !start.IsZero() {
		_, offset := start.Add(-time.Second).Zone()
		earlier := wall.Add(-time.Duration(offset) * time.Second).In(w.Location)
		if earlier.Before(start) && asUTC(earlier).Equal(wall) {
			return earlier
		}
	}
	return t
}

var windowSchema = schema{
	"cron":     text("five cron fields in quotes"),
	"duration": duration(time.Minute, 31*day),
	"timezone": text("a time zone such as Europe/Paris"),
}

// windowReader returns a Window without its name.
func windowReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	before := l.wrong()
	s, ok := l.object(at, n, "a window", windowSchema)
	if !ok {
		return nil, false
	}
	for _, k := range []string{"cron", "duration"} {
		if !s.has(k) {
			l.fault(at, "the window has no "+k, `expected {cron: "0 2 * * *", duration: 2h, timezone: Europe/Paris}`)
		}
	}
	w := Window{Spec: get[string](s, "cron"), Duration: get[time.Duration](s, "duration"), Location: time.UTC}
	if zone := get[string](s, "timezone"); zone != "" {
		loc, err := time.LoadLocation(zone)
		if err != nil || zone == "Local" {
			l.fault(s["timezone"].at, "unknown time zone "+quote(zone), "expected one of the IANA time zones, such as Europe/Paris")
		} else {
			w.Location = loc
		}
	}
	if w.Spec != "" {
		var err error
		if strings.HasPrefix(w.Spec, "@every") {
			err = fmt.Errorf("an interval has no start time")
		} else {
			w.fields, err = parseSchedule(w.Spec)
		}
		if err != nil {
			l.fault(s["cron"].at, fmt.Sprintf("cron %s: %v", quote(w.Spec), err), `expected five cron fields such as "0 2 * * *", and the zone under timezone`)
		}
	}
	return w, l.wrong() == before
}

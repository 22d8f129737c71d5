package page

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"renewer/renewer/forecast"
)

// The strip of the forecast shows so many days.
const (
	aheadWeeks = 8
	aheadDays  = 7 * aheadWeeks
	// Ahead is how far the forecast is to reach.
	Ahead = aheadDays * day
)

// ahead is the strip of the forecast: a bar for each day, and the same by week in
// figures.
type ahead struct {
	Bars  []aheadBar
	Marks []aheadMark
	More  int // marks that are not drawn
	Weeks []aheadWeek
	To    time.Time
	Text  string // all of it in a sentence
}

// aheadBar is one day: renewals from Renewed down to the ground, and restarts upon
// them from Restarted. Windows: some restarts wait for their window.
type aheadBar struct {
	forecast.Span
	X, Renewed, Restarted float64
	Windows               bool
}

// aheadMark is something to know of: a CA or a certificate that expires, restarts
// that collide.
type aheadMark struct {
	forecast.Event
	X     float64
	Class string
	What  string
}

type aheadWeek struct {
	forecast.Span
	Windows []string // in which something is restarted
}

const (
	aheadHeight = 40
	mostMarks   = 8
)

// aheadOf draws a forecast; nil where nothing will happen.
func aheadOf(f forecast.Forecast) *ahead {
	if len(f.Events) == 0 {
		return nil
	}
	a := &ahead{To: f.From.Add(Ahead)}
	days, weeks := f.Spans(forecast.Day), f.Spans(forecast.Week)
	most, renewals, restarts := 1, 0, 0
	for _, s := range days {
		most = max(most, s.Renewals+s.Restarts)
		renewals, restarts = renewals+s.Renewals, restarts+s.Restarts
	}
	for i, s := range days {
		b := aheadBar{Span: s, X: float64(i)}
		b.Renewed = aheadHeight - aheadHeight*float64(s.Renewals)/float64(most)
		b.Restarted = b.Renewed - aheadHeight*float64(s.Restarts)/float64(most)
		a.Bars = append(a.Bars, b)
	}
	for _, s := range weeks {
		a.Weeks = append(a.Weeks, aheadWeek{Span: s})
	}
	for _, e := range f.Events {
		if i := int(e.Time.Sub(days[0].Start) / forecast.Day); e.Window != "" && i >= 0 && i < len(a.Bars) {
			a.Bars[i].Windows = true
			w := &a.Weeks[min(int(e.Time.Sub(weeks[0].Start)/forecast.Week), len(weeks)-1)]
			if !slices.Contains(w.Windows, e.Window) {
				w.Windows = append(w.Windows, e.Window)
			}
		}
		if e.Kind.Remarkable() {
			m := aheadMark{Event: e, X: float64(e.Time.Sub(days[0].Start)) / float64(forecast.Day), Class: bad, What: cmp.Or(e.Certificate, e.Issuer, e.Host) + " " + strings.ReplaceAll(string(e.Kind), "_", " ")}
			switch e.Kind {
			case forecast.CAExpires:
				m.What = "a CA of " + e.Issuer + " expires"
			case forecast.CARotates:
				m.Class, m.What = busy, "the CA of "+e.Issuer+" is replaced"
			case forecast.Collision:
				m.Class, m.What = warn, "restarts collide"
				if e.Host != "" {
					m.What += " on " + e.Host
				}
			default:
			}
			if len(a.Marks) == mostMarks {
				a.More++
				continue
			}
			a.Marks = append(a.Marks, m)
		}
	}
	parts := []string{many(renewals, "renewal"), many(restarts, "restart")}
	for _, m := range a.Marks {
		parts = append(parts, m.What+" on "+m.Time.UTC().Format(time.DateOnly))
	}
	a.Text = "The next " + many(aheadWeeks, "week") + ": " + strings.Join(parts, ", ")
	return a
}

// Width is how many days there are.
func (a *ahead) Width() int { return len(a.Bars) }

// Low is how high the bar of the renewals is.
func (b aheadBar) Low() float64 { return aheadHeight - b.Renewed }

// High is how high the bar of the restarts is.
func (b aheadBar) High() float64 { return b.Renewed - b.Restarted }

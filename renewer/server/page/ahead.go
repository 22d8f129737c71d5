package page

import (
	"slices"
	"strings"
	"time"
)

// Upcoming is something that the forecast says will happen.
type Upcoming struct {
	At   time.Time
	Kind UpcomingKind
	Name string // of the certificate, the host, the window or the CA
}

// UpcomingKind is what will happen.
type UpcomingKind string

// What the strip of the forecast shows.
const (
	UpcomingRenewal UpcomingKind = "renewal"
	UpcomingRestart UpcomingKind = "restart"
	UpcomingWindow  UpcomingKind = "window" // opens
	UpcomingExpiry  UpcomingKind = "expiry" // of a CA
)

// The strip shows so many days.
const (
	aheadWeeks = 8
	aheadDays  = 7 * aheadWeeks
)

// ahead is the strip of the forecast: a bar for each day, and the same by week in
// figures.
type ahead struct {
	Bars  []aheadBar
	Marks []aheadMark
	Weeks []aheadWeek
	To    time.Time
	Text  string // all of it in a sentence
}

// aheadBar is one day, drawn from the bottom of 0 to 40.
type aheadBar struct {
	X                           int
	Renewals, Restarts, Windows int
	Low, High                   float64 // heights of renewals and, upon them, restarts
	Day                         time.Time
}

// aheadMark is the expiry of a CA.
type aheadMark struct {
	X    float64
	Name string
	At   time.Time
}

type aheadWeek struct {
	From                        time.Time
	Renewals, Restarts, Windows int
	CAs                         []string // that expire
}

const aheadHeight = 40

// aheadOf draws the days from now on; nil where nothing will happen.
func aheadOf(all []Upcoming, now time.Time) *ahead {
	a := &ahead{Bars: make([]aheadBar, aheadDays), Weeks: make([]aheadWeek, aheadWeeks), To: now.AddDate(0, 0, aheadDays)}
	for i := range a.Bars {
		a.Bars[i].X, a.Bars[i].Day = i, now.AddDate(0, 0, i)
	}
	for i := range a.Weeks {
		a.Weeks[i].From = now.AddDate(0, 0, 7*i)
	}
	shown := false
	var renewals, restarts, windows int
	for _, u := range all {
		at := u.At.Sub(now)
		if at < 0 || at >= aheadDays*day {
			continue
		}
		shown = true
		b, w := &a.Bars[at/day], &a.Weeks[at/(7*day)]
		switch u.Kind {
		case UpcomingRenewal:
			b.Renewals++
			w.Renewals++
			renewals++
		case UpcomingRestart:
			b.Restarts++
			w.Restarts++
			restarts++
		case UpcomingWindow:
			b.Windows++
			w.Windows++
			windows++
		case UpcomingExpiry:
			a.Marks = append(a.Marks, aheadMark{float64(at) / float64(day), u.Name, u.At})
			w.CAs = append(w.CAs, u.Name)
		}
	}
	if !shown {
		return nil
	}
	most := 1
	for _, b := range a.Bars {
		most = max(most, b.Renewals+b.Restarts)
	}
	for i := range a.Bars {
		b := &a.Bars[i]
		b.Low = aheadHeight * float64(b.Renewals) / float64(most)
		b.High = aheadHeight * float64(b.Restarts) / float64(most)
	}
	parts := []string{many(renewals, "renewal"), many(restarts, "restart")}
	if windows > 0 {
		parts = append(parts, many(windows, "window opening"))
	}
	slices.SortFunc(a.Marks, func(x, y aheadMark) int { return x.At.Compare(y.At) })
	for _, m := range a.Marks {
		parts = append(parts, "CA "+m.Name+" expires "+m.At.UTC().Format(time.DateOnly))
	}
	a.Text = "The next " + many(aheadWeeks, "week") + ": " + strings.Join(parts, ", ")
	return a
}

// LowTop is the upper edge of the renewals.
func (b aheadBar) LowTop() float64 { return aheadHeight - b.Low }

// HighTop is the upper edge of the restarts.
func (b aheadBar) HighTop() float64 { return aheadHeight - b.Low - b.High }

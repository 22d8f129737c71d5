package page

import (
	"fmt"
	"time"

	"renewer/renewer"
)

// life is the bar of a certificate's lifetime, in percent: from notBefore at 0
// to notAfter at 100.
type life struct {
	Gone   float64 // how much has passed now
	Renew  float64 // where it is renewed
	Marked bool    // Renew is known
	Class  string
	Text   string // the same in words
}

// lifeOf draws a row; nil where nothing was issued.
func lifeOf(r renewer.Row, now time.Time) *life {
	whole := r.NotAfter.Sub(r.NotBefore)
	if r.NotAfter.IsZero() || r.NotBefore.IsZero() || whole <= 0 {
		return nil
	}
	at := func(t time.Time) float64 { return min(100, max(0, 100*float64(t.Sub(r.NotBefore))/float64(whole))) }
	l := &life{Gone: at(now), Class: urgency(r, now), Text: fmt.Sprintf("%.0f %% of its lifetime has passed", at(now))}
	if !r.RenewAt.IsZero() {
		l.Renew, l.Marked = at(r.RenewAt), true
		l.Text += fmt.Sprintf(", renewal is due at %.0f %%", l.Renew)
	}
	return l
}

// urgency is the class of a row.
func urgency(r renewer.Row, now time.Time) string {
	if s := r.Severity(now); s != "" {
		return classOf(s)
	}
	return markOf(r.Status).Class
}

// span of generations on one time axis.
type lane struct {
	renewer.GenerationView
	From, Width, Renew float64 // percent of the axis
	Class              string
}

// axis is the time that the drawn generations cover, and where now is on it.
type axis struct {
	From, To time.Time
	NowAt    float64
	Lanes    []lane
}

// mostLanes is how many generations are drawn, the newest first.
const mostLanes = 8

func axisOf(gens []renewer.GenerationView, now time.Time) *axis {
	a := &axis{From: now, To: now}
	gens = gens[:min(len(gens), mostLanes)]
	for _, g := range gens {
		if g.NotBefore.Before(a.From) {
			a.From = g.NotBefore
		}
		if g.NotAfter.After(a.To) {
			a.To = g.NotAfter
		}
	}
	whole := a.To.Sub(a.From)
	if len(gens) == 0 || whole <= 0 {
		return nil
	}
	at := func(t time.Time) float64 { return 100 * float64(t.Sub(a.From)) / float64(whole) }
	a.NowAt = at(now)
	for _, g := range gens {
		l := lane{GenerationView: g, From: at(g.NotBefore), Renew: -1, Class: idle}
		l.Width = max(0.5, at(g.NotAfter)-l.From)
		if !g.RenewAt.IsZero() {
			l.Renew = at(g.RenewAt)
		}
		switch {
		case !g.RevokedAt.IsZero() || g.Current && now.After(g.NotAfter):
			l.Class = bad
		case g.Current && !g.RenewAt.IsZero() && now.After(g.RenewAt):
			l.Class = warn
		case g.Current:
			l.Class = good
		}
		a.Lanes = append(a.Lanes, l)
	}
	return a
}

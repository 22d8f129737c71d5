package renewer

import "time"

// Deadline is when what is in place of a certificate is about to expire. From
// About on nothing that only keeps order counts: window, pace, the order of a peer
// group, and the trust gate for verifiers that cannot be reached. From Last on the
// gate holds no one. The zero value never comes: nothing is in place.
type Deadline struct{ About, Last time.Time }

// Deadline returns the deadline of the generation in place; nil for none.
func (c Certificate) Deadline(g *Generation) Deadline {
	if g == nil {
		return Deadline{}
	}
	before := c.OverrideBefore
	if given := g.given(); shorter(given, g.Request.Lifetime) { // it is meant for the lifetime of the entry
		before = min(before, given/10)
	}
	return Deadline{About: g.NotAfter.Add(-before), Last: g.NotAfter.Add(-before / 2)}
}

// Deadline returns the deadline of what is in place. Of a rollout that is under way, what
// expires first on the hosts that it is still to come to counts: one that was left behind
// may have an earlier generation than the current one.
func (s State) Deadline(generation func(number int) *Generation) Deadline {
	first := s.Current
	if s.Open() && first != nil && !s.Certificate.IsBundle() {
		for _, step := range s.Record.Rollout.Steps {
			st := s.Record.Placements[step.Host]
			if step.State.Over() || !st.Placed() || st.Generation == s.Current.Number {
				continue
			}
			if was := generation(st.Generation); was != nil && was.NotAfter.Before(first.NotAfter) {
				first = was
			}
		}
	}
	return s.Certificate.Deadline(first)
}

// Near reports whether what is in place is about to expire.
func (d Deadline) Near(now time.Time) bool { return !d.About.IsZero() && !now.Before(d.About) }

// Over reports whether no one is waited for any more.
func (d Deadline) Over(now time.Time) bool { return !d.Last.IsZero() && !now.Before(d.Last) }

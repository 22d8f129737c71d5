package renewer

import "time"

// ExpiryNote says how far the log has followed the approach of an end: of
// which generation, and how many thresholds it had passed.
type ExpiryNote struct {
	Generation int `json:"generation"`
	Passed     int `json:"passed"`
}

// thresholdDays are counted back from the end. A certificate that lives less
// than thresholdLife gets the same shares of its life: of one day, 8 hours to
// 16 minutes.
var thresholdDays = []int{30, 14, 7, 3, 1}

const (
	aDay          = 24 * time.Hour
	thresholdLife = 90 * aDay
)

// threshold returns how long before the end of a life the nth one is.
func threshold(n int, life time.Duration) time.Duration {
	d := time.Duration(thresholdDays[n]) * aDay
	if life < thresholdLife {
		d = part(life, Share(float64(d)/float64(thresholdLife)))
	}
	return d
}

// passed counts the thresholds of a generation that lie behind.
func passed(g Generation, now time.Time) (n int) {
	life := g.NotAfter.Sub(g.IssuedAt)
	for n < len(thresholdDays) && !now.Before(g.NotAfter.Add(-threshold(n, life))) {
		n++
	}
	return n
}

// nextThreshold returns the next one that comes when renewal is under way or
// should be; zero if there is none.
func nextThreshold(g Generation, now time.Time) time.Time {
	life := g.NotAfter.Sub(g.IssuedAt)
	for n := range thresholdDays {
		if at := g.NotAfter.Add(-threshold(n, life)); at.After(now) && at.After(g.RenewAt) {
			return at
		}
	}
	return time.Time{}
}

// Expiring reports whether the generation in place has come so near to its end
// that an operator should know: a threshold is behind that the log does not have,
// and its renewal is not on its way as it should be: it was not begun, it fails
// again and again, or it waits for too long. Its end itself is another event.
func (rec Record) Expiring(g Generation, now time.Time) (ExpiryNote, bool) {
	n := passed(g, now)
	noted := rec.ExpiringNoted
	switch {
	case n == 0, !now.Before(g.NotAfter), noted.Generation == g.Number && noted.Passed >= n, rec.onItsWay(g, n, now):
		return ExpiryNote{}, false
	}
	return ExpiryNote{Generation: g.Number, Passed: n}, true
}

// onItsWay reports whether a renewal will come or is under way without
// problem. One that was under way already at the threshold before the last one
// goes nowhere, even if nothing says why.
func (rec Record) onItsWay(g Generation, passed int, now time.Time) bool {
	if now.Before(g.RenewAt) {
		return true
	}
	r := rec.Rollout
	if r == nil || r.Phase.Over() {
		return false
	}
	if text, _ := r.LastError(); text != "" {
		return false
	}
	return passed < 2 || r.StartedAt.After(g.NotAfter.Add(-threshold(passed-2, g.NotAfter.Sub(g.IssuedAt))))
}

// ExpiringText says when the generation in place expires and what the state of its
// renewal is; waits is what that waits for. It is read later too, so it says no
// time relative to now.
func (rec Record) ExpiringText(g Generation, waits Waits) string {
	text := "expires at " + date(g.NotAfter) + "; "
	r := rec.View(&g, waits)
	switch {
	case r == nil:
		return text + "no renewal is in progress"
	case r.Phase == PhaseBlocked:
		return text + "its renewal is blocked: " + r.Waiting.String()
	case len(r.Waiting) > 0:
		return text + "its renewal is not finished: " + r.Waiting.String()
	default:
		return text + "its renewal, started at " + date(r.StartedAt) + ", is not done"
	}
}

package renewer

import "time"

// An attempt that finds its issuer or a host away is repeated, later and later. What
// follows bounds how much of a certificate's life that takes, so that it can be shown, and
// a certificate can be renewed early enough.

// RetryWithin returns how long after an outage of that length the next attempt comes at
// the latest. Each pause of Backoff is at most as long as all before it, by a third and a
// minute.
func RetryWithin(outage time.Duration) time.Duration {
	return min(BackoffMax, outage/3*4+BackoffFirst)
}

// Tolerated returns the longest outage after which a certificate that has left to live is
// renewed in time; 0 for none. need is what its rollout takes: see RolloutTime.
func Tolerated(left, need time.Duration) time.Duration {
	left -= need
	return max(left-BackoffMax, (left-BackoffFirst)/7*3, 0)
}

// Lead returns how long before it expires a certificate has to be renewed, so that an
// outage does not expire it whenever that begins. shut is the longest time that its
// window is closed, 0 without one.
func (c Certificate) Lead(outage, need, shut time.Duration) time.Duration {
	lead := outage + RetryWithin(outage) + need
	if lead > c.OverrideBefore { // else nothing waits for the window by then
		lead += shut
	}
	return lead
}

// RolloutTime returns how long a renewal takes at most once nothing is away: rounds of
// hosts, each with its timeouts, and the pauses between them. size is the number of
// certificates of the entry.
func (c Certificate) RolloutTime(size int) time.Duration {
	hosts := max(size, len(c.Placements), 1)
	canary := min(c.Pace.Canary, hosts)
	rounds := min(canary, 1)
	switch rest := hosts - canary; {
	case rest > 0 && c.Pace.MaxParallel > 0:
		rounds += (rest + c.Pace.MaxParallel - 1) / c.Pace.MaxParallel
	case rest > 0:
		rounds++
	}
	var each time.Duration
	for _, p := range c.Placements {
		takes := p.Probe.Timeout
		if p.activates() {
			takes += p.Activate.Timeout
		}
		each = max(each, takes)
	}
	takes := time.Duration(rounds) * each
	if hosts > 1 { // before the first round too: another host may have been retried earlier
		takes += time.Duration(rounds) * c.Pace.Pause
	}
	return takes
}

// MostLead returns the longest lead that a certificate with that lifetime can have. One
// that was renewed nearly as soon as it was issued would be renewed again and again.
func MostLead(life time.Duration) time.Duration { return part(life, 0.9) }

// Tolerance returns how long, from now on, issuer or hosts may be away before what is in
// place expires, 0 where it has; ok is false where nothing is, or nothing
// renews it: a trust bundle, and what left the fleet file. need is as in Tolerated.
func (r Row) Tolerance(need time.Duration, now time.Time) (d time.Duration, ok bool) {
	if r.Key == "" || r.Status == StatusOrphaned || r.NotAfter.IsZero() {
		return 0, false
	}
	end := r.NotAfter
	for _, h := range r.Hosts {
		if !h.ServedEnd.IsZero() && h.ServedEnd.Before(end) {
			end = h.ServedEnd // it was left behind
		}
	}
	return Tolerated(end.Sub(now), need), true
}

package renewer

import (
	"fmt"
	"time"
)

// Observed is what the planner knows of one certificate.
type Observed struct {
	Record  Record
	Current *Generation // Record.Current; nil if there is none
	Rolling *Generation // the one that the open rollout delivers; nil if there is none
	Roots   WantedRoots
	// Under are the roots that the current generation leads to, Trusted those
	// that the issuers of the entry have now; either may be unknown.
	Under, Trusted RootSet
	// Gone are roots that no leaf keeps anywhere any more.
	Gone RootSet
	// SignsSince is when the CA of the entry's issuer replaced the previous one.
	SignsSince time.Time
	// SignsAnew is that time if certificates of the previous CA must be reissued
	// although they chain to the same root.
	SignsAnew time.Time
	// RootsFirst: what the certificate's renewal brings would be refused by a
	// verifier that has not its root yet. Its own placements then take the added
	// roots alone, first, so that no two of them wait for each other.
	RootsFirst func() bool
	// For plans alone; nil for none. Refusers are the placements that the renewal
	// waits for, and RootName is a root for operators.
	Refusers func() []string
	RootName func(id string) string
	// Occupied reports whether another entry places its files in a directory of a host.
	Occupied func(host, dir string) bool
}

func (o Observed) rootName(id string) string {
	if o.RootName == nil {
		return id
	}
	return o.RootName(id)
}

func (o Observed) rootsFirst() bool { return o.RootsFirst != nil && o.RootsFirst() }

// WantedRoots returns the roots that belong into the ca file on a host now;
// unknown where an issuer has never said its own. A nil function knows none.
type WantedRoots func(host string) RootSet

// On returns them; a nil function knows none.
func (w WantedRoots) On(host string) RootSet {
	if w == nil {
		return nil
	}
	return w(host)
}

// Decision is what the planner wants for one certificate.
type Decision struct {
	// Close ends the open rollout first; Why says why.
	Close bool
	Why   string
	// Open is the rollout to start; nil for none. ID and StartedAt are given
	// when it is started.
	Open *Rollout
	// Hurry takes the renewal that is requested into Adapt.
	Hurry bool
	// Adapt is the open rollout, brought in line with an entry that changed in
	// something that does not need another certificate.
	Adapt *Rollout
}

// Plan compares what one entry wants with what is. It is pure: the same
// answer for the same arguments.
func Plan(c Certificate, o Observed, now time.Time) Decision {
	if r := o.Record.Rollout; r != nil && !r.Phase.Over() {
		if d, leave := planOpen(c, o, *r, now); leave {
			return d
		} else if d.Close {
			if d.Open == nil {
				d.Open = plan(c, o, now).Open
			}
			if d.Open != nil {
				d.Open.takeOver(*r)
				if asked := o.Record.Asked; asked != nil {
					d.Open.Override(*asked)
				}
			}
			return d
		}
	} else if r != nil && r.Phase == PhaseBlocked {
		why := unblocked(c, o, *r, now)
		if why == "" {
			return Decision{}
		}
		next := plan(c, o, now)
		next.Close, next.Why = true, why
		if why == returned && next.Open != nil {
			next.Open.Reasons = append(next.Open.Reasons, Reason{ReasonReturned, returned})
		}
		if g := o.Current; r.unsigned() && r.newRoots(c, o) && g != nil && g.RevokedAt.IsZero() && now.Before(g.NotAfter) && o.Record.Asked == nil {
			next.Open = planPlacements(c, o, now) // roots wait for no issuer
		}
		if why == otherRoots && next.Open != nil {
			next.Open.Same = r.Same + 1
		}
		return next
	}
	return plan(c, o, now)
}

// unblocked says why a blocked rollout blocks no longer; empty while it does.
// It needs manual action, but no certificate expires because of one failure long
// ago.
func unblocked(c Certificate, o Observed, r Rollout, now time.Time) string {
	switch {
	case o.Record.Asked != nil:
		return requested
	case r.Entry != c.Digest():
		return "the entry changed"
	case r.Kind != KindIssue && o.right(c):
		return "every host has what it should have"
	case !now.Before(r.again()) && r.newRoots(c, o):
		return otherRoots
	case r.unsigned() && o.SignsSince.After(r.EndedAt):
		return "the issuer has a new CA"
	case o.stranded() && r.returned(o):
		return returned
	case o.Current != nil && o.Current.RevokedAt.After(r.StartedAt):
		return "the current generation was revoked"
	case o.Current != nil && o.Current.KeyCompromised && !r.because(ReasonKeyCompromised):
		return "the private key of the current generation is compromised"
	case !now.Before(RetryBlocked(r, o.Current)):
		return "automatic retry before the certificate expires"
	}
	return ""
}

// right reports whether every host was last seen with the current generation and
// the roots that are wanted.
func (o Observed) right(c Certificate) bool {
	for _, p := range c.Placements {
		st, want := o.Record.Placements[p.Host], o.Roots.On(p.Host)
		if !st.Matches || st.Generation != o.Record.Current || want.Known() && st.Roots.Known() && !st.Roots.Same(want) {
			return false
		}
	}
	return true
}

// RetryBlocked returns when a blocked rollout is given up for a new one: at
// the renew time, if that is still to come, else halfway to the expiry of what is
// in place, again and again, so that retries are few while there is time and the
// last ones come before the expiry. Never sooner than the least interval
// between two renewals, and without anything in place after BackoffMax.
func RetryBlocked(r Rollout, current *Generation) time.Time {
	if current == nil {
		return r.EndedAt.Add(BackoffMax)
	}
	if current.RenewAt.After(r.EndedAt) {
		return current.RenewAt
	}
	left := current.NotAfter.Sub(r.EndedAt)
	if left <= 0 {
		return r.EndedAt.Add(BackoffMax)
	}
	least := min(time.Minute, current.NotAfter.Sub(current.IssuedAt)/10)
	return r.EndedAt.Add(max(left/2, least))
}

// planOpen decides about a rollout under way: leave it alone, bring it in line
// with a changed entry, or replace it. A host between two generations ends
// first, unless nothing can end it: see cut, and stuck.
func planOpen(c Certificate, o Observed, r Rollout, now time.Time) (d Decision, leave bool) {
	same := r.Entry == c.Digest()
	lost := !same && r.cut(c)
	at := r.Due(c, o.Rolling)
	due := !at.IsZero() && !at.After(now)
	asked := o.Record.Asked != nil
	switch {
	case asked && same && !r.Restoring() && !r.Quiet && (r.Kind == KindIssue || c.IsBundle()):
		r.revise(c, o, now)
		return Decision{Adapt: &r, Hurry: true}, true
	case asked && r.Settled():
		return Decision{Close: true, Why: requested}, false
	case !r.Settled() && (!due || !r.stuck()):
		if revised := r.revise(c, o, now); lost || revised {
			d.Adapt = &r // the rest of the change is compared when that has ended
		}
		return d, true
	case !same && (r.Kind == KindPlace || len(differences(r.Request, c.Request())) > 0):
		return Decision{Close: true, Why: "the entry changed"}, false
	case due:
		why := Reason{ReasonRenewTime, "renew time " + at.Format(time.RFC3339) + " reached"}
		if o.Rolling != nil && !o.Rolling.RevokedAt.IsZero() {
			why = Reason{ReasonRevoked, fmt.Sprintf("generation %d was revoked", o.Rolling.Number)}
		} else if o.Rolling != nil && o.Rolling.KeyCompromised {
			why = keyCompromised(*o.Rolling)
		}
		return Decision{Close: true, Why: "its own generation is due for renewal", Open: Issue(c, why)}, false
	case same:
		if r.revise(c, o, now) {
			d.Adapt = &r
		}
		return d, true
	}
	r.Entry, r.Steps = c.Digest(), r.stepsFor(c)
	r.revise(c, o, now)
	return Decision{Adapt: &r}, true
}

// stranded reports whether what is in place leads to roots alone that its peers do not
// have any more: there is nothing that a block protects.
func (o Observed) stranded() bool { return len(o.Under) > 0 && len(o.Under.Without(o.Gone)) == 0 }

// returned is why a blocked rollout gives way to one more.
const (
	returned   = "reachable again, and its peers refuse its certificate"
	otherRoots = "the trusted roots changed"
)

// requested is why a rollout gives way to a renewal.
const requested = "renewal requested by operator"

func plan(c Certificate, o Observed, now time.Time) Decision {
	if asked := o.Record.Asked; asked != nil {
		r := Renewed(c, *asked)
		r.revise(c, o, now)
		return Decision{Open: r}
	}
	if !c.IsBundle() {
		var reasons []Reason
		for _, policy := range policies {
			if reason, ok := policy(c, o, now); ok {
				reasons = append(reasons, reason)
			}
		}
		if len(reasons) > 0 {
			r := Issue(c, reasons...)
			r.revise(c, o, now)
			return Decision{Open: r}
		}
	}
	return Decision{Open: planPlacements(c, o, now)}
}

// Issue returns the rollout of a new generation to every host.
func Issue(c Certificate, reasons ...Reason) *Rollout {
	r := &Rollout{
		Certificate: c.Name, Kind: KindIssue, Reasons: reasons, Entry: c.Digest(), Request: c.Request(), Phase: PhaseOrdering,
	}
	for _, p := range c.Placements {
		r.Steps = append(r.Steps, Step{Host: p.Host, State: StepPending})
	}
	return r
}

// Renewed returns the rollout of a renewal that was requested: a new
// generation or, for a trust bundle, the bundle to every host again.
func Renewed(c Certificate, o Overrides) *Rollout {
	r := Issue(c, Reason{ReasonRequested, "requested by operator"})
	r.Override(o)
	if c.IsBundle() {
		r.Kind, r.Phase = KindPlace, PhaseRolling
	}
	return r
}

// Rollback returns the rollout back to an earlier generation on every host.
func Rollback(c Certificate, generation int) *Rollout {
	r := Issue(c, Reason{ReasonRequested, fmt.Sprintf("rollback to generation %d", generation)})
	r.Kind, r.Phase, r.Generation, r.Requested = KindRollback, PhaseRolling, generation, true
	return r
}

// planPlacements finds the hosts that have the right generation in the wrong
// way; nil if there are none.
func planPlacements(c Certificate, o Observed, now time.Time) *Rollout {
	var r *Rollout
	for _, p := range c.Placements {
		reason, ok := placementReason(p, o, now)
		if !ok {
			continue
		}
		if r == nil {
			r = &Rollout{
				Certificate: c.Name, Kind: KindPlace, Entry: c.Digest(), Request: c.Request(), Phase: PhaseRolling, Generation: o.Record.Current,
			}
		}
		step := Step{Host: p.Host, State: StepPending}
		if cut := o.Record.Placements[p.Host].Interrupted; cut != nil {
			step = cut.afresh()
		}
		r.Reasons = append(r.Reasons, reason)
		r.Steps = append(r.Steps, step)
	}
	return r
}

// NextAt returns when a certificate has to be looked at again, besides what
// its rollout waits for; zero for never. rolling is what that delivers.
func NextAt(c Certificate, rec Record, current, rolling *Generation, now time.Time) time.Time {
	var next time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	open := rec.Rollout != nil && !rec.Rollout.Phase.Over()
	if open {
		earliest(rec.Rollout.Due(c, rolling))
	} else if rec.Rollout != nil {
		earliest(RetryBlocked(*rec.Rollout, current))
		if again := rec.Rollout.again(); again.After(now) {
			earliest(again)
		}
	}
	if current != nil {
		if rec.Rollout == nil {
			earliest(current.RenewAt)
			earliest(current.RevokedAt)
			if current.KeyCompromised {
				earliest(now)
			}
		}
		if current.NotAfter.After(now) {
			earliest(current.NotAfter)
		}
		earliest(nextThreshold(*current, now))
	}
	for _, p := range c.Placements {
		if st := rec.Placements[p.Host]; !open {
			earliest(st.Reprobe)
			if again := st.again(); again.After(now) {
				earliest(again)
			}
		}
	}
	return next
}

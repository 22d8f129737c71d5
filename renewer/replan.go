package renewer

import (
	"slices"
	"time"
)

// Due returns when what a rollout delivers has to be renewed itself, whether
// or not all hosts have it by then; zero while that is not known. One that was
// revoked on its way, or whose key is compromised, is due at once.
func (r *Rollout) Due(c Certificate, g *Generation) time.Time {
	switch {
	case g == nil:
		return time.Time{}
	case !g.RevokedAt.IsZero():
		return g.RevokedAt
	case g.KeyCompromised:
		return g.IssuedAt
	case r.Kind == KindRollback:
		return c.Renewal.AfterRollback(*g, r.StartedAt)
	default:
		return g.RenewAt
	}
}

// stepsFor keeps the steps of the hosts that stay and adds those that came,
// but to a rollback: only who had the generation can go back to it. What was
// staged for another layout is staged again.
func (r *Rollout) stepsFor(c Certificate) []Step {
	var steps []Step
	for _, p := range c.Placements {
		s, ok := r.Step(p.Host)
		switch {
		case !ok && r.Kind == KindRollback:
		case !ok:
			steps = append(steps, Step{Host: p.Host, State: StepPending})
		case s.State != StepPending && s.Layout != p.Layout():
			steps = append(steps, Step{Host: p.Host, State: StepPending, Previous: s.Previous})
		default:
			kept := *s
			kept.NextAt = time.Time{}
			steps = append(steps, kept)
		}
	}
	return steps
}

// revise brings what has not begun in line with the roots that are wanted now,
// and a rollout of kind place with all that is to be placed now: no host waits
// for another one that is away. It reports whether anything changed.
func (r *Rollout) revise(c Certificate, o Observed, now time.Time) (changed bool) {
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		s := &r.Steps[i]
		if s.State != StepPending && s.State != StepStaged {
			continue
		}
		want := o.Roots.On(s.Host)
		pass := s.Pass
		begun := s.Previous != "" && s.Previous != o.Record.Placements[s.Host].Revision // what is live is this rollout's already
		switch first := !r.Quiet && r.rootsFirst(c, o, s.Host, want); {
		case first && pass == PassWhole && !begun:
			pass = PassRoots
		case !first && pass == PassRoots:
			pass = PassWhole
		}
		stale := s.State == StepStaged && s.Roots.Known() && want.Known() && !s.Roots.Same(want.With(s.Foreign))
		if pass != s.Pass || stale {
			*s, changed = Step{Host: s.Host, State: StepPending, Pass: pass, Previous: s.Previous, WasForeign: s.WasForeign}, true
		}
	}
	if r.Kind != KindPlace || r.Quiet {
		return changed
	}
	more := planPlacements(c, o, now)
	if more == nil {
		return changed
	}
	for i, s := range more.Steps {
		old, ok := r.Step(s.Host)
		switch {
		case !ok:
			r.Steps = append(r.Steps, s)
		case old.State.InPlace():
			*old = s
		default:
			continue
		}
		r.Reasons, changed = append(slices.Clone(r.Reasons), more.Reasons[i]), true
	}
	return changed
}

// rootsFirst reports whether a host takes the added roots before the leaf.
func (r *Rollout) rootsFirst(c Certificate, o Observed, host string, want RootSet) bool {
	p, ok := c.Placement(host)
	st := o.Record.Placements[host]
	_, hasTrust := p.Files[FileCA]
	if !ok || !hasTrust || c.IsBundle() || st.Interrupted != nil {
		return false
	}
	if st.Origin == OriginForeign && st.Seen != nil && st.Seen.Leaf != "" {
		return len(want.Without(st.Seen.Roots)) > 0 && o.rootsFirst()
	}
	number, known := r.Delivers()
	another := !known || st.Generation != number
	ours := st.Origin == OriginIssued || st.Origin == OriginAdopted // whatever was seen there: the leaf of before is put back with the roots
	return another && st.Placed() && ours && st.Roots.Known() && len(want.Without(st.Roots)) > 0 &&
		st.Layout == p.Layout() && o.rootsFirst()
}

// again is when a blocked rollout may give way to one for other roots: at once the first
// time; should the next end as it did, that would be wanted again at once.
func (r *Rollout) again() time.Time {
	if r.Same == 0 {
		return time.Time{}
	}
	return r.StartedAt.Add(Backoff(r.Same, r.ID))
}

// newRoots reports whether a host is to get a root that neither it nor the
// blocked rollout had, on any host: the block was for something else.
func (r *Rollout) newRoots(c Certificate, o Observed) bool {
	if o.Record.KeyLost { // without its key nothing is placed with them
		return false
	}
	var tried RootSet
	for _, s := range r.Steps {
		tried = tried.With(s.Roots)
	}
	return slices.ContainsFunc(c.Placements, func(p Placement) bool {
		st, want := o.Record.Placements[p.Host], o.Roots.On(p.Host)
		_, hasTrust := p.Files[FileCA]
		return hasTrust && st.Placed() && st.Roots.Known() && len(want.Without(st.Roots).Without(tried)) > 0
	})
}

// returned reports whether all that failed was seen to be served since, with what was
// there before. It says so once: the next failure is of something else.
func (r *Rollout) returned(o Observed) bool {
	failed := false
	for _, s := range r.Steps {
		st := o.Record.Placements[s.Host]
		if s.State.failed() && (!st.Matches || !st.VerifiedAt.After(s.EndedAt)) {
			return false
		}
		failed = failed || s.State.failed()
	}
	return failed && !r.because(ReasonReturned)
}

// unsigned reports whether it ended, or stands, before its issuer signed anything.
func (r *Rollout) unsigned() bool {
	_, signed := r.Delivers()
	return !signed
}

// cut takes out the live steps that no one can end: of a host that left the
// entry, whose files stay as they are, or begun in another layout, which start
// again. It reports whether there were any.
func (r *Rollout) cut(c Certificate) bool {
	var steps []Step
	found := false
	for _, s := range r.Steps {
		p, stays := c.Placement(s.Host)
		switch {
		case !s.State.Live() || stays && s.Layout == p.Layout():
			steps = append(steps, s)
			continue
		case stays:
			steps = append(steps, s.afresh())
		}
		found = true
	}
	r.Steps = steps
	return found
}

// afresh starts a step again. It keeps what this rollout made live, which is
// not proven, and what was live before: see Record.Apply of a stage.
func (s Step) afresh() Step {
	return Step{Host: s.Host, State: StepPending, Revision: s.Revision, Previous: s.Previous, WasForeign: s.WasForeign}
}

// takeOver keeps the way back of hosts that another rollout leaves between
// two generations.
func (r *Rollout) takeOver(old Rollout) {
	for i := range r.Steps {
		if s, ok := old.Step(r.Steps[i].Host); ok && s.State.Live() {
			r.Steps[i] = s.afresh()
		}
	}
}

// stuck reports whether all that is live has failed before: what it waits for
// may never come.
func (r *Rollout) stuck() bool {
	for _, s := range r.Steps {
		if s.State.Live() && s.Attempts == 0 {
			return false
		}
	}
	return true
}

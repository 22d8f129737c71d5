package renewer

import (
	"time"
)

// State is one certificate with all that is decided by: its entry, its record,
// and the generations that are in place and on their way; nil for none.
type State struct {
	Certificate      Certificate
	Record           Record
	Current, Rolling *Generation
}

// Open reports whether a rollout is under way.
func (s *State) Open() bool { return s.Record.Rollout != nil && !s.Record.Rollout.Phase.Over() }

// Input is what happened to a certificate or was decided about it: Outcome, Begun,
// Planned, Requested, Replaced, Retried, Looked, Bare, Adopted, Rewritten, DroppedRoot, Revised,
// LetGo or Removed.
type Input interface {
	apply(a *applied) (changed bool)
}

// Apply is the one way in which a record changes: inputs in, one after another;
// the new state, and all that is to be written for it, out; without a record if that
// says nothing new. It is pure, and what it was given stays as it is.
func Apply(s State, now time.Time, in ...Input) (State, Change) {
	a := applied{State: s, now: now}
	if a.Record = s.Record.Clone(); a.Record.Placements == nil {
		a.Record.Placements = map[string]PlacementState{}
	}
	changed := false
	for _, one := range in {
		open := a.Open()
		changed = one.apply(&a) || changed
		if open && !a.Open() && a.Record.Rollout != nil {
			a.conclude()
		}
	}
	if next := a.nextAt(); !next.Equal(a.Record.NextAt) {
		a.Record.NextAt, changed = next, true
	}
	if changed || len(a.ch.Events) > 0 {
		a.ch.Record = &a.Record
	}
	return a.State, a.ch
}

// applied is a state while inputs are taken in, with what has to be written.
type applied struct {
	State
	ch   Change
	now  time.Time
	soon bool // there may be more to do at once
}

func (a *applied) event(typ EventType, host string, generation int, message string) *Event {
	a.ch.Events = append(a.ch.Events, Event{Time: a.now, Type: typ, Certificate: a.Certificate.Name, Host: host, Generation: generation, Message: message})
	return &a.ch.Events[len(a.ch.Events)-1]
}

// conclude takes in that a rollout has ended. What it brought is the current
// generation then; a rollback gets a renew time in what is left of its life.
func (a *applied) conclude() {
	closed := *a.Record.Rollout
	a.ch.Closed = &closed
	switch {
	case closed.Phase != PhaseDone:
	case closed.Kind == KindIssue:
		a.Current = a.Rolling
	case closed.Kind == KindRollback && a.Rolling != nil:
		g := *a.Rolling
		g.RenewAt = a.Certificate.Renewal.AfterRollback(g, a.now)
		a.Current, a.ch.Generation = &g, &g
	}
	if closed.Phase != PhaseBlocked {
		a.Record.Rollout, a.Rolling = nil, nil
	}
}

// supersede ends the open or blocked rollout, if there is one. A blocked one is in
// the history already.
func (a *applied) supersede(why string) {
	if a.Record.Rollout == nil {
		return
	}
	r, open := *a.Record.Rollout, a.Open()
	r.Phase, r.EndedAt, r.Error = PhaseSuperseded, a.now, why
	a.Record.Rollout, a.Rolling = nil, nil
	a.event(EventRolloutSuperseded, "", r.Generation, why).Rollout = r.ID
	if open {
		a.ch.Closed = &r
	}
}

// start makes a rollout the one under way; g is what it delivers, if that is not
// the current generation. It is recorded before anything is done because of it.
func (a *applied) start(r Rollout, g *Generation) {
	a.Record.Rollouts++
	r.ID, r.StartedAt = RolloutID(a.Certificate.Name, a.Record.Rollouts), a.now
	a.Record.Rollout, a.Rolling = &r, g
	if r.Kind == KindPlace {
		a.Rolling = a.Current
	}
	a.event(EventRolloutPlanned, "", r.Generation, string(r.Kind)+": "+r.Why()).Rollout = r.ID
}

// nextAt is when the certificate is looked at again: never at once, so that one
// that waits for an answer does not keep the loop busy, unless there is something
// to do that waits for room alone.
func (a *applied) nextAt() time.Time {
	at := NextAt(a.Certificate, a.Record, a.Current, a.Rolling, a.now)
	switch {
	case a.soon, a.Record.Asked != nil && !a.Open():
		return a.now
	case !at.IsZero() && !at.After(a.now):
		return a.now.Add(time.Minute)
	default:
		return at
	}
}

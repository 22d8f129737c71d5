package engine

import (
	"errors"
	"time"

	"renewer/renewer"
)

// receive takes in how one task ended.
func (e *Engine) receive(outs []renewer.Outcome) {
	e.running--
	e.worked++
	e.unrecorded = append(e.unrecorded, outs...)
	for { // whatever else has arrived goes into the same transaction
		select {
		case outs := <-e.outcomes:
			e.running--
			e.unrecorded = append(e.unrecorded, outs...)
		default:
			e.take()
			return
		}
	}
}

// take applies outcomes and records all of them in one transaction. If the
// inventory does not take them, they are kept and tried again: what was done
// is never forgotten, and not done a second time meanwhile.
func (e *Engine) take() {
	next := map[string]*entry{}
	changes := map[string]*Change{}
	var order []string
	for _, o := range e.unrecorded {
		en, ok := e.entries[o.Certificate]
		if !ok || cancelled(o) {
			continue
		}
		if n, again := next[o.Certificate]; again {
			en = n
		} else {
			en = en.clone()
			next[o.Certificate], changes[o.Certificate] = en, &Change{}
			order = append(order, o.Certificate)
		}
		e.advance(en, o, changes[o.Certificate])
	}
	batch := make([]pending, 0, len(order))
	for _, name := range order {
		batch = append(batch, e.put(next[name], *changes[name]))
	}
	if err := e.record(batch); err != nil {
		e.Log.Error("record what was done; trying again", "outcomes", len(e.unrecorded), "error", err)
		e.retryAt = e.Now().Add(retryRecording)
		e.failWatchers(err)
		return
	}
	var over []string
	for _, o := range e.unrecorded {
		e.traffic.Free(o.Action)
		if e.stale[o.Certificate] && changes[o.Certificate] == nil { // of a rollout that is over
			order, changes[o.Certificate] = append(order, o.Certificate), &Change{}
		}
	}
	e.unrecorded = nil
	e.rootsMoved()
	for _, name := range order {
		if ch := changes[name]; ch.Closed != nil && ch.Closed.Quiet && !e.onItsOwn {
			continue // the other hosts have their turn when somebody asks
		}
		_, open := e.entries[name]
		if open && changes[name].Generation != nil && e.onItsOwn { // what it leads to is known now: see Rollout.revise
			over = append(over, name)
		} else if !open || e.stale[name] {
			delete(e.stale, name)
			over = append(over, name)
		}
	}
	e.consider(over)
}

// advance takes one outcome into an entry and its change.
func (e *Engine) advance(en *entry, o renewer.Outcome, ch *Change) {
	r := en.rec.Rollout
	if r == nil {
		return
	}
	events := en.rec.Apply(o)
	if len(events) == 0 {
		return
	}
	if o.Found != nil {
		e.stale[o.Certificate] = true // who accepts it is known now
	}
	ch.Events, ch.Roots = append(ch.Events, events...), append(ch.Roots, e.unstored(o.NewRoots)...)
	if o.Kind == renewer.ActOrder && o.Err == nil {
		en.rolling, ch.Generation, ch.Key = o.Generation, o.Generation, o.Key
	}
	if s, ok := r.Step(o.Host); ok && e.Observer != nil && (o.Kind == renewer.ActProbe || o.Kind == renewer.ActReprobe) && s.State.Over() && s.Away > 0 {
		e.Observer.Away(s.Away, s.Budget)
	}
	e.conclude(en, o.At, ch)
}

// conclude takes the end of a rollout, if this is it, into an entry and its
// change, and notes when to look at it again.
func (e *Engine) conclude(en *entry, at time.Time, ch *Change) {
	if r := en.rec.Rollout; r.Phase.Over() {
		closed := *r
		ch.Closed = &closed
		if r.Phase == renewer.PhaseDone {
			e.promote(en, r, at, ch)
		}
		if r.Phase != renewer.PhaseBlocked {
			en.rec.Rollout, en.rolling = nil, nil
		}
	}
	en.rec.NextAt = nextAt(en, at)
}

// promote makes the rollout's generation the current one. A rollback holds:
// the restored generation gets a renew time in what is left of its life.
func (e *Engine) promote(en *entry, r *renewer.Rollout, now time.Time, ch *Change) {
	switch r.Kind {
	case renewer.KindIssue:
		en.current = en.rolling
	case renewer.KindRollback:
		if en.rolling == nil {
			return
		}
		g := *en.rolling
		g.RenewAt = en.cert.Renewal.Held(g, now)
		en.current, ch.Generation = &g, &g
	}
}

// cancelled reports an effect that was cut off by the engine's own stop: the
// state stays, and the next start does it again.
func cancelled(o renewer.Outcome) bool { return errors.Is(o.Err, errStopped) }

// ended is told once a rollout's end is recorded.
func (e *Engine) ended(r *renewer.Rollout) {
	if c, ok := e.fleet.Certificate(r.Certificate); ok {
		e.traffic.End(c.Entry, endOf(r))
	}
	e.made.drop(r.ID)
	delete(e.urgent, r.Certificate)
	if e.Observer == nil || r.Phase == renewer.PhaseSuperseded || r.Quiet { // which proves nothing
		return
	}
	result := renewer.ResultVerified
	if r.Phase == renewer.PhaseBlocked {
		result = renewer.ResultBlocked
	}
	e.Observer.RolloutEnded(result, r.EndedAt.Sub(r.StartedAt))
	for _, s := range r.Steps {
		if s.State == renewer.StepRolledBack {
			e.Observer.RolledBack()
		}
	}
}

package engine

import (
	"cmp"
	"errors"

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
	inputs, changes := map[string][]renewer.Input{}, map[string]*Change{}
	var order []string
	for _, o := range e.unrecorded {
		if _, ok := e.entries[o.Certificate]; !ok || cancelled(o) {
			continue
		}
		if o.Found != nil {
			e.stale[o.Certificate] = true // who accepts it is known now
		}
		if inputs[o.Certificate] == nil {
			order = append(order, o.Certificate)
		}
		inputs[o.Certificate] = append(inputs[o.Certificate], o)
	}
	batch := make([]pending, 0, len(order))
	for _, name := range order {
		p, _ := e.apply(e.entries[name], inputs[name]...)
		batch, changes[name] = append(batch, p), &p.change
		e.measure(p, inputs[name])
	}
	if err := e.record(batch); err != nil {
		e.Log.Error("could not record the result; retrying", "outcomes", len(e.unrecorded), "error", err)
		e.retryAt = e.Now().Add(retryRecording)
		e.failWatchers(err)
		return
	}
	var over []string
	for _, o := range e.unrecorded {
		e.traffic.Free(o.Action)
		if e.stale[o.Certificate] && changes[o.Certificate] == nil { // of an ended rollout
			order, changes[o.Certificate] = append(order, o.Certificate), &Change{}
		}
	}
	e.unrecorded = nil
	e.rootsMoved()
	for _, name := range order {
		if ch := changes[name]; ch.Closed != nil && ch.Closed.Quiet && ch.Record.Asked == nil && !e.onItsOwn {
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
	e.endReplaced(order)
}

// measure tells how long services were away.
func (e *Engine) measure(p pending, in []renewer.Input) {
	r := cmp.Or(p.change.Closed, p.rec.Rollout)
	if r == nil {
		return
	}
	for _, one := range in {
		o := one.(renewer.Outcome) //nolint:forcetypeassert // see take
		if s, ok := r.Step(o.Host); ok && s.Away > 0 && s.State.Over() && s.EndedAt.Equal(o.At) {
			e.Observer.Away(s.Away, s.Budget)
		}
	}
}

// cancelled reports an effect that was cut off by the engine's own stop: the
// state stays, and the next start does it again.
func cancelled(o renewer.Outcome) bool { return errors.Is(o.Err, errStopped) }

// ended is called once a rollout's end is recorded.
func (e *Engine) ended(r *renewer.Rollout) {
	if c, ok := e.fleet.Certificate(r.Certificate); ok {
		e.traffic.End(c.Entry, endOf(r))
	}
	e.made.drop(r.ID)
	delete(e.urgent, r.Certificate)
	if r.Phase == renewer.PhaseSuperseded || r.Quiet { // which proves nothing
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

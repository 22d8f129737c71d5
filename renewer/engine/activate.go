package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"renewer/renewer"
)

// rereads reports whether the service of a job needs nothing done to it.
func (j job) rereads() bool {
	if j.Kind == renewer.ActRestore {
		return j.step.Rereads
	}
	if j.Kind == renewer.ActActivate && !j.rollout.Requested && j.step.Previous != "" && j.placement.Uses(j.state, j.step) {
		return true
	}
	return j.placement.Rereads(j.state, j.step.Layout, j.step.Roots)
}

// guard asks the host whether the service may be restarted now. What goes back
// is never held up, nor what an operator forces, nor files that no restart follows.
func (e *Engine) guard(ctx context.Context, jobs []job) renewer.Held {
	for _, j := range jobs {
		if j.Kind != renewer.ActActivate || j.rollout.Force || j.rollout.Quiet || j.rereads() {
			continue
		}
		host, err := j.host()
		if err != nil {
			return renewer.Held{} // flipping says so
		}
		ctx, cancel := context.WithTimeout(ctx, stageTimeout)
		held := e.guarded(ctx, j, host)
		cancel()
		if held.Why != "" {
			return held
		}
	}
	return renewer.Held{}
}

// guarded asks the placement's own guards.
func (e *Engine) guarded(ctx context.Context, j job, host Host) renewer.Held {
	p, end := j.placement, time.Time{}
	if j.current != nil {
		end = j.current.NotAfter
	}
	cannot := func(what string, err error) renewer.Held {
		return renewer.Held{Why: "the guard cannot check " + what + ": " + err.Error(), Hint: renewer.Hint(err), Blocked: true}
	}
	if p.GuardsDocker() {
		g := p.Guard.Docker
		state, err := host.Docker(ctx, g.Label)
		if err != nil {
			return cannot("Docker", err)
		}
		check := g.Check
		if p.Activate.Kind == renewer.ActivateDocker {
			check = g.CheckContainer
		}
		if held := check(state, j.now(), end); held.Why != "" {
			return held
		}
	}
	if p.GuardsDagu() && j.step.Previous != "" { // nothing runs with files that are not there yet
		work, err := host.Work(ctx, p)
		if err != nil {
			return cannot("what Dagu runs", err)
		}
		if work.Running && p.Guard.Dagu.By == renewer.IdleByCoordinator {
			e.addTasks(ctx, j, host, &work)
		}
		return p.Guard.Dagu.Check(work, j.now(), end)
	}
	return renewer.Held{}
}

// prepare gets what the proof and the way back need while the service still
// runs: the probe's client certificate and the issuer's roots, which are kept
// for the probe, the certainty that the previous revision is there, and the workers
// of a Dagu coordinator.
func (e *Engine) prepare(ctx context.Context, j job) (workers []string, err error) {
	if j.Kind != renewer.ActActivate || j.rereads() || j.rollout.Quiet {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	if _, err := e.probeRequest(ctx, j.proof()); err != nil {
		return nil, fmt.Errorf("prepare the probe: %w", err)
	}
	if j.step.Previous == "" {
		return nil, nil
	}
	if j.current != nil && j.state.Has(j.current.Number) {
		req, err := e.probeRequest(ctx, j.wayBack(j.current))
		if err != nil {
			e.Log.Warn("could not prepare the probe after a restore", "certificate", j.Certificate, "host", j.Host, "error", err)
		} else {
			workers = e.connected(ctx, req)
		}
	}
	if j.placement.Activate.Budget <= 0 {
		return workers, nil
	}
	host, err := j.host()
	if err != nil {
		return nil, err
	}
	if ok, err := host.Whole(ctx, j.placement, j.step.Previous); err != nil {
		return nil, fmt.Errorf("check the previous revision: %w", err)
	} else if !ok {
		return nil, fmt.Errorf("what is in place could not be restored: revision %s is not as it was written", j.step.Previous)
	}
	return workers, nil
}

// budget returns the least restart budget of the jobs; 0 for none.
func budget(jobs []job) (least time.Duration) {
	for _, j := range jobs {
		if b := j.placement.Activate.Budget; b > 0 && (least == 0 || b < least) {
			least = b
		}
	}
	return least
}

// activate flips placements of one service to a revision each and then makes
// the service load them, once.
func (e *Engine) activate(ctx context.Context, jobs []job, revision func(job) string) []renewer.Outcome {
	outs := make([]renewer.Outcome, len(jobs))
	for i, j := range jobs {
		outs[i].Action = j.Action
		var err error
		if outs[i].Workers, err = e.prepare(ctx, j); err != nil {
			outs[i].Err, outs[i].End, outs[i].NotBegun = err, renewer.EndLost, true
		}
	}
	held := e.foresee(ctx, jobs)
	if held.Why == "" {
		held = e.guard(ctx, jobs) // the last look before the service is touched
	}
	hold := func() []renewer.Outcome {
		for i := range outs {
			outs[i] = renewer.Outcome{Action: outs[i].Action, End: renewer.EndHeld, Held: held}
		}
		return outs
	}
	back := jobs[0].Kind == renewer.ActRestore // its files are of use without a restart too
	if held.Why != "" && !back {
		return hold()
	}
	var flipped []int
	silent := true
	for i, j := range jobs {
		out := &outs[i]
		if out.NotBegun {
			continue
		}
		if out.Err = flip(ctx, j, revision(j)); out.Err != nil {
			if out.End = renewer.EndLost; errors.Is(out.Err, renewer.ErrNoRevision) {
				out.End, out.Missing = renewer.EndFailed, renewer.MissingRevision
			}
			continue
		}
		out.Dir, out.Rereads, out.Settle = j.placement.Dir, j.rereads(), j.placement.Settle(j.cert)
		flipped = append(flipped, i)
		silent = silent && out.Rereads
	}
	if held.Why != "" && len(flipped) > 0 {
		return hold()
	}
	if len(flipped) == 0 || silent || jobs[0].rollout.Quiet && jobs[0].Kind == renewer.ActActivate {
		return outs
	}
	began, most := e.Now(), budget(jobs)
	did, err := load(ctx, jobs, most)
	for _, i := range flipped {
		out := &outs[i]
		if out.Stopped, out.Rereads, out.Budget = did.NotRunning, false, most; did.NotRunning == "" {
			out.Began = began
		}
		if err == nil {
			continue
		}
		if out.Err = err; !errors.Is(err, renewer.ErrUnreachable) {
			out.End = renewer.EndFailed
		}
	}
	return outs
}

func flip(ctx context.Context, j job, revision string) error {
	host, err := j.host()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, stageTimeout)
		defer cancel()
		_, err = reach(ctx, func() (struct{}, error) { return struct{}{}, host.Flip(ctx, j.placement, revision) })
	}
	return err
}

// load makes the service of jobs load what is live. A new revision gets half of
// the budget, and the way back whatever it needs.
func load(ctx context.Context, jobs []job, budget time.Duration) (Activated, error) {
	j := jobs[0]
	host, err := j.host()
	if err != nil {
		return Activated{}, err
	}
	how := j.placement.Activate
	how.Timeout = timeFor(ctx, host, how)
	if j.Kind == renewer.ActActivate && budget > 0 {
		how.Timeout = min(how.Timeout, budget/2)
	}
	limited, cancel := context.WithTimeoutCause(ctx, how.Timeout, fmt.Errorf("not finished within %s (timeout: in activate: of the entry)", how.Timeout))
	defer cancel()
	for _, j := range jobs {
		how.Dirs = append(how.Dirs, j.placement.Dir)
	}
	how.Bring = j.Kind == renewer.ActRestore && !j.step.Down.IsZero()
	did, err := reach(limited, func() (Activated, error) { return host.Activate(limited, how) })
	if limited.Err() != nil && ctx.Err() == nil && renewer.Hint(err) == "" {
		err = renewer.WithHint(err, "set a longer timeout: in activate: of the entry, then run renewer renew "+j.Certificate)
	}
	return did, inItsWords(ctx, host, how, err)
}

package engine

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"renewer/renewer"
)

type signer = crypto.Signer

var errKeyLost = errors.New("no host has its key any more")

// stage writes what the rollout delivers beside what is live.
func (e *Engine) stage(ctx context.Context, j job) renewer.Outcome {
	ctx, cancel := context.WithTimeout(ctx, stageTimeout)
	defer cancel()
	out := renewer.Outcome{Action: j.Action}
	host, err := j.host()
	if err != nil {
		out.Err = err
		return out
	}
	staged, trust, err := e.stageOn(ctx, j, host)
	if err != nil {
		out.Err = fmt.Errorf("stage %s on %s: %w", j.Certificate, j.Host, err)
		out.KeyLost = errors.Is(err, errKeyLost)
		return out
	}
	out.Revision, out.Previous, out.Live = staged.Revision, staged.Previous, staged.Live
	out.Layout, out.Trust = j.placement.Layout(), trust
	if out.Live && out.Previous == "" {
		out.Previous = j.state.Revision
	}
	return out
}

func (e *Engine) stageOn(ctx context.Context, j job, host Host) (s Staged, trust string, err error) {
	if j.rollout.Kind == renewer.KindRollback {
		return locate(ctx, j, host)
	}
	var chain renewer.Chain
	var key signer
	if !j.cert.IsBundle() {
		if j.gen == nil {
			return s, "", fmt.Errorf("generation %d is not in the inventory", j.rollout.Generation)
		}
		if chain, err = j.gen.Parse(); err != nil {
			return s, "", err
		}
		if key, err = e.keyOf(ctx, j); err != nil {
			return s, "", err
		}
	}
	roots, err := j.roots.need(ctx, j.fleet.Issuers, j.trust...)
	if err != nil {
		return s, "", err
	}
	if _, ok := j.placement.Files[renewer.FileCA]; ok {
		trust = renewer.TrustDigest(roots)
	}
	content, err := renewer.Content(j.placement.Files, chain, key, roots)
	if err != nil {
		return s, "", err
	}
	if kind := j.placement.Activate.Kind; chain.Leaf != nil && (kind == renewer.ActivateSystemd || kind == renewer.ActivateDocker) {
		clock, err := host.Clock(ctx)
		if err != nil {
			return s, "", err
		}
		if err := renewer.Preflight(j.placement, chain.Leaf, clock); err != nil {
			return s, "", err
		}
	}
	s, err = host.Stage(ctx, j.placement, content)
	return s, trust, err
}

// locate finds the revision of an earlier generation on the host.
func locate(ctx context.Context, j job, host Host) (s Staged, trust string, err error) {
	if j.gen == nil {
		return s, "", fmt.Errorf("generation %d is not in the inventory", j.rollout.Generation)
	}
	revision, ok, err := host.Locate(ctx, j.placement, j.gen.Fingerprint)
	if err != nil {
		return s, "", err
	}
	if !ok {
		return s, "", renewer.WithHint(fmt.Errorf("%s no longer has generation %d", j.Host, j.gen.Number), "renewer renew "+j.Certificate)
	}
	disk, err := host.Inspect(ctx, j.placement)
	if err != nil {
		return s, "", err
	}
	for _, r := range j.state.Revisions {
		if r.Name == revision {
			trust = r.Trust
		}
	}
	return Staged{Revision: revision, Previous: disk.Revision, Live: disk.Revision == revision}, trust, nil
}

// keyOf returns the private key of the generation: of the rollout that ordered
// it while that lasts, else from a host that has it.
func (e *Engine) keyOf(ctx context.Context, j job) (signer, error) {
	text, ok, err := e.Keys.Load(j.rollout.ID)
	if err != nil {
		return nil, err
	}
	if !ok {
		if text, err = e.readBack(ctx, j, j.gen); err != nil {
			return nil, err
		}
	}
	return renewer.DecodeKey(text)
}

// readBack reads the key of a generation from one of the certificate's hosts.
// errKeyLost means that all were asked and none has it.
func (e *Engine) readBack(ctx context.Context, j job, g *renewer.Generation) ([]byte, error) {
	var failed error
	for _, p := range j.cert.Placements {
		host, ok := j.fleet.Hosts[p.Host]
		if !ok {
			continue
		}
		revision, ok, err := host.Locate(ctx, p, g.Fingerprint)
		if err == nil && ok {
			var text []byte
			if text, err = host.ReadKey(ctx, p, revision); err == nil {
				return text, nil
			}
		}
		if err != nil {
			failed = fmt.Errorf("read the key of generation %d back from %s: %w", g.Number, p.Host, err)
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("generation %d: %w", g.Number, errKeyLost)
}

// guard asks the host whether the service may be restarted now. What goes back
// is never held up, nor what a person forces.
func guard(ctx context.Context, jobs []job) renewer.Held {
	for _, j := range jobs {
		if j.Kind != renewer.ActActivate || j.rollout.Force {
			continue
		}
		host, err := j.host()
		if err != nil {
			return renewer.Held{} // flipping says so
		}
		ctx, cancel := context.WithTimeout(ctx, stageTimeout)
		held := j.guarded(ctx, host)
		cancel()
		if held.Why != "" {
			return held
		}
	}
	return renewer.Held{}
}

// guarded asks the placement's own guards.
func (j job) guarded(ctx context.Context, host Host) renewer.Held {
	p, end := j.placement, time.Time{}
	if j.current != nil {
		end = j.current.NotAfter
	}
	cannot := func(what string, err error) renewer.Held {
		return renewer.Held{Why: "the guard cannot look at " + what + ": " + err.Error(), Hint: renewer.Hint(err), Blocked: true}
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
	if p.GuardsDagu() {
		work, err := host.Work(ctx, p)
		if err != nil {
			return cannot("what Dagu runs", err)
		}
		return p.Guard.Dagu.Check(work, j.now(), end)
	}
	return renewer.Held{}
}

// activate flips placements of one service to a revision each and then makes
// the service load them, once.
func activate(ctx context.Context, jobs []job, revision func(job) string) []renewer.Outcome {
	timeout := jobs[0].placement.Activate.Timeout
	if timeout <= 0 {
		timeout = time.Minute
	}
	outs := failAll(jobs, nil)
	if held := guard(ctx, jobs); held.Why != "" {
		for i := range outs {
			outs[i].Held = held
		}
		return outs
	}
	flipped := 0
	for i, j := range jobs {
		host, err := j.host()
		if err == nil {
			flip, cancel := context.WithTimeout(ctx, stageTimeout)
			_, err = reach(flip, func() (struct{}, error) { return struct{}{}, host.Flip(flip, j.placement, revision(j)) })
			cancel()
		}
		if err != nil {
			outs[i].Err = fmt.Errorf("make %s live on %s: %w", j.Certificate, j.Host, err)
			continue
		}
		outs[i].Inconclusive = false
		flipped++
	}
	if flipped == 0 {
		return outs
	}
	if jobs[0].rollout.Quiet && jobs[0].Kind == renewer.ActActivate {
		for i := range outs {
			outs[i].Stopped = "the setup of the host restarts the service"
		}
		return outs
	}
	host, _ := jobs[0].host()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	how := jobs[0].placement.Activate
	how.Bring = jobs[0].Kind == renewer.ActRestore && jobs[0].step.Stopped == ""
	did, err := reach(ctx, func() (renewer.Activated, error) { return host.Activate(ctx, how) })
	for i, j := range jobs {
		if outs[i].Inconclusive {
			continue
		}
		outs[i].Inconclusive = errors.Is(err, renewer.ErrUnreachable)
		outs[i].Stopped = did.NotRunning
		if err != nil {
			outs[i].Err = fmt.Errorf("activate %s on %s: %w", j.Certificate, j.Host, err)
		}
	}
	return outs
}

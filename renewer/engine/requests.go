package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// inOrder sorts results by certificate. Of each the last rollout says how it ended:
// a pass may have had several.
func inOrder(list []renewer.RolloutResult) (out []renewer.RolloutResult) {
	slices.SortFunc(list, func(a, b renewer.RolloutResult) int { // NAME#9 comes before NAME#10
		return cmp.Or(cmp.Compare(a.Certificate, b.Certificate), cmp.Compare(len(a.Rollout), len(b.Rollout)), cmp.Compare(a.Rollout, b.Rollout))
	})
	for i, r := range list {
		if i+1 == len(list) || list[i+1].Certificate != r.Certificate {
			out = append(out, r)
		}
	}
	return out
}

// sources returns what looks and orders share; empty ones of an engine that has
// stopped.
func (e *Engine) sources() (*rootCache, *credentials) {
	roots, creds := newRootCache(), newCredentials(e.Now)
	_ = e.do(context.Background(), func() { roots, creds = e.roots, e.probeCerts })
	return roots, creds
}

// RunOnce does one pass over a fleet: all that is due, then a look at every
// placement, then what that look calls for. It returns every rollout that was
// under way meanwhile.
func (e *Engine) RunOnce(ctx context.Context, f Fleet, progress func(renewer.Event)) (renewer.RunResult, error) {
	w := newWatcher()
	w.every = true
	err := e.do(ctx, func() {
		e.watchers[w] = true
		for name, en := range e.entries {
			w.add(en.rec.Rollout.ID, name)
		}
	})
	if err != nil {
		return renewer.RunResult{}, err
	}
	defer func() { _ = e.do(context.WithoutCancel(ctx), func() { e.forget(w) }) }()
	if err := e.SetFleet(ctx, f, Again); err != nil {
		return renewer.RunResult{}, err
	}
	if result, err := e.rested(ctx, w, progress); err != nil {
		return result, err
	}
	if err := e.Survey(ctx, nil); err != nil {
		return renewer.RunResult{}, err
	}
	return e.rested(ctx, w, progress)
}

// rested waits until everything that a watcher saw has come to rest.
func (e *Engine) rested(ctx context.Context, w *watcher, progress func(renewer.Event)) (renewer.RunResult, error) {
	err := e.do(ctx, func() {
		w.update(func() { w.ended = false })
		w.armed, e.watchers[w] = true, true
	})
	if err != nil {
		return renewer.RunResult{}, err
	}
	return w.wait(ctx, progress)
}

// Renew asks for a new generation of each name, and waits until all have come to
// rest. It is planned like any other reason to renew: what is changing a host, or
// has begun before, ends first.
func (e *Engine) Renew(ctx context.Context, names []string, o renewer.Overrides, wait bool, progress func(renewer.Event)) (renewer.RunResult, error) {
	refused, err := e.foretold(ctx, names, o)
	if err != nil {
		return renewer.RunResult{}, err
	}
	for _, ev := range refused {
		if progress != nil {
			progress(ev)
		}
	}
	return e.request(ctx, names, wait, progress, func(name string) (p pending, err error) {
		p, _, err = e.planOne(name, renewer.Requested{Overrides: o})
		return p, err
	})
}

// foretold says who will refuse what is renewed, by the function that keeps the gate,
// before it is passed. No rollout has begun for these events.
func (e *Engine) foretold(ctx context.Context, names []string, o renewer.Overrides) (events []renewer.Event, err error) {
	if !o.Force && len(o.Without) == 0 {
		return nil, nil
	}
	err = e.try(ctx, func() error {
		for _, name := range names {
			c, ok := e.fleet.Certificate(name)
			if !ok {
				continue // said when it is asked for
			}
			en, _, err := e.load(name, c)
			if err != nil {
				return err
			}
			who := refusers(e.refusals(en, nil, 64), func(id trust.ID) bool { return o.Force || slices.Contains(o.Without, id.Host) })
			if len(who) > 0 {
				events = append(events, renewer.Event{
					Time: e.Now().UTC(), Type: renewer.EventRefused, Certificate: name,
					Message: "not waiting for these peers, which will refuse it until they have loaded its root: " + strings.Join(who, ", "),
				})
			}
		}
		return nil
	})
	return events, err
}

// hurryBack ends the backoff of what is being put back: somebody may have fixed what
// kept it from that.
func (e *Engine) hurryBack(en *entry) {
	if r := en.rec.Rollout; !r.Restoring() || e.working(r) {
		return
	}
	if p, changed := e.apply(en, renewer.Retried{}); changed {
		if err := e.record([]pending{p}); err != nil {
			e.Log.Warn("could not start the rollback again", "certificate", en.cert.Name, "error", err)
		}
	}
}

// await waits until no named certificate has a rollout that is busy any more, or
// nothing can be done for that now: what an operator asks for begins afterwards.
func (e *Engine) await(ctx context.Context, names []string, busy func(*renewer.Rollout) bool, progress func(renewer.Event)) error {
	w, any := newWatcher(), false
	w.alone = true
	err := e.do(ctx, func() {
		for _, name := range names {
			if en, open := e.entries[name]; open && busy(en.rec.Rollout) {
				e.hurryBack(en)
				w.add(en.rec.Rollout.ID, name)
				w.armed, e.watchers[w], any = true, true, true
			}
		}
	})
	if err != nil || !any {
		return err
	}
	_, err = w.wait(ctx, progress)
	return err
}

// Rollback has an earlier generation wanted again: the newest before the current
// one, unless that was revoked or has expired. Its chain is in the inventory and
// its key on a host; the roots beside it are today's.
func (e *Engine) Rollback(ctx context.Context, names []string, progress func(renewer.Event)) (renewer.RunResult, error) {
	var jobs []job
	if err := e.try(ctx, func() error {
		for _, name := range names {
			j, err := e.rollback(name)
			if err != nil {
				return err
			}
			jobs = append(jobs, j)
		}
		return nil
	}); err != nil {
		return renewer.RunResult{}, err
	}
	for _, j := range jobs { // refused now rather than half-way
		if _, err := e.readBack(ctx, j, j.gen); err != nil {
			return renewer.RunResult{}, renewer.WithHint(fmt.Errorf("%s cannot be rolled back: %w", j.cert.Name, err), "renewer renew "+j.cert.Name+" issues a new one")
		}
	}
	return e.request(ctx, names, true, progress, func(name string) (pending, error) {
		j, err := e.rollback(name)
		if err != nil {
			return pending{}, err
		}
		return e.replace(name, renewer.Replaced{Why: "rollback requested by operator", With: renewer.Rollback(j.cert, j.gen.Number), By: j.gen})
	})
}

// rollback is all that it takes to look for the key of a certificate's earlier
// generation.
func (e *Engine) rollback(name string) (j job, err error) {
	fleet := e.fleet
	c, ok := fleet.Certificate(name)
	if !ok {
		return j, fmt.Errorf("certificate %s is not in the fleet file", name)
	}
	en, _, err := e.load(name, c)
	if err != nil {
		return j, err
	}
	j = job{cert: c, fleet: &fleet, placements: en.rec.Placements}
	j.gen, err = e.rollbackTarget(en, e.Now())
	return j, err
}

// replace ends what is open and starts a rollout that the operator asked for.
func (e *Engine) replace(name string, in renewer.Replaced) (pending, error) {
	c, _ := e.fleet.Certificate(name)
	en, _, err := e.load(name, c)
	if err != nil {
		return pending{}, err
	}
	if r := en.rec.Rollout; r != nil && (!r.Settled() || e.working(r)) {
		return pending{}, atWork(en)
	}
	p, _ := e.apply(en, in)
	return p, nil
}

// atWork says why a rollout cannot be replaced now.
func atWork(en *entry) error {
	r := en.rec.Rollout
	what := "is changing a host"
	if r.Restoring() {
		what = "is restoring the previous certificate"
	}
	err := fmt.Errorf("%s: rollout %s %s; wait until that is finished", en.cert.Name, r.ID, what)
	if why, _ := r.LastError(); why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return renewer.WithHint(err, "see the rollout: renewer status; when it is finished, repeat the command")
}

func (e *Engine) rollbackTarget(en *entry, now time.Time) (*renewer.Generation, error) {
	gens, err := e.Store.Generations(en.cert.Name)
	if err != nil {
		return nil, err
	}
	failed := fmt.Errorf("%s: there is no earlier generation than %d", en.cert.Name, en.rec.Current)
	for _, g := range gens {
		if g.Number >= en.rec.Current {
			continue
		}
		switch {
		case !g.RevokedAt.IsZero():
			failed = fmt.Errorf("%s: generation %d was revoked", en.cert.Name, g.Number)
		case g.KeyCompromised:
			failed = fmt.Errorf("%s: the private key of generation %d is compromised", en.cert.Name, g.Number)
		case !now.Before(g.NotAfter):
			failed = fmt.Errorf("%s: generation %d expired at %s", en.cert.Name, g.Number, g.NotAfter.Format(time.RFC3339))
		default:
			if failed = e.dropped(g, now); failed == nil {
				return &g, nil
			}
		}
		break // an older one is no better
	}
	return nil, renewer.WithHint(failed, "renewer renew "+en.cert.Name+" issues a new one")
}

// dropped says why nothing goes back to a generation because its CA was replaced; nil
// if it may. A root that is in no ca file any more would come back into all of them.
func (e *Engine) dropped(g renewer.Generation, now time.Time) error {
	under, by := e.roots.under(&g), e.fleet.Rotations[g.Request.Issuer]
	revoked := renewer.NewRootSet(by.Revoked...)
	if under.Meets(revoked) || slices.ContainsFunc(g.Chain, func(der []byte) bool { return revoked.Has(renewer.Fingerprint(der)) }) {
		return fmt.Errorf("%s: generation %d was revoked, because the key of its CA is compromised", g.Certificate, g.Number)
	}
	base := e.roots.base(g.Request.Issuer)
	if len(under) == 0 || !base.Known() || under.Meets(base) {
		return nil
	}
	if g.Number == 0 && !under.Meets(renewer.NewRootSet(by.Replaced...)) { // it was there before renewer, under a CA that is not the issuer's
		return nil
	}
	for _, root := range under {
		held := func(n trust.Node) bool { return !n.Left }
		if !e.fleet.gone().Has(root) && slices.ContainsFunc(e.trusts().Holders(root, now), held) {
			return nil
		}
	}
	return fmt.Errorf("%s: generation %d was signed by %s, which issuer %s has replaced and which no ca file has any more", g.Certificate, g.Number, e.roots.name(under[0]), g.Request.Issuer)
}

// request changes the named certificates in one transaction, and waits for
// what that started. An error for one name changes none.
func (e *Engine) request(ctx context.Context, names []string, wait bool, progress func(renewer.Event), f func(name string) (pending, error)) (renewer.RunResult, error) {
	w := newWatcher()
	if err := e.try(ctx, func() error { return e.ask(names, w, f) }); err != nil {
		return renewer.RunResult{}, err
	}
	if wait {
		return w.wait(ctx, progress)
	}
	var result renewer.RunResult
	err := e.do(ctx, func() { // a turn of the loop after the request
		for id, name := range w.rollouts {
			result.Rollouts = append(result.Rollouts, renewer.RolloutResult{
				Certificate: name, Rollout: id, Result: renewer.ResultStarted, Waiting: e.traffic.Waits(name),
			})
		}
		for name := range w.asked {
			waits := renewer.Waits{{Kind: renewer.WaitPace, Text: fmt.Sprintf("it starts when fewer than %d other rollouts are in progress", maxUnderWay)}}
			if en, open := e.entries[name]; open {
				waits = en.rec.Waits()
			}
			result.Rollouts = append(result.Rollouts, renewer.RolloutResult{Certificate: name, Result: renewer.ResultStarted, Waiting: waits})
		}
		e.forget(w)
	})
	result.Rollouts = inOrder(result.Rollouts)
	return result, err
}

func (e *Engine) ask(names []string, w *watcher, f func(name string) (pending, error)) error {
	e.room = maxUnderWay - e.traffic.AtWork()
	var batch []pending
	for _, name := range names {
		if _, ok := e.fleet.Certificate(name); !ok {
			return fmt.Errorf("certificate %s is not in the fleet file", name)
		}
		p, err := f(name)
		if err != nil {
			return err
		}
		if w.armed = true; p.rec.Asked == nil {
			w.add(p.rec.Rollout.ID, name)
		} else {
			w.names[name], w.asked[name] = true, true
		}
		batch = append(batch, p)
	}
	e.watchers[w] = true
	if err := e.record(batch); err != nil {
		e.forget(w)
		return fmt.Errorf("record the request: %w", err)
	}
	return nil
}

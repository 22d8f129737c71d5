package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
)

func sortResults(list []renewer.RolloutResult) {
	slices.SortFunc(list, func(a, b renewer.RolloutResult) int { return cmp.Compare(a.Certificate, b.Certificate) })
}

func (e *Engine) rootsNow() *rootCache {
	var r *rootCache
	_ = e.do(context.Background(), func() { r = e.roots })
	if r == nil {
		r = newRootCache()
	}
	return r
}

func (e *Engine) credentialsNow() *credentials {
	var c *credentials
	_ = e.do(context.Background(), func() { c = e.probeCerts })
	if c == nil {
		c = newCredentials(e.Now)
	}
	return c
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
	if _, err := e.Survey(ctx, nil); err != nil {
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

// Renew starts a rollout of a new generation for each name, or hurries the one
// that is on its way, and waits until all have come to rest.
func (e *Engine) Renew(ctx context.Context, names []string, o renewer.Overrides, wait bool, progress func(renewer.Event)) (renewer.RunResult, error) {
	if wait {
		if err := e.await(ctx, names, busy, progress); err != nil {
			return renewer.RunResult{}, err
		}
	}
	room := maxUnderWay
	return e.request(ctx, names, wait, progress, func(en *entry, now time.Time, ch *Change) error {
		if room = min(room, maxUnderWay-e.traffic.AtWork()); !en.open() {
			if room <= 0 {
				en.rec.Asked, en.rec.NextAt = &o, now
				return nil
			}
			room--
		}
		return e.renew(en, o, now, ch)
	})
}

// busy reports whether a rollout has to come to rest before another one can take
// its place: it puts something back, or is at work for another purpose.
func busy(r *renewer.Rollout) bool {
	return r.Restoring() || r.Kind != renewer.KindIssue && !r.Settled()
}

// renew starts the rollout that was asked for, or hurries the one that is on its
// way.
func (e *Engine) renew(en *entry, o renewer.Overrides, now time.Time, ch *Change) error {
	en.rec.Asked = nil
	r := en.rec.Rollout
	if en.open() && !r.Restoring() && !r.Quiet && (r.Kind == renewer.KindIssue || en.cert.IsBundle()) && r.Entry == en.cert.Digest() {
		en.rec.Rollout.Hurry(o, now)
		ch.Events = append(ch.Events, renewer.Event{
			Time: now, Type: renewer.EventRolloutPlanned, Certificate: en.cert.Name, Generation: r.Generation, Rollout: r.ID, Message: "hurried on request",
		})
		return nil
	}
	if err := e.replace(en, renewer.Renewed(en.cert, o), "renewal requested by operator", now, ch); err != nil {
		return err
	}
	en.rec.Rollout.Revise(en.cert, e.observed(en), now)
	return nil
}

// grant begins a renewal that was asked for when there was no room for it.
func (e *Engine) grant(en *entry, c renewer.Certificate) (pending, bool) {
	next, now, ch := en.clone(), e.Now(), Change{}
	if next.cert = c; !en.open() {
		if e.room <= 0 {
			if !e.onItsOwn { // else it is in the due index
				e.asked = append(e.asked, c.Name)
			}
			return pending{}, false
		}
		e.room--
	}
	if err := e.renew(next, *en.rec.Asked, now, &ch); err != nil {
		e.stale[c.Name] = true // what is at work on a host ends first
		return pending{}, false
	}
	return e.put(next, ch), true
}

// hurryBack ends the backoff of what is being put back: somebody may have mended what
// kept it from that.
func (e *Engine) hurryBack(en *entry) {
	if r := en.rec.Rollout; !r.Restoring() || e.working(r) {
		return
	}
	if next := en.clone(); next.rec.Rollout.Retry() {
		if err := e.record([]pending{e.put(next, Change{})}); err != nil {
			e.Log.Warn("begin the way back anew", "certificate", en.cert.Name, "error", err)
		}
	}
}

// await waits until no named certificate has a rollout that is busy any more, or
// nothing can be done for that now: what a person asks for begins afterwards.
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
	var failed error
	err := e.do(ctx, func() {
		for _, name := range names {
			var j job
			if j, failed = e.rollback(name); failed != nil {
				return
			}
			jobs = append(jobs, j)
		}
	})
	if err := firstError(err, failed); err != nil {
		return renewer.RunResult{}, err
	}
	for _, j := range jobs { // refused now rather than half-way
		if _, err := e.readBack(ctx, j, j.gen); err != nil {
			return renewer.RunResult{}, renewer.WithHint(fmt.Errorf("%s cannot go back: %w", j.cert.Name, err), "renewer renew "+j.cert.Name+" issues a new one")
		}
	}
	return e.request(ctx, names, true, progress, func(en *entry, now time.Time, ch *Change) error {
		g, err := e.rollbackTarget(en, now)
		if err != nil {
			return err
		}
		if err := e.replace(en, renewer.Rollback(en.cert, g.Number), "rollback requested by operator", now, ch); err != nil {
			return err
		}
		en.rolling, en.rec.Asked = g, nil
		r := *en.rec.Rollout
		r.Revise(en.cert, e.observed(en), now)
		en.rec.Rollout = &r
		return nil
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
	j = job{cert: c, fleet: &fleet}
	j.gen, err = e.rollbackTarget(en, e.Now())
	return j, err
}

// replace ends what is open and starts a rollout that a person asked for.
func (e *Engine) replace(en *entry, r *renewer.Rollout, why string, now time.Time, ch *Change) error {
	if en.rec.Rollout != nil {
		if !en.rec.Rollout.Settled() || e.working(en.rec.Rollout) {
			return atWork(en)
		}
		closed, events := en.close(renewer.PhaseSuperseded, why, now)
		ch.Closed, ch.Events = closed, append(ch.Events, events...)
	}
	ch.Events = append(ch.Events, en.start(r, now))
	en.rec.NextAt = nextAt(en, now)
	return nil
}

// atWork says why a rollout cannot be replaced now.
func atWork(en *entry) error {
	r := en.rec.Rollout
	what := "is at work on a host"
	if r.Restoring() {
		what = "puts the previous certificate back"
	}
	err := fmt.Errorf("%s: rollout %s %s, which ends first", en.cert.Name, r.ID, what)
	if why, _ := r.Trouble(); why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return renewer.WithHint(err, "renewer status shows when it is over; then give the command again")
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
			failed = fmt.Errorf("%s: the key of generation %d is in other hands", en.cert.Name, g.Number)
		case !now.Before(g.NotAfter):
			failed = fmt.Errorf("%s: generation %d expired at %s", en.cert.Name, g.Number, g.NotAfter.Format(time.RFC3339))
		default:
			return &g, nil
		}
		break // an older one is no better
	}
	return nil, renewer.WithHint(failed, "renewer renew "+en.cert.Name+" issues a new one")
}

// request changes the named certificates in one transaction, and waits for
// what that started. An error for one name changes none.
func (e *Engine) request(ctx context.Context, names []string, wait bool, progress func(renewer.Event), f func(*entry, time.Time, *Change) error) (renewer.RunResult, error) {
	w := newWatcher()
	var failed error
	err := e.do(ctx, func() { failed = e.ask(names, w, f) })
	if err := firstError(err, failed); err != nil {
		return renewer.RunResult{}, err
	}
	if wait {
		return w.wait(ctx, progress)
	}
	var result renewer.RunResult
	err = e.do(ctx, func() { // a turn of the loop after the request
		for id, name := range w.rollouts {
			result.Rollouts = append(result.Rollouts, renewer.RolloutResult{
				Certificate: name, Rollout: id, Result: renewer.ResultStarted, Waiting: e.traffic.Waits(name),
			})
		}
		for name := range w.asked {
			result.Rollouts = append(result.Rollouts, renewer.RolloutResult{Certificate: name, Result: renewer.ResultStarted, Waiting: renewer.Waits{{
				Kind: renewer.WaitPace, Text: fmt.Sprintf("it begins when fewer than %d others are under way", maxUnderWay),
			}}})
		}
		e.forget(w)
	})
	sortResults(result.Rollouts)
	return result, err
}

func (e *Engine) ask(names []string, w *watcher, f func(*entry, time.Time, *Change) error) error {
	now := e.Now()
	var batch []pending
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			return fmt.Errorf("certificate %s is not in the fleet file", name)
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return err
		}
		next := en.clone()
		var ch Change
		if err := f(next, now, &ch); err != nil {
			return err
		}
		if w.armed = true; next.rec.Asked == nil {
			w.add(next.rec.Rollout.ID, name)
		} else {
			w.names[name], w.asked[name] = true, true
			e.asked = append(e.asked, name)
		}
		batch = append(batch, e.put(next, ch))
	}
	e.watchers[w] = true
	for rest := batch; len(rest) > 0; {
		n := min(len(rest), recordAtOnce)
		if err := e.record(rest[:n]); err != nil {
			e.forget(w)
			return fmt.Errorf("record the request: %w", err)
		}
		rest = rest[n:]
	}
	return nil
}

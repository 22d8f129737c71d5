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

// Times says when the engine last checked and probed, and when something is
// due next.
func (e *Engine) Times() (check, probe, due time.Time) {
	_ = e.do(context.Background(), func() {
		check, probe = e.lastCheck, e.lastProbe
		due, _, _ = e.Store.NextDue()
	})
	return check, probe, due
}

// maxPasses bounds how often Settle starts over because one rollout's end
// started another.
const maxPasses = 4

// Settle waits until every rollout under way has come to rest.
func (e *Engine) Settle(ctx context.Context, progress func(renewer.Event)) (renewer.RunResult, error) {
	var total renewer.RunResult
	seen := map[string]bool{}
	for range maxPasses {
		var w *watcher
		if err := e.do(ctx, func() {
			var names []string
			for name, en := range e.entries {
				if !seen[en.rec.Rollout.ID] {
					names = append(names, name)
				}
			}
			w = e.watch(names)
		}); err != nil {
			return total, err
		}
		if len(w.rollouts) == 0 {
			_ = e.do(ctx, func() { e.forget(w) })
			break
		}
		for id := range w.rollouts {
			seen[id] = true
		}
		result, err := w.wait(ctx, progress)
		total.Rollouts = append(total.Rollouts, result.Rollouts...)
		if err != nil {
			return total, err
		}
	}
	sortResults(total.Rollouts)
	return total, nil
}

// Blocked returns the certificates whose rollout only a person can go on with,
// and those that no rollout puts right.
func (e *Engine) Blocked(ctx context.Context) ([]renewer.RolloutResult, error) {
	var out []renewer.RolloutResult
	var failed error
	err := e.do(ctx, func() {
		for _, c := range e.fleet.Certificates {
			en, found, err := e.load(c.Name, c)
			if err != nil {
				failed = err
				return
			}
			if r := en.rec.Rollout; found && r != nil && r.Phase == renewer.PhaseBlocked {
				res := renewer.RolloutResult{Certificate: c.Name, Rollout: r.ID, Generation: r.Generation, Result: renewer.ResultBlocked}
				res.Error, res.Hint = r.Trouble()
				out = append(out, res)
			}
		}
	})
	return out, firstError(err, failed)
}

// Renew starts a rollout of a new generation for each name, or hurries the one
// that is on its way, and waits until all have come to rest.
func (e *Engine) Renew(ctx context.Context, names []string, force, wait bool, progress func(renewer.Event)) (renewer.RunResult, error) {
	return e.request(ctx, names, wait, progress, func(en *entry, now time.Time, ch *Change) error {
		r := en.rec.Rollout
		open := r != nil && !r.Phase.Over()
		if open && (r.Kind == renewer.KindIssue || en.cert.IsBundle()) && r.Entry == en.cert.Digest() {
			en.rec.Rollout.Hurry(force)
			ch.Events = append(ch.Events, renewer.Event{
				Time: now, Type: renewer.EventRolloutPlanned, Certificate: en.cert.Name, Generation: r.Generation, Rollout: r.ID, Message: "hurried on request",
			})
			return nil
		}
		return e.replace(en, renewer.Renewed(en.cert, force), "a person asked for a renewal", now, ch)
	})
}

// Rollback puts an earlier generation back: the newest before the current one
// that every host still has and that is neither expired nor revoked.
func (e *Engine) Rollback(ctx context.Context, names []string, progress func(renewer.Event)) (renewer.RunResult, error) {
	return e.request(ctx, names, true, progress, func(en *entry, now time.Time, ch *Change) error {
		g, err := e.rollbackTarget(en, now)
		if err != nil {
			return err
		}
		if err := e.replace(en, renewer.Rollback(en.cert, g.Number), "a person asked for a rollback", now, ch); err != nil {
			return err
		}
		en.rolling = g
		return nil
	})
}

// replace ends what is open and starts a rollout that a person asked for.
func (e *Engine) replace(en *entry, r *renewer.Rollout, why string, now time.Time, ch *Change) error {
	if en.rec.Rollout != nil {
		if !en.rec.Rollout.Settled() {
			return renewer.WithHint(fmt.Errorf("%s: rollout %s is between two generations on a host", en.cert.Name, en.rec.Rollout.ID), "wait for it: renewer status")
		}
		closed, events := en.close(renewer.PhaseSuperseded, why, now)
		ch.Closed, ch.Events = closed, append(ch.Events, events...)
	}
	ch.Events = append(ch.Events, en.start(r, now))
	en.rec.NextAt = time.Time{}
	return nil
}

func (e *Engine) rollbackTarget(en *entry, now time.Time) (*renewer.Generation, error) {
	gens, err := e.Store.Generations(en.cert.Name)
	if err != nil {
		return nil, err
	}
	failed := fmt.Errorf("%s: there is no earlier generation than %d on its hosts", en.cert.Name, en.rec.Current)
	for _, g := range gens {
		if g.Number >= en.rec.Current || !en.rec.OnAll(g.Number, en.cert) {
			continue
		}
		switch {
		case !g.RevokedAt.IsZero():
			failed = fmt.Errorf("%s: generation %d was revoked", en.cert.Name, g.Number)
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
	for id, name := range w.rollouts {
		result.Rollouts = append(result.Rollouts, renewer.RolloutResult{Certificate: name, Rollout: id, Result: renewer.ResultStarted})
	}
	sortResults(result.Rollouts)
	return result, e.do(ctx, func() { e.forget(w) })
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
		next := &entry{cert: c, rec: en.rec.Clone(), current: en.current, rolling: en.rolling}
		var ch Change
		if err := f(next, now, &ch); err != nil {
			return err
		}
		w.rollouts[next.rec.Rollout.ID] = name
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

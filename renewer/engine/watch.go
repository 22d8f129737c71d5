package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"renewer/renewer"
)

// watcher follows some rollouts for somebody who waits. The loop never waits
// for a watcher: events are queued.
type watcher struct {
	rollouts map[string]string // rollout ID → certificate
	names    map[string]bool   // the certificates of them
	asked    map[string]bool   // those of names whose rollout waits for its turn
	pending  []watched         // the rollouts that may not be over
	every    bool              // rollouts that are begun later, too
	alone    bool              // not those that take the place of one, or come after it
	armed    bool              // somebody waits for the end

	mu     sync.Mutex
	queue  []renewer.Event
	result renewer.RunResult
	err    error
	ended  bool
	wake   chan struct{}
}

type watched struct{ rollout, name string }

func newWatcher() *watcher {
	return &watcher{rollouts: map[string]string{}, names: map[string]bool{}, asked: map[string]bool{}, wake: make(chan struct{}, 1)}
}

func (w *watcher) add(rollout, certificate string) {
	if _, known := w.rollouts[rollout]; !known {
		w.rollouts[rollout], w.names[certificate] = certificate, true
		w.pending = append(w.pending, watched{rollout, certificate})
	}
	delete(w.asked, certificate)
}

func (w *watcher) update(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) stop(err error) { w.update(func() { w.ended, w.err = true, err }) }

// wait hands every event to progress and returns when the watched rollouts
// have come to rest, or ctx ends; the rollouts go on in both cases.
func (w *watcher) wait(ctx context.Context, progress func(renewer.Event)) (renewer.RunResult, error) {
	for {
		w.mu.Lock()
		events, ended, result, err := w.queue, w.ended, w.result, w.err
		w.queue = nil
		w.mu.Unlock()
		for _, ev := range events {
			if progress != nil {
				progress(ev)
			}
		}
		if ended {
			return result, err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return renewer.RunResult{}, ctx.Err()
		}
	}
}

// tell logs recorded events and passes them to the watchers.
func (e *Engine) tell(events []renewer.Event) {
	for _, ev := range events {
		e.log(ev)
		if ev.Type == renewer.EventDrifted {
			e.Observer.Drifted()
		}
		for w := range e.watchers {
			if _, ok := w.rollouts[ev.Rollout]; ok {
				w.update(func() { w.queue = append(w.queue, ev) })
			}
		}
	}
}

// levels says which events are more than information.
var levels = map[renewer.EventType]slog.Level{
	renewer.EventIssueWarning:     slog.LevelWarn,
	renewer.EventRenewalFailed:    slog.LevelError,
	renewer.EventLifetimeTooShort: slog.LevelError,
	renewer.EventStageFailed:      slog.LevelError,
	renewer.EventActivateFailed:   slog.LevelError,
	renewer.EventProbeFailed:      slog.LevelError,
	renewer.EventRestoreFailed:    slog.LevelError,
	renewer.EventRolledBack:       slog.LevelError,
	renewer.EventRolloutBlocked:   slog.LevelError,
	renewer.EventDrifted:          slog.LevelWarn,
	renewer.EventUnreachable:      slog.LevelWarn,
	renewer.EventExpiring:         slog.LevelWarn,
	renewer.EventExpired:          slog.LevelError,
}

func (e *Engine) log(ev renewer.Event) {
	attrs := make([]slog.Attr, 0, 8)
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("certificate", ev.Certificate)
	add("host", ev.Host)
	if ev.Generation > 0 {
		attrs = append(attrs, slog.Int("generation", ev.Generation))
	}
	add("rollout", ev.Rollout)
	add("message", ev.Message)
	add("error", ev.Error)
	add("hint", ev.Hint)
	e.Log.LogAttrs(context.Background(), levels[ev.Type], string(ev.Type), attrs...)
}

// attend adds a rollout that is under way to those who watch every one, or one
// of the same certificate that it takes the place of.
func (e *Engine) attend(en *entry) {
	for w := range e.watchers {
		if name := en.cert.Name; w.every || w.names[name] && !w.alone && en.rec.Asked == nil {
			w.add(en.rec.Rollout.ID, name)
		}
	}
}

func (e *Engine) forget(w *watcher) { delete(e.watchers, w) }

func (e *Engine) failWatchers(err error) {
	for w := range e.watchers {
		w.stop(err)
		e.forget(w)
	}
}

// settleWatchers ends the watchers all of whose rollouts have come to rest:
// over, or nothing to do now but wait.
func (e *Engine) settleWatchers() {
	for w := range e.watchers {
		if !w.armed || !e.atRest(w) {
			continue
		}
		var result renewer.RunResult
		for id, name := range w.rollouts {
			if res := e.standing(id, name); res.Result != superseded {
				result.Rollouts = append(result.Rollouts, res)
			}
		}
		for name := range w.asked {
			result.Rollouts = append(result.Rollouts, e.standing(e.entries[name].rec.Rollout.ID, name))
		}
		result.Rollouts = inOrder(result.Rollouts)
		w.update(func() { w.result, w.ended = result, true })
		w.armed = false
		if !w.every {
			e.forget(w)
		}
	}
}

// atRest reports whether nothing is done now for any rollout of a watcher, nor
// could be begun. It is asked at every turn of the loop.
func (e *Engine) atRest(w *watcher) bool {
	if w.every {
		return e.passOver()
	}
	for name := range w.asked {
		if _, open := e.entries[name]; !open || e.goesOn(name) {
			return false
		}
	}
	var kept []watched // that wait: most have others before them that go on
	for i, one := range w.pending {
		en, open := e.entries[one.name]
		if !open || en.rec.Rollout.ID != one.rollout {
			continue
		}
		if e.goesOn(one.name) || e.traffic.HeldByAny(one.name, e.goesOn) {
			if i > len(kept) {
				w.pending = append(kept, w.pending[i:]...)
			}
			return false
		}
		kept = append(kept, one)
	}
	w.pending = kept
	return true
}

// passOver reports whether nothing is under way or due that could be done now.
func (e *Engine) passOver() bool {
	if e.running > 0 || e.traffic.Moving("") || len(e.asked) > 0 {
		return false
	}
	if now := e.Now(); e.onItsOwn && !e.retryAt.After(now) {
		due, ok, err := e.Store.NextDue()
		if len(e.unplanned) > 0 || err == nil && ok && !due.After(now) {
			return false
		}
	}
	for name := range e.entries {
		if e.goesOn(name) {
			return false
		}
	}
	return true
}

// patience is the longest pause between hosts that is waited out for somebody
// who waits for the end. Longer ones are said.
const patience = time.Minute

// goesOn reports whether something is done for a certificate now, or after a
// short pause between hosts.
func (e *Engine) goesOn(name string) bool {
	paused := slices.ContainsFunc(e.traffic.Waits(name), func(w renewer.Waiting) bool { return w.Kind == renewer.WaitPause })
	en, open := e.entries[name]
	return e.moving(name) || open && paused && en.cert.Pace.Pause <= patience
}

// standing says how a rollout stands.
func (e *Engine) standing(id, name string) renewer.RolloutResult {
	res := renewer.RolloutResult{Certificate: name, Rollout: id, Result: renewer.ResultVerified}
	en, open := e.entries[name]
	if !open || en.rec.Rollout.ID != id {
		return e.outcomeOf(res)
	}
	r := en.rec.Rollout
	res.Generation = r.Generation
	res.Waiting = append(slices.Clone(e.traffic.Waits(name)), en.rec.Waits()...)
	res.Error, res.Hint = r.LastError()
	switch {
	case r.GuardBlocked():
		res.Result = renewer.ResultBlocked
	case res.Error != "" && !r.Unreached():
		res.Result = renewer.ResultFailed
	case len(res.Waiting) > 0:
		res.Result = renewer.ResultWaiting
	}
	return res
}

func (e *Engine) working(r *renewer.Rollout) bool {
	return e.traffic.Working(r.ID)
}

// outcomeOf reads the result of an ended rollout.
func (e *Engine) outcomeOf(res renewer.RolloutResult) renewer.RolloutResult {
	r, ok, err := e.Store.Rollout(res.Rollout)
	if err != nil || !ok {
		res.Result = renewer.ResultFailed
		if err != nil {
			res.Error = err.Error()
		}
		return res
	}
	res.Generation = r.Generation
	res.Error, res.Hint = r.LastError()
	switch {
	case r.Phase == renewer.PhaseSuperseded:
		res.Result = superseded
	case r.Phase != renewer.PhaseDone:
		res.Result = renewer.ResultBlocked
	case len(r.LeftBehind()) > 0:
		res.Result, res.Waiting = renewer.ResultWaiting, r.LeftBehind()
	case res.Error != "":
		res.Result = renewer.ResultFailed // in place, but nothing runs that could prove it
	}
	return res
}

// superseded is the result of a rollout whose place another one took: it
// is not reported.
const superseded renewer.Result = "superseded"

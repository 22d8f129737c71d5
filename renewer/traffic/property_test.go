package traffic

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"renewer/renewer"

	"pgregory.net/rapid"
)

// What holds of every rollout, whatever fails: it comes to an end or waits for
// a time, it keeps to canary and max_parallel, a host that failed is back on
// what it had, and the current generation changes only when all hosts have it.
func TestRolloutProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range 400 {
			if !w.step(t) {
				break
			}
		}
		w.checkEnd(t)
	})
}

// world is a few certificates whose placements may share services.
type world struct {
	t       fataler
	entries []*worldEntry
	busy    map[renewer.Action]bool
	now     time.Time
}

type worldEntry struct {
	c      renewer.Certificate
	rec    renewer.Record
	before renewer.Record
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, busy: map[renewer.Action]bool{}, now: t0}
	hosts := []string{"a", "b", "c", "d"}
	for i := range rapid.IntRange(1, 3).Draw(t, "certificates") {
		n := rapid.IntRange(1, len(hosts)).Draw(t, "hosts")
		c := entry(fmt.Sprintf("cert%d", i), hosts[:n]...)
		c.Pace = renewer.Pace{Canary: rapid.IntRange(0, 2).Draw(t, "canary"), MaxParallel: rapid.IntRange(1, 3).Draw(t, "parallel")}
		if rapid.Bool().Draw(t, "windowed") {
			c.Window, c.Pace.Pause = "even", 5*time.Second
		}
		for j := range c.Placements {
			if rapid.Bool().Draw(t, "shared") {
				c.Placements[j].Activate.Units = []string{"shared"}
			}
		}
		e := &worldEntry{c: c, rec: inPlace(c, 1)}
		e.before = e.rec.Clone()
		begin(&e.rec, renewer.Issue(c, renewer.Reason{Code: renewer.ReasonRequested, Text: "a test"}))
		w.entries = append(w.entries, e)
	}
	return w
}

func (w *world) decide() Turn {
	var list []refEntry
	for _, e := range w.entries {
		list = append(list, refEntry{Entry{Certificate: e.c, Rollout: e.rec.Rollout, Conditions: w.conditions(), Size: len(w.family(e))}, w.ended(e)})
	}
	list = slices.DeleteFunc(list, func(e refEntry) bool { return e.Size > 1 && e.Rollout.Phase.Over() }) // as the engine has it
	return decide(w.t, list, func(a renewer.Action) bool { return w.busy[a] })
}

// conditions has a window that is open in every other minute.
func (w *world) conditions() renewer.Conditions {
	next := w.now.Truncate(2 * time.Minute).Add(2 * time.Minute)
	return renewer.Conditions{Now: w.now, WindowOpen: next.Sub(w.now) > time.Minute, WindowNext: next}
}

// checkWaiting: what does nothing now, though it is not over, says why.
func (w *world) checkWaiting(t *rapid.T, turn Turn) {
	for _, e := range w.entries {
		name := e.c.Name
		if e.rec.Rollout.Phase.Over() {
			continue
		}
		if len(turn.Waiting[name]) == 0 && !turn.Moving[name] {
			t.Fatalf("%s does nothing and does not say why: %+v", name, e.rec.Rollout)
		}
		for _, one := range turn.Waiting[name] {
			if one.Kind == "" || one.Text == "" || !one.Until.IsZero() && !one.Until.After(w.now) {
				t.Fatalf("%s waits for %+v at %s", name, one, w.now)
			}
		}
		for _, s := range e.rec.Rollout.Steps {
			_, told := turn.Waiting[name].On(s)
			if acts := e.rec.Rollout.Phase == renewer.PhaseOrdering || slices.ContainsFunc(e.rec.Rollout.Next(e.c, w.conditions()).Actions, func(a renewer.Action) bool { return a.Host == s.Host }); !s.State.Over() && !told && !acts {
				t.Fatalf("nothing is done on %s for %s (%s), and nothing says why: %+v", s.Host, name, s.State, turn.Waiting[name])
			}
		}
	}
}

// family returns the certificates of an entry.
func (w *world) family(of *worldEntry) (out []*worldEntry) {
	for _, e := range w.entries {
		if e.c.Entry == of.c.Entry {
			out = append(out, e)
		}
	}
	return out
}

func (w *world) ended(of *worldEntry) (out []Ended) {
	for _, e := range w.family(of) {
		if r := e.rec.Rollout; r.Phase.Over() {
			out = append(out, Ended{Certificate: e.c.Name, Phase: r.Phase, At: r.EndedAt, Why: r.Error})
		}
	}
	return out
}

// step starts what can be started and lets one thing under way end, or time
// pass; false when nothing is left to do.
func (w *world) step(t *rapid.T) bool {
	turn := w.decide()
	w.checkWaiting(t, turn)
	tasks, wake := turn.Tasks, turn.Wake
	for _, task := range tasks {
		w.checkStart(t, task)
		for _, a := range task {
			w.busy[a] = true
			for _, e := range w.entries {
				if e.c.Name == a.Certificate {
					apply(e.c, &e.rec, w.now, renewer.Begun{Action: a})
				}
			}
		}
	}
	w.checkPace(t)
	if len(w.busy) == 0 {
		if wake.IsZero() {
			return false
		}
		w.now = wake
		return true
	}
	var names []renewer.Action
	for a := range w.busy {
		names = append(names, a)
	}
	// map order is random; pick by name so that a failing case can be repeated
	pick := names[0]
	for _, a := range names {
		if compareActions(a, pick) < 0 || compareActions(a, pick) == 0 && a.Kind < pick.Kind {
			pick = a
		}
	}
	delete(w.busy, pick)
	for _, e := range w.entries {
		if e.c.Name == pick.Certificate {
			e.apply(t, w.outcome(t, e, pick))
		}
	}
	w.now = w.now.Add(time.Second)
	return true
}

func (w *world) outcome(t *rapid.T, e *worldEntry, a renewer.Action) renewer.Outcome {
	o := renewer.Outcome{Action: a, At: w.now, Revision: "r2", Previous: e.rec.Placements[a.Host].Revision}
	if a.Kind == renewer.ActOrder {
		o.Generation = generation(e.c, e.rec.Latest+1, w.now)
	}
	switch rapid.IntRange(0, 9).Draw(t, "luck") {
	case 0:
		o = renewer.Outcome{Action: a, At: w.now, Err: errProbe}
	case 1:
		o = renewer.Outcome{Action: a, At: w.now, Err: errors.New("no route to host"), End: renewer.EndLost}
	}
	return o
}

func (e *worldEntry) apply(t *rapid.T, o renewer.Outcome) {
	late := e.rec.Rollout.Phase.Over() && o.Kind == renewer.ActStage // written beside what is live: of no consequence
	events := apply(e.c, &e.rec, o.At, o)
	if len(events) == 0 && !late {
		t.Fatalf("%+v was taken without an event", o)
	}
	again := e.rec.Clone()
	if o.Kind != renewer.ActRestore && o.Err == nil { // what comes twice is ignored
		if ev := apply(e.c, &again, o.At, o); len(ev) != 0 || !reflect.DeepEqual(again, e.rec) {
			t.Fatalf("%+v was taken twice", o)
		}
	}
}

// checkStart: a service is not touched while a placement of it is being proven.
func (w *world) checkStart(t *rapid.T, task Task) {
	for _, a := range task {
		if a.Kind != renewer.ActActivate && a.Kind != renewer.ActRestore {
			continue
		}
		for _, e := range w.entries {
			for _, s := range e.rec.Rollout.Steps {
				p, _ := e.c.Placement(s.Host)
				mine := w.placement(a)
				proving := (s.State == renewer.StepActivated || s.State == renewer.StepRestored) && !s.NextAt.After(w.now)
				if s.Host == a.Host && p.Activate.Key() == mine.Activate.Key() && proving {
					t.Fatalf("%v while %s on %s is being proven", a, e.c.Name, s.Host)
				}
			}
		}
	}
}

func (w *world) placement(a renewer.Action) renewer.Placement {
	for _, e := range w.entries {
		if e.c.Name == a.Certificate {
			p, _ := e.c.Placement(a.Host)
			return p
		}
	}
	return renewer.Placement{}
}

func (w *world) checkPace(t *rapid.T) {
	for _, e := range w.entries {
		live, verified := 0, 0
		for _, s := range e.rec.Rollout.Steps {
			if s.State.Live() {
				live++
			}
			if s.State == renewer.StepVerified {
				verified++
			}
		}
		limit := e.c.Pace.MaxParallel
		if canary := min(e.c.Pace.Canary, len(e.c.Placements)); verified < canary {
			limit = max(canary, limit) // hosts that were under way when a canary's proof was pending
		}
		if live > limit {
			t.Fatalf("%s has %d hosts under way, limit %d", e.c.Name, live, limit)
		}
	}
}

func (w *world) checkEnd(t *rapid.T) {
	for _, e := range w.entries {
		r := e.rec.Rollout
		if !r.Phase.Over() {
			t.Fatalf("%s did not come to an end: %+v", e.c.Name, r)
		}
		all := true
		for _, s := range r.Steps {
			p := e.rec.Placements[s.Host]
			all = all && s.State.InPlace()
			switch {
			case s.State == renewer.StepRolledBack && (p.Revision != "r1" || p.Generation != 1 || !p.Matches):
				t.Fatalf("%s was rolled back to %+v", s.Host, p)
			case s.State == renewer.StepVerified && (p.Revision != "r2" || p.State != renewer.HostVerified):
				t.Fatalf("%s is verified with %+v", s.Host, p)
			case s.State == renewer.StepPending && !reflect.DeepEqual(p, e.before.Placements[s.Host]):
				t.Fatalf("%s was never touched, but is %+v", s.Host, p)
			case s.State.Live():
				t.Fatalf("%s is left between two generations", s.Host)
			}
		}
		if want := map[bool]int{true: 2, false: 1}[all && r.Phase == renewer.PhaseDone]; e.rec.Current != want {
			t.Fatalf("current is %d, want %d", e.rec.Current, want)
		}
	}
}

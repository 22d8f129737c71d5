package engine

import (
	"cmp"
	"context"
	"slices"
	"time"

	"renewer/renewer"
)

// conditions lists the rollouts under way, in the order of the fleet file,
// with what they wait for.
func (e *Engine) conditions(now time.Time) []renewer.Entry {
	out := make([]renewer.Entry, 0, len(e.entries))
	for _, en := range e.entries {
		out = append(out, e.underWay(en, now))
	}
	return e.inOrder(out)
}

func (e *Engine) inOrder(entries []renewer.Entry) []renewer.Entry {
	slices.SortFunc(entries, func(a, b renewer.Entry) int {
		return cmp.Or(cmp.Compare(e.fleet.byName[a.Certificate.Name], e.fleet.byName[b.Certificate.Name]), cmp.Compare(a.Certificate.Name, b.Certificate.Name))
	})
	return entries
}

// underWay is an entry with a rollout as Decide looks at it.
func (e *Engine) underWay(en *entry, now time.Time) renewer.Entry {
	family := e.fleet.byEntry[en.cert.Entry]
	return renewer.Entry{
		Certificate: en.cert, Rollout: en.rec.Rollout, Conditions: e.condition(en, now), Family: e.family(en.cert.Entry, family), Size: len(family),
		Gate: e.gate(en),
	}
}

// family returns how the last rollouts of an entry's certificates ended. It is
// read once; after that, ends are noted as they are recorded.
func (e *Engine) family(entry string, names []string) []renewer.Ended {
	if len(names) <= 1 {
		return nil
	}
	known, ok := e.families[entry]
	if !ok {
		known = map[string]renewer.Ended{}
		for _, name := range names {
			if end, ok, err := e.lastEnd(name); err != nil {
				e.Log.Error("read how the last rollout ended", "certificate", name, "error", err)
			} else if ok {
				known[name] = end
			}
		}
		e.families[entry] = known
	}
	out := make([]renewer.Ended, 0, len(known))
	for _, end := range known {
		out = append(out, end)
	}
	return out
}

func (e *Engine) lastEnd(name string) (renewer.Ended, bool, error) {
	rec, ok, err := e.Store.Record(name)
	if err != nil || !ok || rec.Rollouts == 0 {
		return renewer.Ended{}, false, err
	}
	n := rec.Rollouts
	if rec.Rollout != nil && !rec.Rollout.Phase.Over() {
		n--
	}
	r, ok, err := e.Store.Rollout(renewer.RolloutID(name, n))
	if err != nil || !ok {
		return renewer.Ended{}, false, err
	}
	return endOf(&r), true, nil
}

func endOf(r *renewer.Rollout) renewer.Ended {
	why, _ := r.Trouble()
	return renewer.Ended{Certificate: r.Certificate, Phase: r.Phase, At: r.EndedAt, Why: why}
}

// noteEnd keeps what is known of families up to date.
func (e *Engine) noteEnd(r *renewer.Rollout) {
	c, ok := e.fleet.Certificate(r.Certificate)
	if !ok {
		return
	}
	if known, ok := e.families[c.Entry]; ok {
		known[r.Certificate] = endOf(r)
	}
}

// moving reports whether something is done, or could be, for a certificate; as
// of the last decision.
func (e *Engine) moving(name string) bool {
	en, open := e.entries[name]
	return open && (e.turn.Moving[name] || e.working(en.rec.Rollout))
}

// Plan says what a run would do now, and changes nothing.
func (e *Engine) Plan(ctx context.Context) (steps []renewer.PlanStep, err error) {
	failed := e.do(ctx, func() {
		var waiting map[string]renewer.Waits
		if waiting, err = e.waiting(); err != nil {
			return
		}
		for _, c := range e.fleet.Certificates {
			var en *entry
			if en, _, err = e.load(c.Name, c); err != nil {
				return
			}
			steps = append(steps, renewer.PlanSteps(c, e.observed(en), e.condition(en, e.Now()), waiting[c.Name])...)
		}
	})
	return steps, cmp.Or(failed, err)
}

// waitsOf says what one rollout waits for: as of the last turn or, where that
// did not have it, by itself.
func (e *Engine) waitsOf(en *entry, now time.Time) renewer.Waits {
	name := en.cert.Name
	if waits, ok := e.turn.Waiting[name]; ok || !en.open() {
		return waits
	}
	return renewer.Decide([]renewer.Entry{e.underWay(en, now)}, idle).Waiting[name]
}

func idle(renewer.Action) bool { return false }

// Waiting says what every rollout under way waits for, by certificate: as of
// the last turn of the loop or, where that does not go on by itself, as a run
// would find it now. The map is not to be changed.
func (e *Engine) Waiting(ctx context.Context) (waiting map[string]renewer.Waits, err error) {
	failed := e.do(ctx, func() { waiting, err = e.waiting() })
	return waiting, cmp.Or(failed, err)
}

func (e *Engine) waiting() (map[string]renewer.Waits, error) {
	if e.onItsOwn {
		return e.turn.Waiting, nil
	}
	names, err := e.Store.Open()
	if err != nil {
		return nil, err
	}
	under := make([]renewer.Entry, 0, len(names))
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			continue
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return nil, err
		}
		if en.open() {
			under = append(under, e.underWay(en, e.Now()))
		}
	}
	return renewer.Decide(e.inOrder(under), idle).Waiting, nil
}

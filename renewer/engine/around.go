package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/traffic"
)

// keep takes in that a rollout is under way, or what has changed of it.
func (e *Engine) keep(en *entry) {
	name, now := en.cert.Name, e.Now()
	e.entries[name] = en
	out := e.underWay(en, now)
	e.traffic.Put(out)
	if _, has := e.fleet.Windows[en.cert.Window]; has {
		w := e.windows[en.cert.Window]
		if w == nil {
			w = &window{open: out.Conditions.WindowOpen, next: out.Conditions.WindowNext, certificates: map[string]bool{}}
			e.windows[en.cert.Window] = w
		}
		w.certificates[name] = true
	}
	family := e.fleet.byEntry[en.cert.Entry]
	if len(family) > 1 && en.rec.Rollout.StartedAt.Before(e.since) && !e.traffic.Knows(en.cert.Entry) {
		e.traffic.Learn(en.cert.Entry, e.ends(family))
	}
}

// drop forgets an ended rollout.
func (e *Engine) drop(name string) {
	if en, open := e.entries[name]; open {
		if w := e.windows[en.cert.Window]; w != nil {
			delete(w.certificates, name)
		}
	}
	delete(e.entries, name)
	e.traffic.Remove(name)
}

// keepAll takes in a changed fleet file.
func (e *Engine) keepAll() {
	e.since = e.Now()
	clear(e.windows)
	clear(e.gated)
	for _, en := range e.entries {
		e.keep(en)
	}
}

// gatedBy notes whom a certificate waits for at its gate: it is asked again
// when that one has changed.
func (e *Engine) gatedBy(verifier, certificate string) {
	if e.gated[verifier] == nil {
		e.gated[verifier] = map[string]bool{}
	}
	e.gated[verifier][certificate] = true
}

// regated asks the gates again that wait for a certificate.
func (e *Engine) regated(verifier string) {
	names := e.gated[verifier]
	delete(e.gated, verifier)
	e.recheck(slices.Collect(maps.Keys(names))...)
}

// recheck takes in that something has changed that certificates wait for: see
// gate.
func (e *Engine) recheck(names ...string) {
	for _, name := range names {
		if en, open := e.entries[name]; open {
			e.traffic.Put(e.underWay(en, e.Now()))
		}
	}
}

// passing takes in what has changed by time alone.
func (e *Engine) passing(now time.Time) {
	e.recheck(e.traffic.Due(now)...)
	if now.Sub(e.gatesAt).Abs() >= wakeAtLeast { // a leaf or a root may have expired
		e.gatesAt = now
		for verifier := range e.gated {
			e.regated(verifier)
		}
	}
	for name, w := range e.windows {
		if len(w.certificates) == 0 {
			delete(e.windows, name)
		} else if open, next := e.fleet.Windows[name].At(now); open != w.open || next.Before(w.next) { // a later one is seen when the known one has come
			w.open, w.next = open, next
			e.recheck(slices.Collect(maps.Keys(w.certificates))...)
		}
	}
}

// window is a maintenance window as of the last turn, with the certificates
// under way that keep to it.
type window struct {
	open         bool
	next         time.Time
	certificates map[string]bool
}

// underWay is an entry with a rollout as decisions look at it.
func (e *Engine) underWay(en *entry, now time.Time) traffic.Entry {
	family := e.fleet.byEntry[en.cert.Entry]
	out := traffic.Entry{
		Certificate: en.cert, Rollout: en.rec.Rollout, Conditions: e.condition(en, now),
		Order: e.fleet.byName[en.cert.Name], Size: len(family), Gate: e.gate(en),
	}
	if len(family) > 0 { // one that left the entry keeps to its pace all the same
		first, _ := e.fleet.Certificate(family[0])
		out.Certificate.Pace = first.Pace
	}
	return out
}

// ends reads the results of the last rollouts of certificates.
func (e *Engine) ends(names []string) (ends []traffic.Ended) {
	for _, name := range names {
		if end, ok, err := e.lastEnd(name); err != nil {
			e.Log.Error("could not read how the last rollout ended", "certificate", name, "error", err)
		} else if ok {
			ends = append(ends, end)
		}
	}
	return ends
}

func (e *Engine) lastEnd(name string) (traffic.Ended, bool, error) {
	rec, ok, err := e.Store.Record(name)
	if err != nil || !ok || rec.Rollouts == 0 {
		return traffic.Ended{}, false, err
	}
	n := rec.Rollouts
	if rec.Rollout != nil && !rec.Rollout.Phase.Over() {
		n--
	}
	r, ok, err := e.Store.Rollout(renewer.RolloutID(name, n))
	if err != nil || !ok {
		return traffic.Ended{}, false, err
	}
	return endOf(&r), true, nil
}

func endOf(r *renewer.Rollout) traffic.Ended {
	why, _ := r.LastError()
	return traffic.Ended{Certificate: r.Certificate, Phase: r.Phase, At: r.EndedAt, Why: why}
}

// moving reports whether something is done, or could be, for a certificate; as
// of the last decision.
func (e *Engine) moving(name string) bool {
	en, open := e.entries[name]
	return open && (e.traffic.Moving(name) || e.working(en.rec.Rollout))
}

// Plan says what a run would do now, and changes nothing.
func (e *Engine) Plan(ctx context.Context) (steps []renewer.PlanStep, err error) {
	err = e.try(ctx, func() error {
		waiting, err := e.waiting()
		if err != nil {
			return err
		}
		occupied := e.fleet.directories()
		for _, c := range e.fleet.Certificates {
			if from := e.awaited[c.Name]; from != "" {
				steps = append(steps, renewer.PlanStep{Certificate: c.Name, Action: "wait", Reason: "renamed from " + from + ", whose rollout ends first"})
				continue
			}
			en, _, err := e.load(c.Name, c)
			if err != nil {
				return err
			}
			if h, is := e.heirs[c.Name]; is {
				steps = append(steps, renewer.PlanStep{
					Certificate: c.Name, Action: "move", Reason: "renamed from " + h.from + "; its generations and files are taken over",
					Changes: []renewer.Difference{{Field: "name", Before: h.from, After: c.Name}},
				})
			}
			steps = append(steps, e.leavesHosts(en)...)
			o := e.observed(en)
			o.Refusers, o.RootName = func() []string { return e.refusers(en) }, e.roots.name
			o.Occupied = func(host, dir string) bool { return occupied[[2]string{host, dir}] }
			steps = append(steps, renewer.PlanSteps(c, o, e.condition(en, e.Now()), waiting[c.Name])...)
		}
		forgets, err := e.forgetSteps()
		steps = append(steps, forgets...)
		return err
	})
	return steps, err
}

// waitsOf says what one rollout waits for: as of the last turn or, where that
// did not have it, by itself.
func (e *Engine) waitsOf(en *entry, now time.Time) renewer.Waits {
	if waits := e.traffic.Waits(en.cert.Name); len(waits) > 0 || !en.open() {
		return waits
	}
	alone := traffic.New()
	alone.Put(e.underWay(en, now))
	alone.Decide(now)
	return alone.Waits(en.cert.Name)
}

// Waiting says what every rollout under way waits for, by certificate: as of
// the last turn of the loop or, where that does not go on by itself, as a run
// would find it now. The map is not to be changed.
func (e *Engine) Waiting(ctx context.Context) (waiting map[string]renewer.Waits, err error) {
	err = e.try(ctx, func() error { waiting, err = e.waiting(); return err })
	return waiting, err
}

func (e *Engine) waiting() (map[string]renewer.Waits, error) {
	if e.onItsOwn {
		return e.traffic.Waiting(), nil
	}
	names, err := e.Store.Open()
	if err != nil {
		return nil, err
	}
	now, all := e.Now(), traffic.New()
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			continue
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return nil, err
		}
		if !en.open() {
			continue
		}
		all.Put(e.underWay(en, now))
		if family := e.fleet.byEntry[c.Entry]; len(family) > 1 && !all.Knows(c.Entry) {
			all.Learn(c.Entry, e.ends(family))
		}
	}
	all.Decide(now)
	return all.Waiting(), nil
}

package engine

import (
	"context"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// pending is a change that waits to be recorded, and what holds once it is.
type pending struct {
	name   string
	change Change
	done   func()
}

// recordAtOnce bounds how many changes one transaction takes.
const recordAtOnce = 256

// consider plans for the named certificates and records what is to be done.
func (e *Engine) consider(names []string) {
	var batch []pending
	flush := func() {
		if err := e.record(batch); err != nil {
			e.Log.Error("record what is planned; trying again", "error", err)
			e.retryAt = e.Now().Add(retryRecording)
			for _, p := range batch {
				e.unplanned[p.name] = true
			}
			e.failWatchers(err)
		}
		batch = batch[:0]
	}
	e.room = maxUnderWay - e.traffic.AtWork()
	e.worked += len(names)
	for _, name := range names {
		delete(e.unplanned, name)
		p, ok, err := e.planOne(name)
		if err != nil {
			e.Log.Error("read the inventory", "certificate", name, "error", err)
			e.retryAt, e.unplanned[name] = e.Now().Add(retryRecording), true
			continue
		}
		if ok {
			batch = append(batch, p)
		}
		if len(batch) >= recordAtOnce {
			flush()
		}
	}
	flush()
}

// record commits changes and, only then, lets them hold.
func (e *Engine) record(batch []pending) error {
	if len(batch) == 0 {
		return nil
	}
	changes := make([]Change, 0, len(batch))
	for _, p := range batch {
		changes = append(changes, p.change)
	}
	events, err := e.Store.Commit(context.Background(), changes...)
	if err != nil {
		return err
	}
	for _, p := range batch {
		for _, der := range p.change.Roots {
			e.stored[renewer.RootID(der)] = true
		}
		if p.done != nil {
			p.done()
		}
	}
	e.tell(events)
	return nil
}

// load returns what is known of one certificate.
func (e *Engine) load(name string, c renewer.Certificate) (*entry, bool, error) {
	if en, ok := e.entries[name]; ok {
		return en, true, nil
	}
	all, err := e.Store.Recorded([]string{name})
	if err != nil {
		return nil, false, err
	}
	en, err := e.entryOf(c, all[0])
	return en, all[0].Found, err
}

// entryOf returns what is recorded of a certificate.
func (e *Engine) entryOf(c renewer.Certificate, known renewer.Recorded) (en *entry, err error) {
	rec := known.Record
	rec.Name, rec.Entry, rec.Issuer = c.Name, c.Entry, c.Issuer
	e.recognize(&rec, c)
	en = &entry{cert: c, rec: rec, current: known.Current}
	if rec.Rollout != nil {
		if number, ok := rec.Rollout.Delivers(); ok {
			if en.rolling, err = e.generation(c.Name, number); err != nil {
				return nil, err
			}
		}
	}
	return en, nil
}

// generationOf finds the generations of a certificate.
func (e *Engine) generationOf(en *entry) func(int) *renewer.Generation {
	return func(number int) *renewer.Generation {
		for _, g := range []*renewer.Generation{en.current, en.rolling} {
			if g != nil && g.Number == number {
				return g
			}
		}
		g, err := e.generation(en.cert.Name, number)
		if err != nil {
			e.Log.Error("read a generation", "certificate", en.cert.Name, "generation", number, "error", err)
		}
		return g
	}
}

func (e *Engine) generation(name string, number int) (*renewer.Generation, error) {
	g, ok, err := e.Store.Generation(name, number)
	if err != nil || !ok {
		return nil, err
	}
	return &g, nil
}

func (e *Engine) observed(en *entry) renewer.Observed {
	o := renewer.Observed{
		Record: en.rec, Current: en.current, Rolling: en.rolling, Roots: e.wanted(en),
		Trusted:    e.roots.base(append([]string{en.cert.Issuer}, en.cert.Trust...)...),
		RootsFirst: func() bool { return !en.cert.Deadline(en.current).Over(e.Now()) && len(e.refusals(en, nil, 1)) > 0 },
	}
	if en.current != nil {
		o.Under = e.roots.under(en.current)
	}
	return o
}

// planOne plans for one certificate; ok is false if nothing is to be recorded.
func (e *Engine) planOne(name string) (p pending, ok bool, err error) {
	c, wanted := e.fleet.Certificate(name)
	if !wanted {
		return e.letGo(name)
	}
	en, found, err := e.load(name, c)
	if err != nil {
		return pending{}, false, err
	}
	now := e.Now()
	if e.again && !en.open() {
		en = en.clone()
		en.rec.LookAgain(now)
	}
	if en.open() && e.entries[name] == nil {
		e.keep(en) // after a start: go on with it
		e.attend(name, en.rec.Rollout)
	}
	if en.rec.Asked != nil {
		p, ok = e.grant(en, c)
		return p, ok, nil
	}
	e.reprobe(en, now)
	if e.onItsOwn && en.rec.Unseen() {
		return pending{}, false, nil // planned when somebody has looked
	}
	next := en.clone()
	next.cert = c
	p, ok = e.compare(next, found, e.observed(en), now)
	return p, ok, nil
}

// compare plans for a certificate by what is known of it, and changes next to
// what is to be recorded; ok is false if that is nothing.
func (e *Engine) compare(next *entry, found bool, o renewer.Observed, now time.Time) (p pending, ok bool) {
	c, name, nextLook := next.cert, next.cert.Name, next.rec.NextAt
	d := renewer.Plan(c, o, now)
	if r := next.rec.Rollout; (d.Close || d.Adapt != nil) && r != nil && e.working(r) {
		e.stale[name] = true // what is under way ends first, and its outcome is kept
		return pending{}, false
	}
	if next.open() && !d.Close && next.rec.Rollout.Entry != c.Digest() {
		e.stale[name] = true // the rest is compared when no host is between two generations
	}
	left := next.rec.Forget(c, e.generationOf(next), func(host string) bool { return e.fleet.Retired[host] }, now)
	left = e.noteUnwanted(next) || left
	ch := Change{}
	if d.Close {
		ch.Closed, ch.Events = next.close(renewer.PhaseSuperseded, d.Why, now)
	}
	if d.Open != nil && e.room > 0 {
		e.room--
		ch.Events = append(ch.Events, next.start(d.Open, now))
	}
	if ev, ended := next.expire(now); ended {
		ch.Events = append(ch.Events, ev)
	}
	if d.Open == nil || next.rec.Rollout != nil { // else it only waits for room
		if ev, near := next.expiring(e.waitsOf, now); near {
			ch.Events = append(ch.Events, ev)
		}
	}
	if ev, moved := next.reschedule(now); moved {
		ch.Generation, ch.Events = next.current, append(ch.Events, ev)
	}
	next.rec.NextAt = nextAt(next, now)
	if d.Open != nil && next.rec.Rollout == nil {
		next.rec.NextAt = now // no room yet
	}
	if d.Adapt != nil {
		next.rec.Rollout = d.Adapt
		ch.Events = append(ch.Events, next.rec.Finish(now)...)
		e.conclude(next, now, &ch)
		if !next.open() {
			next.rec.NextAt = now // there may be more to do
		}
	}
	if found && len(ch.Events) == 0 && d.Adapt == nil && !left && next.rec.NextAt.Equal(nextLook) {
		return pending{}, false
	}
	return e.put(next, ch), true
}

// put makes the pending change that writes an entry.
func (e *Engine) put(next *entry, ch Change) pending {
	rec, row := next.rec, e.row(next)
	ch.Record, ch.Row = &rec, &row
	return pending{name: next.cert.Name, change: ch, done: func() {
		e.regraph(next.cert.Name, e.nodes(next))
		if next.open() {
			e.keep(next)
			e.attend(next.cert.Name, next.rec.Rollout)
		} else {
			e.drop(next.cert.Name)
		}
		if ch.Closed != nil {
			e.ended(ch.Closed)
		}
	}}
}

// row is what lists show of an entry: the current generation or, before the
// first is proven, the one on its way; for a trust bundle the root that ends
// first.
func (e *Engine) row(en *entry) renewer.Row {
	gen := en.rec.Shown(en.current, en.rolling)
	if en.cert.IsBundle() {
		if roots, ok := e.roots.of(en.cert.Trust...); ok {
			gen = &renewer.Generation{NotAfter: pki.EarliestEnd(roots)}
		}
	}
	return renewer.NewRow(en.cert, en.rec, gen)
}

// letGo takes a certificate that left the fleet file out of every list.
func (e *Engine) letGo(name string) (pending, bool, error) {
	if en, ok := e.entries[name]; ok && (e.canEnd(en) || e.working(en.rec.Rollout)) {
		e.stale[name] = true // that ends first
		return pending{}, false, nil
	}
	rec, found, err := e.Store.Record(name)
	if err != nil || !found {
		return pending{}, false, err
	}
	now := e.Now()
	rec = rec.Clone()
	rec.Departed = e.departures(leaver(rec), rec)
	ch := Change{Record: &rec, Remove: name, Events: []renewer.Event{{
		Time: now, Type: renewer.EventRemoved, Certificate: name, Generation: rec.Current,
		Message: "it is no longer in the fleet file; its files stay where they are",
	}}}
	if rec.Rollout != nil {
		en := entry{cert: leaver(rec), rec: rec}
		closed, evs := en.close(renewer.PhaseSuperseded, "its entry left the fleet file", now)
		ch.Closed, ch.Events = closed, append(evs, ch.Events...)
	}
	return pending{name: name, change: ch, done: func() {
		e.drop(name)
		for w := range e.watchers {
			delete(w.asked, name)
		}
		e.regraph(name, e.left(name, rec.Departed))
		if ch.Closed != nil {
			e.ended(ch.Closed)
		}
	}}, true, nil
}

// canEnd reports whether a host is between two generations that the fleet
// file still knows how to reach and to prove.
func (e *Engine) canEnd(en *entry) bool {
	if _, ok := e.fleet.Issuers[en.cert.Issuer]; !ok && !en.cert.IsBundle() {
		return false
	}
	return slices.ContainsFunc(en.rec.Rollout.Steps, func(s renewer.Step) bool {
		_, ok := e.fleet.Hosts[s.Host]
		return ok && s.State.Live()
	})
}

package engine

import (
	"context"
	"slices"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// pending is a change that waits to be recorded, and what holds once it is.
type pending struct {
	*entry // as it is then; nil for what has no record any more
	name   string
	change Change
	with   []Change // in the same transaction, before it
	done   func()
}

// recordAtOnce bounds how many changes one transaction takes.
const recordAtOnce = 256

// consider plans for the named certificates and records what is to be done.
func (e *Engine) consider(names []string) {
	var batch []pending
	flush := func() {
		if err := e.record(batch); err != nil {
			e.Log.Error("could not record the plan; retrying", "error", err)
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
			e.Log.Error("could not read the inventory", "certificate", name, "error", err)
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

// record commits changes, some at once, and only then lets them hold.
func (e *Engine) record(batch []pending) error {
	for some := range slices.Chunk(batch, recordAtOnce) {
		changes := make([]Change, 0, len(some))
		for _, p := range some {
			changes = append(append(changes, p.with...), p.change)
		}
		events, err := e.Store.Commit(context.Background(), changes...)
		if err != nil {
			return err
		}
		for _, p := range some {
			for _, der := range p.change.Roots {
				e.stored[renewer.RootID(der)] = true
			}
			if p.done != nil {
				p.done()
			}
		}
		e.tell(events)
	}
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
	en, err := e.entryOf(c, &all[0])
	return en, all[0].Found, err
}

// entryOf returns what is recorded of a certificate. What came back is not found: it
// is to be recorded as what it is now.
func (e *Engine) entryOf(c renewer.Certificate, known *renewer.Recorded) (en *entry, err error) {
	rec := known.Record
	if h, is := e.heirs[c.Name]; is {
		known.Found, rec = false, h.rec.Inherit(c, e.Now())
		if known.Current, err = e.generation(c.Name, rec.Current); err != nil {
			return nil, err
		}
	}
	known.Found = !rec.Rejoin(c, e.Now()) && known.Found
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
			e.Log.Error("could not read a generation", "certificate", en.cert.Name, "generation", number, "error", err)
		}
		return g
	}
}

func (e *Engine) generation(name string, number int) (*renewer.Generation, error) {
	from := name
	if h, is := e.heirs[name]; is {
		from = h.from
	}
	g, ok, err := e.Store.Generation(from, number)
	if err != nil || !ok {
		return nil, err
	}
	g.Certificate = name
	return &g, nil
}

func (e *Engine) observed(en *entry) renewer.Observed {
	o := renewer.Observed{
		Record: en.rec, Current: en.current, Rolling: en.rolling, Roots: e.wanted(en),
		Trusted:    e.roots.signing(append([]string{en.cert.Issuer}, en.cert.Trust...)...),
		RootsFirst: func() bool { return !e.deadline(en).Over(e.Now()) && len(e.refusals(en, nil, 1)) > 0 },
	}
	o.Gone, o.SignsSince = e.fleet.gone(), e.fleet.Rotations[en.cert.Issuer].Switched
	o.SignsAnew = e.fleet.Rotations[en.cert.Issuer].Anew
	if en.current != nil {
		o.Under = e.roots.under(en.current)
	}
	return o
}

// planOne plans for one certificate, with what comes before; ok is false if
// nothing is to be recorded.
func (e *Engine) planOne(name string, before ...renewer.Input) (p pending, ok bool, err error) {
	c, wanted := e.fleet.Certificate(name)
	if !wanted {
		if taken, err := e.succeeded(name); taken || err != nil {
			return pending{}, false, err
		}
		return e.letGo(name)
	}
	if e.awaited[name] != "" {
		return pending{}, false, nil
	}
	was, found, err := e.load(name, c)
	if err != nil {
		return pending{}, false, err
	}
	now, en := e.Now(), was
	if en.open() && e.entries[name] == nil {
		e.keep(en) // after a start: go on with it
		e.attend(en)
	}
	if e.again && !en.open() {
		before = append(before, renewer.Retried{})
	}
	if len(before) > 0 {
		state, _ := renewer.Apply(en.state(), now, before...)
		en = entryOf(state)
	}
	e.reprobe(en, now)
	if e.onItsOwn && en.rec.Unseen() && en.rec.Asked == nil {
		return pending{}, false, nil // planned when somebody has looked
	}
	p, ok = e.compare(&entry{c, was.rec, was.current, was.rolling}, found, e.observed(en), before...)
	with, gone, err := e.inherited(name)
	if p.with = with; ok && gone != nil {
		done := p.done
		p.done = func() { delete(e.heirs, name); gone(); done() }
	}
	return p, ok, err
}

// compare plans for a certificate by what is known of it, after what comes before;
// ok is false if nothing is to be recorded.
func (e *Engine) compare(en *entry, found bool, o renewer.Observed, before ...renewer.Input) (p pending, ok bool) {
	c, now, asked := en.cert, e.Now(), o.Record.Asked != nil
	d := renewer.Plan(c, o, now)
	if r := o.Record.Rollout; (d.Close || d.Adapt != nil) && r != nil && e.working(r) {
		e.stale[c.Name] = true // what is under way ends first, and its outcome is kept
		return e.apply(en, before...)
	}
	if en.open() && !d.Close && (asked && !d.Hurry || en.rec.Rollout.Entry != c.Digest()) {
		e.stale[c.Name] = true // the rest is compared when no host is between two generations
	}
	if d.Open != nil {
		e.room--
	}
	p, ok = e.apply(en, append(before, renewer.Planned{
		Decision: d, New: !found, From: e.heirs[c.Name].from, Room: e.room >= 0, Base: e.roots.base(c.Trust...), Generation: e.generationOf(en), Retired: e.retired,
		Waits: func(s renewer.State) renewer.Waits { return e.waitsOf(entryOf(s), now) },
	})...)
	if p.rec.Asked != nil && !p.open() && !e.onItsOwn { // else it is in the due index
		e.asked = append(e.asked, c.Name)
	}
	return p, ok
}

func (e *Engine) retired(host string) bool { return e.fleet.Retired[host] }

// apply takes inputs into an entry, and makes the pending change that writes it.
// changed is false if that says nothing new.
func (e *Engine) apply(en *entry, in ...renewer.Input) (p pending, changed bool) {
	state, ch := renewer.Apply(en.state(), e.Now(), in...)
	next := entryOf(state)
	if changed = ch.Record != nil; changed && ch.Remove == "" {
		row := e.row(next)
		ch.Row = &row
	}
	ch.Roots = e.unstored(ch.Roots)
	return pending{entry: next, name: next.cert.Name, change: ch, done: func() { e.holds(next, ch) }}, changed
}

// holds takes in an entry that is recorded.
func (e *Engine) holds(next *entry, ch Change) {
	name := next.cert.Name
	e.regraph(name, e.nodes(next))
	if next.open() {
		e.keep(next)
		e.attend(next)
	} else {
		e.drop(name)
	}
	if ch.Remove != "" {
		for w := range e.watchers {
			delete(w.asked, name)
		}
	}
	if ch.Closed != nil {
		e.ended(ch.Closed)
	}
}

// row is what lists show of an entry: the current generation or, before the
// first is proven, the one on its way; for a trust bundle the root that expires
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
	if e.busy(name) {
		e.stale[name] = true // that ends first
		return pending{}, false, nil
	}
	rec, found, err := e.Store.Record(name)
	if err != nil || !found {
		return pending{}, false, err
	}
	gone := &entry{cert: renewer.Certificate{Name: name, Entry: rec.Entry, Issuer: rec.Issuer}, rec: rec}
	p, _ := e.apply(gone, renewer.Removed{Generation: e.generationOf(gone), Retired: e.retired})
	return p, true, nil
}

// busy reports whether something is done for a certificate, or has to be ended.
func (e *Engine) busy(name string) bool {
	en, open := e.entries[name]
	return open && (e.canEnd(en) || e.working(en.rec.Rollout))
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

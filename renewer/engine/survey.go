package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// surveyors is how many placements are looked at at once.
const surveyors = 8

// target is one placement to look at, with all that it takes.
type target struct {
	cert      renewer.Certificate
	placement renewer.Placement
	state     renewer.PlacementState
	gen       *renewer.Generation
	expect    renewer.Expected
	keep      bool           // a directory that no renewer keeps yet is marked
	bare      bool           // nothing was ever placed there, and nothing is
	found     *renewer.Found // what a restored inventory does not know; nil where it is as it says
}

// Seen is what a look at one placement gave.
type Seen struct {
	target
	renewer.Look
	moving bool // a rollout was at work on it: what was seen is out of date by now, or will be
}

// Placement returns what was looked at.
func (s Seen) Placement() renewer.Placement { return s.placement }

// Generation returns what should be there; nil if nothing was ever placed.
func (s Seen) Generation() *renewer.Generation { return s.gen }

// PlacedAt is when what lies there was put there; zero if this inventory did not.
func (s Seen) PlacedAt() time.Time { return s.state.PlacedAt }

// Placed reports whether the inventory knows what lies there.
func (s Seen) Placed() bool { return s.state.Revision != "" }

// Survey looks at every placement of the named certificates (all if none) that
// is not on its way, records what it saw, and plans what has to be fixed.
func (e *Engine) Survey(ctx context.Context, names []string) error {
	_, err := e.Looks(ctx, names)
	return err
}

// While a rollout is at work on a placement Verify looks again, for a while.
const (
	verifyAgain = time.Second
	verifyMost  = 5
)

// Verify is Survey with what was found. A placement that a rollout is at work on is
// not called right, whatever was seen.
func (e *Engine) Verify(ctx context.Context, names []string) ([]renewer.Verification, error) {
	var out []renewer.Verification
	for n := 0; ; n++ {
		seen, err := e.Looks(ctx, names)
		if err != nil {
			return nil, err
		}
		var again []string
		for _, f := range seen {
			v := f.verification()
			if n == 0 {
				out = append(out, v)
			} else if i := slices.IndexFunc(out, func(o renewer.Verification) bool { return o.Certificate == v.Certificate && o.Host == v.Host }); i >= 0 {
				out[i] = v
			}
			if f.moving {
				again = append(again, v.Certificate)
			}
		}
		if names = slices.Compact(again); len(names) == 0 || n == verifyMost {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(verifyAgain):
		}
	}
}

// Looks is Survey with all that was seen.
func (e *Engine) Looks(ctx context.Context, names []string) ([]Seen, error) {
	var targets []target
	var fleet Fleet
	err := e.try(ctx, func() (err error) {
		if len(names) == 0 {
			for _, c := range e.fleet.Certificates {
				names = append(names, c.Name)
			}
			e.lastProbe = e.Now()
		}
		fleet = e.fleet
		targets, err = e.targets(names)
		return err
	})
	if err != nil {
		return nil, err
	}
	roots, _ := e.sources()
	roots.refresh(ctx, fleet.Issuers)
	return e.survey(ctx, fleet, targets)
}

func (e *Engine) survey(ctx context.Context, fleet Fleet, targets []target) ([]Seen, error) {
	roots, creds := e.sources()
	results := make([]Seen, len(targets))
	var g errgroup.Group
	g.SetLimit(surveyors)
	for i, t := range targets {
		g.Go(func() error {
			results[i].target, results[i].Look = e.lookAt(ctx, t, &fleet, roots, creds)
			return nil
		})
	}
	_ = g.Wait() // the looks carry their errors
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return results, e.try(ctx, func() error {
		defer e.rootsMoved()
		return e.observe(results)
	})
}

// targets lists the placements of certificates that can be looked at.
func (e *Engine) targets(names []string) ([]target, error) {
	var out []target
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			return nil, fmt.Errorf("certificate %s is not in the fleet file", name)
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return nil, err
		}
		for _, p := range c.Placements {
			st := en.rec.Placements[p.Host]
			if !st.Undiscovered() && st.MovedTo(p.Dir) {
				p.Dir = st.Dirs[0] // until it is moved
			}
			if len(st.Names) > 0 {
				p.Certificate = st.Names[0] // until it is placed under its new name
			}
			t := target{cert: c, placement: p, state: st, keep: e.onItsOwn}
			t.expect = renewer.Expected{Roots: st.Roots, Digest: st.Digest, Origin: st.Origin}
			if !st.Roots.Known() {
				t.expect.AtLeast = e.wanted(en)(p.Host)
			}
			if st.Origin != renewer.OriginForeign {
				if t.gen, err = e.generation(name, st.Generation); err != nil {
					return nil, err
				}
			}
			if t.gen != nil {
				t.expect.Leaf = t.gen.Fingerprint
			}
			out = append(out, t)
		}
	}
	return out, nil
}

// lookAt looks at one placement once.
func (e *Engine) lookAt(ctx context.Context, t target, fleet *Fleet, roots *rootCache, creds *credentials) (_ target, l renewer.Look) {
	timeout := t.placement.Probe.Timeout
	if timeout <= 0 {
		timeout = defaultProbeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			l.Err = fmt.Errorf("internal error in the probe: %v", p)
		}
		l.Err, l.At = renewer.Local(l.Err), e.Now()
	}()
	if t.state.Revision == "" {
		t.bare = t.nothingThere(ctx, fleet)
		l.Err = fmt.Errorf("%s was never placed on %s", t.cert.Name, t.placement.Host)
		return t, l
	}
	if t.state.Undiscovered() {
		if l.Err = e.discover(ctx, &t, fleet, roots); l.Err != nil {
			return t, l
		}
	}
	v := sight{cert: t.cert, placement: t.placement, gen: t.gen, expect: t.expect, accepts: t.state.Roots, fleet: fleet, roots: roots, creds: creds}
	if t.state.Loaded != nil {
		v.accepts = t.state.Loaded.Roots
	}
	req, err := e.probeRequest(ctx, v)
	if err = withoutClient(&req, err); err != nil {
		l.Err = err
		return t, l
	}
	l.Kind = t.placement.Probe.Kind
	l.Seen, l.Err = e.Prober.Probe(ctx, req)
	var looked *renewer.ProbeError
	if l.Differs = l.Kind != renewer.ProbeNone && errors.As(l.Err, &looked) && len(t.expect.Differs(t.placement, l.Seen.Disk)) > 0; l.Differs {
		l.Content = t.expect.Content(t.placement, l.Seen.Disk)
		l.Under = pki.Under(l.Seen.Disk.Chain, roots.all())
		roots.learn(l.Seen.Disk.Roots...)
	}
	if t.keep && l.Err == nil && l.Seen.Disk.Unmarked { // of a version before
		if err := req.Host.(Host).Keep(ctx, t.placement); err != nil {
			e.Log.Warn("could not write the ownership mark of a directory", "certificate", t.cert.Name, "host", t.placement.Host, "error", err)
		}
	}
	if l.Err = t.asked(ctx, req.Host.(Host), l); l.Err == nil && t.state.Origin == renewer.OriginForeign {
		l.Err = &renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: errors.New("the files in place are not what renewer wrote")}
	}
	if l.Err == nil && t.gen != nil && !e.Now().Before(t.gen.NotAfter) { // no one checks it who only reads files
		l.Err = &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: fmt.Errorf("%s expired at %s", t.cert.Name, t.gen.NotAfter.Format(time.RFC3339))}
	}
	return t, l
}

// nothingThere reports whether a look at a placement where nothing was placed yet finds
// nothing, whatever keeps its first certificate from it: what is not there accepts no
// peer, and none waits for it.
func (t target) nothingThere(ctx context.Context, fleet *Fleet) bool {
	host, ok := fleet.Hosts[t.placement.Host]
	if !ok || t.state.Origin == renewer.OriginForeign {
		return false
	}
	disk, err := host.Inspect(ctx, t.placement)
	return bare(disk, err)
}

// asked asks the host whether the service runs, where that decides what was seen:
// something else answers although the files are right, or files are all that was
// looked at since they were placed, which proves no activation.
func (t target) asked(ctx context.Context, host Host, l renewer.Look) error {
	elsewhere := renewer.ProbeErrorKindOf(l.Err) == renewer.ProbeMismatch && l.Kind.Served() && !l.Differs
	if !elsewhere && (l.Err != nil || !t.state.Unactivated || l.Kind.Served()) {
		return l.Err
	}
	stopped, err := host.Running(ctx, t.placement.Activate)
	switch {
	case stopped != "":
		return renewer.Stopped(t.cert.Name, stopped, l.Err)
	case l.Err == nil:
		return err
	}
	return l.Err
}

// observe records what was seen. Hosts between two generations are left to
// their rollout; one that waits there, for days maybe, is watched as ever.
func (e *Engine) observe(results []Seen) error {
	inputs := map[string][]renewer.Input{}
	entries := map[string]*entry{}
	var order []string
	for i, f := range results {
		name := f.cert.Name
		delete(e.surveying, name)
		c, wanted := e.fleet.Certificate(name)
		if f.state.Revision == "" && !f.bare || !wanted {
			continue
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return err
		}
		st := en.rec.Placements[f.placement.Host]
		if f.bare && (st.Placed() || st.Origin != renewer.OriginUnknown) {
			continue
		}
		news := !st.ProbedAt.Equal(f.state.ProbedAt) || st.Revision != f.state.Revision
		if en.open() && en.rec.Rollout.InHand(f.placement.Host) || news {
			if results[i].moving = e.traffic.WorkingOn(name, f.placement.Host) || news; results[i].moving {
				results[i].Err = nil
			}
			continue
		}
		if entries[name] == nil {
			entries[name], order = en, append(order, name)
		}
		if f.bare {
			inputs[name] = append(inputs[name], renewer.Bare{Host: f.placement.Host})
			continue
		}
		inputs[name] = append(inputs[name], renewer.Looked{Host: f.placement.Host, Look: f.Look, Found: f.found})
	}
	var batch []pending
	for _, name := range order {
		p := e.looked(entries[name], inputs[name])
		if e.entries[name] == nil && p.open() {
			p.done = nil // a look goes on with nothing that was left under way
		}
		batch = append(batch, p)
	}
	if err := e.record(batch); err != nil {
		return fmt.Errorf("record what was seen: %w", err)
	}
	if e.onItsOwn {
		e.consider(order)
		e.endReplaced(order)
	}
	return nil
}

// looked takes looks in. A change has one generation, so each that was found has a
// change of its own: the oldest first, so that the newest is current, and one that
// several hosts have is one number.
func (e *Engine) looked(en *entry, looks []renewer.Input) (p pending) {
	slices.SortStableFunc(looks, func(a, b renewer.Input) int {
		x, y := foundBy(a), foundBy(b)
		return cmp.Or(x.NotBefore.Compare(y.NotBefore), cmp.Compare(x.Fingerprint, y.Fingerprint))
	})
	var with []Change
	for len(looks) > 0 {
		n := 1
		for n < len(looks) && foundBy(looks[n]).Fingerprint == "" {
			n++
		}
		next, _ := e.apply(en, looks[:n]...)
		if looks = looks[n:]; len(looks) > 0 && (next.change.Record != nil || len(next.change.Events) > 0) {
			with = append(with, next.change)
		}
		en, p = next.entry, next
	}
	p.with = with
	return p
}

// foundBy is the generation that a look found and the inventory does not know; the
// zero one for none.
func foundBy(in renewer.Input) (none renewer.Generation) {
	if l, ok := in.(renewer.Looked); ok && l.Found != nil && l.Found.Fresh && l.Found.Generation != nil {
		return *l.Found.Generation
	}
	return none
}

func (s Seen) verification() renewer.Verification {
	v := renewer.Verification{
		Certificate: s.cert.Name, Host: s.placement.Host, OK: s.Err == nil, Generation: s.state.Generation,
		OnDisk: s.Seen.Disk.Leaf, Served: s.Seen.Served, Problems: []string{}, NotChecked: s.Seen.NotChecked, At: s.At,
	}
	if s.gen != nil {
		v.Expected = s.gen.Fingerprint
	}
	switch {
	case s.moving:
		v.OK, v.Problems = false, append(v.Problems, "a rollout is changing it")
	case s.Err != nil:
		v.Problems, v.Unreachable = append(v.Problems, renewer.AtHost(s.placement.Host, s.Err).Error()), errors.Is(s.Err, renewer.ErrUnreachable)
	}
	return v
}

// reprobe looks, outside of the schedule, at placements that were never seen or could
// not be proven last time.
func (e *Engine) reprobe(en *entry, now time.Time) {
	name := en.cert.Name
	if e.surveying[name] || e.entries[name] != nil {
		return
	}
	if !slices.ContainsFunc(en.cert.Placements, func(p renewer.Placement) bool { return en.rec.Placements[p.Host].LookDue(now) }) {
		return
	}
	targets, err := e.targets([]string{name})
	if err != nil {
		e.Log.Error("could not read the inventory", "certificate", name, "error", err)
		return
	}
	e.surveying[name] = true
	fleet, ctx := e.fleet, e.workContext
	e.running++
	go func() {
		_, err := e.survey(ctx, fleet, targets)
		if err != nil && ctx.Err() == nil {
			e.Log.Error("could not check a placement again", "certificate", name, "error", err)
		}
		e.outcomes <- nil
	}()
}

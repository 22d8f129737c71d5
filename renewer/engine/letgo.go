package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// DropRoot lets a root that was found in ca files leave them. It is refused, as
// any other way to lose a root, while somebody presents a leaf under it there.
func (e *Engine) DropRoot(ctx context.Context, id string) (out renewer.RootDropped, err error) {
	err = e.try(ctx, func() error { out, err = e.dropRoot(id); return err })
	return out, err
}

func (e *Engine) dropRoot(id string) (out renewer.RootDropped, err error) {
	i := slices.IndexFunc(e.trustRoots(), func(r renewer.TrustRoot) bool { return r.ID == id })
	if i < 0 {
		return out, fmt.Errorf("no ca file has root %s", id)
	}
	out = renewer.RootDropped{Root: e.trustRoots()[i], Placements: []string{}}
	in := e.trusts().ForeignIn(id)
	if err := e.droppable(out.Root, in); err != nil {
		return out, err
	}
	var batch []pending
	names := certificatesOf(in)
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			continue
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return out, err
		}
		if en.open() && e.working(en.rec.Rollout) {
			return out, atWork(en)
		}
		p := e.amend(en, renewer.DroppedRoot{Root: out.Root})
		for _, ev := range p.change.Events {
			out.Placements = append(out.Placements, renewer.Placement{Certificate: name, Host: ev.Host}.ID())
		}
		batch = append(batch, p)
	}
	if err := e.recordAll(batch); err != nil {
		return out, err
	}
	return out, e.restage(names)
}

// amend makes the pending change of an entry that is not to be gone on with
// because of it, unless it is anyway.
func (e *Engine) amend(en *entry, in renewer.Input) pending {
	p, _ := e.apply(en, in)
	if name := en.cert.Name; !e.onItsOwn && e.entries[name] == nil {
		p.done = func() { e.regraph(name, e.nodes(p.entry)) }
	}
	return p
}

// restage has what is staged with other roots than are wanted now staged again,
// and the loop go on with what is due now.
func (e *Engine) restage(names []string) error {
	if e.onItsOwn {
		e.consider(names)
		return nil
	}
	var batch []pending
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			continue
		}
		en, _, err := e.load(name, c)
		if err != nil {
			return err
		}
		if en.open() {
			batch = append(batch, e.amend(en, renewer.Revised{Observed: e.observed(en)}))
		}
	}
	return e.recordAll(batch)
}

// droppable says why a root cannot leave the ca files by name.
func (e *Engine) droppable(root renewer.TrustRoot, in []trust.ID) error {
	what := "root " + root.ID[:8] + " (" + root.Subject + ")"
	if len(in) == 0 {
		switch {
		case len(root.Issuers) > 0:
			return renewer.WithHint(fmt.Errorf("%s is a root of issuer %s, not a foreign root", what, strings.Join(root.Issuers, ", ")),
				"change trust: or issuer: in the fleet file; renewer plan then shows what that does")
		case root.Verifiers > 0:
			return renewer.WithHint(fmt.Errorf("%s is not a foreign root: renewer keeps it for certificates that are in place, and removes it when none is left", what),
				"renewer impact "+root.ID[:8]+" shows who needs it")
		default:
			return fmt.Errorf("%s is in no ca file", what)
		}
	}
	needed := map[string]string{} // certificates by placement
	for _, id := range in {
		c, ok := e.fleet.Certificate(id.Certificate)
		if !ok {
			continue
		}
		base := e.roots.base(c.Trust...)
		if base.Has(root.ID) {
			return renewer.WithHint(fmt.Errorf("%s is required by trust: of %s", what, c.Name), "remove it from trust: in the fleet file first")
		}
		for _, p := range e.trusts().Holds(id, root.ID, base, e.Now()) {
			needed[p.String()] = p.Certificate
		}
	}
	if len(needed) > 0 {
		who := slices.Sorted(maps.Keys(needed))
		way := "renewer renew " + needed[who[0]] + " replaces that certificate"
		if _, wanted := e.fleet.Certificate(needed[who[0]]); !wanted {
			way = "renewer forget " + needed[who[0]] + " forgets what left the fleet file"
		}
		return renewer.WithHint(fmt.Errorf("%s cannot be removed: certificates under it are in place: %s", what, strings.Join(renewer.Members(who, 5), ", ")),
			"renewer impact "+root.ID[:8]+" shows who would refuse whom; "+way)
	}
	return nil
}

func certificatesOf(in []trust.ID) (names []string) {
	for _, id := range in {
		names = append(names, id.Certificate)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// recordAll records changes that an operator asked for.
func (e *Engine) recordAll(batch []pending) error {
	if err := e.record(batch); err != nil {
		return fmt.Errorf("record the request: %w", err)
	}
	return nil
}

// Forget forgets what left the fleet file under a name, or would (look): it
// counts no longer, so the roots that it needs may leave the ca files of others.
// Nothing of the name is no error here.
func (e *Engine) Forget(ctx context.Context, name string, look bool) (out []renewer.Forgotten, err error) {
	err = e.try(ctx, func() error { out, err = e.forgetDeparted(name, look); return err })
	return out, err
}

func (e *Engine) forgetDeparted(name string, look bool) (out []renewer.Forgotten, err error) {
	left, err := e.departed(name)
	if err != nil {
		return nil, err
	}
	var batch []pending
	names, now := slices.Sorted(maps.Keys(left)), e.Now()
	for _, full := range names {
		var in renewer.LetGo
		for _, d := range left[full] {
			f := renewer.ForgottenOf(full, d)
			for _, id := range e.trusts().AcceptedBy(trust.ID{Certificate: full, Host: d.Host}, now) {
				if slices.ContainsFunc(left[id.Certificate], func(d renewer.Departed) bool { return d.Host == id.Host }) {
					continue // which is forgotten with it
				}
				f.Accepted = append(f.Accepted, id.String())
			}
			out = append(out, f)
			text := "forgotten, requested by operator; its files stay in place, and no renewal waits for it"
			if len(f.Accepted) > 0 {
				text = "forgotten, requested by operator; its files stay in place, no renewal waits for it, and these peers may refuse it from now on: " + strings.Join(renewer.Members(f.Accepted, 10), ", ")
			}
			in.Events = append(in.Events, renewer.Event{
				Time: now, Type: renewer.EventForgotten, Certificate: full, Host: d.Host, Generation: d.Generation, Message: text,
			})
		}
		if look {
			continue
		}
		if err := e.leave(full); err != nil {
			return nil, err
		}
		p, err := e.forgotten(full, in)
		if err != nil {
			return nil, err
		}
		batch = append(batch, p)
	}
	return out, e.recordAll(batch)
}

// leave takes a certificate that left the fleet file out of the lists, if no pass
// has yet.
func (e *Engine) leave(name string) error {
	if _, stays := e.fleet.byName[name]; stays {
		return nil
	}
	leaving, err := e.leaving()
	if err != nil || !slices.ContainsFunc(leaving, func(rec renewer.Record) bool { return rec.Name == name }) {
		return err
	}
	p, ok, err := e.letGo(name)
	if err == nil && !ok {
		err = renewer.WithHint(fmt.Errorf("%s: its rollout is changing a host; wait until that is finished", name), "renewer status shows the rollout; when it is finished, repeat the command")
	}
	if err != nil {
		return err
	}
	return e.recordAll([]pending{p})
}

// departed returns what left the fleet file under a name, by certificate: that of
// a certificate, or of an entry for all its hosts.
func (e *Engine) departed(name string) (map[string][]renewer.Departed, error) {
	means := func(full string) bool {
		entry, _, _ := strings.Cut(full, "@")
		return full == name || entry == name
	}
	gone, err := e.Store.Departed()
	if err != nil {
		return nil, err
	}
	leaving, err := e.leaving()
	if err != nil {
		return nil, err
	}
	for _, rec := range leaving {
		gone[rec.Name] = e.departures(leaver(rec), rec)
	}
	maps.DeleteFunc(gone, func(full string, _ []renewer.Departed) bool { return !means(full) })
	for _, c := range e.fleet.Certificates {
		if !means(c.Name) {
			continue
		}
		en, _, err := e.load(c.Name, c)
		if err != nil {
			return nil, err
		}
		if len(en.rec.Departed) > 0 {
			gone[c.Name] = en.rec.Departed
		}
	}
	now := e.Now()
	for full, list := range gone {
		gone[full] = slices.DeleteFunc(slices.Clone(list), func(d renewer.Departed) bool { return d.Over(now) })
	}
	maps.DeleteFunc(gone, func(_ string, list []renewer.Departed) bool { return len(list) == 0 })
	return gone, nil
}

// forgotten takes in that what left under a name is let go.
func (e *Engine) forgotten(name string, in renewer.LetGo) (pending, error) {
	en := &entry{cert: renewer.Certificate{Name: name}}
	if c, ok := e.fleet.Certificate(name); ok {
		var err error
		if en, _, err = e.load(name, c); err != nil {
			return pending{}, err
		}
		return e.amend(en, in), nil
	}
	var ok bool
	var err error
	if en.rec, ok, err = e.Store.Record(name); err != nil || !ok {
		return pending{}, cmp.Or(err, fmt.Errorf("the inventory has no record of %s", name))
	}
	in.Removed = true
	p, _ := e.apply(en, in)
	return p, nil
}

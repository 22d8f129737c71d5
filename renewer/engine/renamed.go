package engine

import (
	"maps"
	"slices"

	"renewer/renewer"
)

// An entry that is renamed takes over what left the fleet file under its earlier name:
// its generations, and what is in place. It says which that was (moved:), or has the very
// files of it. Until that is recorded with the first plan for it, it is seen so by
// everything that loads it.

// heir is a certificate that takes over what left.
type heir struct {
	from string
	rec  renewer.Record // of from, with what it has in place as departed
}

// findHeirs looks which certificates without a record are the new name of what left.
func (e *Engine) findHeirs() error {
	e.heirs, e.taken, e.awaited = map[string]heir{}, map[string]map[string]bool{}, map[string]string{}
	e.leftIn = map[where][]string{}
	left, err := e.allLeft()
	if err != nil || len(left) == 0 {
		return err
	}
	at := map[where]string{} // by layout
	for name, rec := range left {
		for _, d := range rec.Departed {
			if d.State != nil {
				for _, in := range spotsOf(d.Host, *d.State) {
					e.leftIn[in] = append(e.leftIn[in], name)
				}
			}
			if d.State != nil && d.State.Layout != "" {
				at[where{d.Host, d.State.Layout}], at[where{d.State.Machine, d.State.Layout}] = name, name
			}
		}
	}
	sameFiles := func(c renewer.Certificate) (from string) {
		for i, p := range c.Placements {
			name := at[where{p.Machine, p.Layout()}]
			if name == "" || p.Machine == "" {
				name = at[where{p.Host, p.Layout()}]
			}
			if name == "" || i > 0 && name != from {
				return ""
			}
			from = name
		}
		return from
	}
	known, err := e.Store.Names()
	if err != nil {
		return err
	}
	said := map[string]bool{} // by an entry, that it was called so
	for _, says := range []bool{true, false} {
		for _, c := range e.fleet.Certificates {
			_, has := slices.BinarySearch(known, c.Name)
			if _, done := e.heirs[c.Name]; has || done {
				continue // it was taken over, or is no new name
			}
			from := ""
			if names := c.FormerNames(); says {
				if i := slices.IndexFunc(names, func(name string) bool { _, is := left[name]; return is }); i >= 0 {
					from = names[i]
				}
			} else if from = sameFiles(c); said[from] {
				continue
			}
			if ok, err := e.inherits(c, from, left[from]); err != nil {
				return err
			} else if ok {
				said[from] = said[from] || says
			}
		}
	}
	return nil
}

// inherits takes down that a certificate takes over what left under a name, if that is
// on any host of it.
func (e *Engine) inherits(c renewer.Certificate, from string, rec renewer.Record) (bool, error) {
	taken := map[string]bool{}
	for _, d := range rec.Departed {
		if _, back := d.Back(c); back {
			taken[d.Host] = true
		}
	}
	if len(taken) == 0 {
		return false, nil
	}
	if ok, err := e.sameNumbers(c.Name, rec); err != nil || !ok {
		return false, err
	}
	if e.busy(from) {
		e.awaited[c.Name] = from
		return true, nil
	}
	e.heirs[c.Name] = heir{from, rec}
	if e.taken[from] == nil {
		e.taken[from] = map[string]bool{}
	}
	maps.Copy(e.taken[from], taken)
	return true, nil
}

// sameNumbers reports whether a name had no generations that those of another one
// contradict: it was never used, or is the earlier name of that.
func (e *Engine) sameNumbers(name string, of renewer.Record) (bool, error) {
	was, had, err := e.Store.Record(name)
	if err != nil || !had {
		return err == nil, err
	}
	if len(was.Departed) > 0 || was.Latest > of.Latest || was.Rollouts > of.Rollouts {
		return false, nil
	}
	generations, err := e.Store.Generations(name)
	for _, g := range generations {
		if other, ok, err := e.Store.Generation(of.Name, g.Number); err != nil || ok && other.Fingerprint != g.Fingerprint {
			return false, err
		}
	}
	return true, err
}

// succeeded takes in that nothing is in progress any more for what left under a name: what is
// the new name of it takes it over. It reports whether there is any.
func (e *Engine) succeeded(name string) (bool, error) {
	if e.busy(name) {
		return false, nil
	}
	var heirs []string
	for heir, from := range e.awaited {
		if from == name {
			heirs = append(heirs, heir)
		}
	}
	if len(heirs) == 0 {
		return false, nil
	}
	err := e.findHeirs()
	for _, heir := range heirs {
		e.unplanned[heir] = true
	}
	return e.taken[name] != nil, err
}

// allLeft returns the records of what left the fleet file with something in place.
func (e *Engine) allLeft() (map[string]renewer.Record, error) {
	out := map[string]renewer.Record{}
	departed, err := e.Store.Departed()
	if err != nil {
		return nil, err
	}
	for name, list := range departed {
		if _, back := e.fleet.byName[name]; back {
			continue
		}
		rec, _, err := e.Store.Record(name)
		if err != nil {
			return nil, err
		}
		rec.Departed = list
		out[name] = rec
	}
	leaving, err := e.leaving()
	for _, rec := range leaving {
		if rec.Departed = e.departures(leaver(rec), rec); len(rec.Departed) > 0 {
			out[rec.Name] = rec
		}
	}
	return out, err
}

// inherited returns what is recorded with the first plan for an heir: the generations
// under its name, and that its files are no orphan's any more.
func (e *Engine) inherited(name string) (changes []Change, done func(), err error) {
	h, ok := e.heirs[name]
	if !ok {
		return nil, nil, nil
	}
	generations, err := e.Store.Generations(h.from)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range generations {
		g.Certificate = name
		changes = append(changes, Change{Generation: &g})
	}
	rec, found, err := e.Store.Record(h.from)
	if err != nil || !found {
		return changes, func() {}, err
	}
	gone := &entry{cert: leaver(rec), rec: rec}
	in := []renewer.Input{renewer.LetGo{Removed: true, Stays: func(host string) bool { return !e.taken[h.from][host] }}}
	if len(rec.Placements) > 0 {
		in = append([]renewer.Input{renewer.Removed{Generation: e.generationOf(gone), Retired: e.retired}}, in...)
	}
	p, _ := e.apply(gone, in...)
	return append(changes, p.change), p.done, nil
}

package engine

import (
	"slices"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// An entry that is renamed has the very files of what left the fleet file under
// another name. It takes that over: its generations, and what is in place. Until that is
// recorded with the first plan for it, it is seen so by everything that loads it.

// heir is a certificate that takes over what left.
type heir struct {
	from string
	rec  renewer.Record // of from, with what it has in place as departed
}

// findHeirs looks which certificates without a record have the files of what left.
func (e *Engine) findHeirs() error {
	e.heirs, e.taken = map[string]heir{}, map[string]map[string]bool{}
	left, err := e.allLeft()
	if err != nil || len(left) == 0 {
		return err
	}
	type spot struct{ where, layout string } // a host, or its machine
	at := map[spot]trust.ID{}
	for name, rec := range left {
		for _, d := range rec.Departed {
			if d.State != nil && d.State.Layout != "" {
				at[spot{d.Host, d.State.Layout}] = trust.ID{Certificate: name, Host: d.Host}
				at[spot{d.State.Machine, d.State.Layout}] = trust.ID{Certificate: name, Host: d.Host}
			}
		}
	}
	was := func(p renewer.Placement) trust.ID {
		if id, ok := at[spot{p.Machine, p.Layout()}]; ok && p.Machine != "" {
			return id
		}
		return at[spot{p.Host, p.Layout()}]
	}
	known, err := e.Store.Names()
	if err != nil {
		return err
	}
	for _, c := range e.fleet.Certificates {
		from := ""
		for i, p := range c.Placements {
			if name := was(p).Certificate; i == 0 {
				from = name
			} else if name != from {
				from = ""
			}
			if from == "" {
				break
			}
		}
		if _, has := slices.BinarySearch(known, c.Name); has || from == "" {
			continue
		}
		if ok, err := e.sameNumbers(c.Name, left[from]); err != nil || !ok {
			if err != nil {
				return err
			}
			continue
		}
		e.heirs[c.Name] = heir{from, left[from]}
		if e.taken[from] == nil {
			e.taken[from] = map[string]bool{}
		}
		for _, p := range c.Placements {
			e.taken[from][was(p).Host] = true
		}
	}
	return nil
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

// allLeft returns the records of what left the fleet file with something in place, but
// for those with a host between two generations.
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
		if rec.Departed = e.departures(leaver(rec), rec); len(rec.Departed) > 0 && !e.busy(rec.Name) {
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

package engine

import (
	"slices"

	"renewer/renewer"
)

// What left the fleet file ends when another certificate has placed its files over those
// of it: see renewer.Departed.Replaced.

// where is a directory, or a layout, on a host, by its name or by its machine.
type where struct{ on, what string }

func spotsOf(host string, st renewer.PlacementState) (at []where) {
	if len(st.Dirs) == 0 {
		return nil
	}
	if at = append(at, where{host, st.Dirs[0]}); st.Machine != "" {
		at = append(at, where{st.Machine, st.Dirs[0]})
	}
	return at
}

// successors returns the certificates whose files may be where those of what left were.
func (e *Engine) successors() (names []string) {
	if len(e.leftIn) == 0 {
		return nil
	}
	for _, c := range e.fleet.Certificates {
		if slices.ContainsFunc(c.Placements, func(p renewer.Placement) bool {
			return e.leftIn[where{p.Host, p.Dir}] != nil || e.leftIn[where{p.Machine, p.Dir}] != nil
		}) {
			names = append(names, c.Name)
		}
	}
	return names
}

// endReplaced lets go of what left where certificates have placed their files since.
func (e *Engine) endReplaced(names []string) {
	if len(e.leftIn) == 0 {
		return
	}
	var batch []pending
	done := map[string]bool{}
	for _, name := range names {
		c, ok := e.fleet.Certificate(name)
		if !ok {
			continue
		}
		en, _, err := e.load(name, c)
		if err != nil {
			e.Log.Error("could not read the inventory", "certificate", name, "error", err)
			continue
		}
		for _, from := range e.leftWith(en) {
			if p, ok := e.endedBy(from, en); ok && !done[from] {
				batch, done[from] = append(batch, p), true
			}
		}
	}
	if err := e.record(batch); err != nil { // the next probe, or start, does it
		e.Log.Error("could not record what was replaced", "error", err)
	}
}

// leftWith returns the names of what left in the directories of a certificate.
func (e *Engine) leftWith(en *entry) (names []string) {
	for host, st := range en.rec.Placements {
		for _, at := range spotsOf(host, st) {
			names = append(names, e.leftIn[at]...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// endedBy lets go of what left under a name, as far as a certificate has replaced it.
func (e *Engine) endedBy(from string, by *entry) (pending, bool) {
	if _, back := e.fleet.byName[from]; back || e.taken[from] != nil {
		return pending{}, false
	}
	rec, found, err := e.Store.Record(from)
	if err != nil || !found {
		return pending{}, false
	}
	over := map[string]bool{} // by host
	in := renewer.LetGo{Stays: func(host string) bool { return !over[host] }}
	for _, d := range rec.Departed {
		for _, p := range by.cert.Placements {
			if st := by.rec.Placements[p.Host]; !over[d.Host] && d.Replaced(p.Host, st, by.cert.Role(p), e.Now()) {
				over[d.Host] = true
				in.Events = append(in.Events, renewer.Event{
					Time: e.Now(), Type: renewer.EventForgotten, Certificate: from, Host: d.Host, Generation: d.Generation,
					Message: "forgotten: the files of " + p.ID() + " replaced its files",
				})
			}
		}
	}
	if len(over) == 0 {
		return pending{}, false
	}
	p, err := e.forgotten(from, in)
	if err != nil {
		e.Log.Error("could not record what was replaced", "certificate", from, "error", err)
	}
	return p, err == nil
}

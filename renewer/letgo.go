package renewer

import (
	"maps"
	"slices"
)

// DroppedRoot has a root that was found in ca files stay there no longer by
// itself. It is taken out as any other root that is not wanted.
type DroppedRoot struct{ Root TrustRoot }

func (d DroppedRoot) apply(a *applied) bool {
	for _, host := range a.Record.dropForeign(d.Root.ID) {
		a.event(EventRootDropped, host, 0, "root "+d.Root.Subject+" ("+d.Root.Fingerprint+") was found in the ca file and is removed, requested by operator")
	}
	return true
}

// Revised brings what has not begun in line with the roots that are wanted now.
type Revised struct{ Observed Observed }

func (r Revised) apply(a *applied) bool {
	return a.Open() && a.Record.Rollout.revise(a.Certificate, r.Observed, a.now)
}

// LetGo forgets what left the fleet file. Removed: the certificate itself did.
type LetGo struct {
	Events  []Event
	Removed bool
	Stays   func(host string) bool // nil: nothing
}

func (l LetGo) apply(a *applied) bool {
	a.Record.Departed = slices.DeleteFunc(slices.Clone(a.Record.Departed), func(d Departed) bool { return l.Stays == nil || !l.Stays(d.Host) })
	a.ch.Events = append(a.ch.Events, l.Events...)
	if l.Removed { // should it come back, it is as if never issued
		a.ch.Remove = a.Certificate.Name
	}
	return true
}

// dropForeign returns the hosts where the root was.
func (rec *Record) dropForeign(root string) (hosts []string) {
	for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		st := rec.Placements[host]
		if st.Interrupted != nil && st.Interrupted.Foreign.Has(root) {
			step := *st.Interrupted
			step.Foreign = step.Foreign.Without(root1(root))
			st.Interrupted = &step
		}
		if st.Foreign.Has(root) {
			st.Foreign, hosts = st.Foreign.Without(root1(root)), append(hosts, host)
		}
		rec.Placements[host] = st
	}
	if rec.Rollout != nil {
		r := *rec.Rollout
		r.Steps = slices.Clone(r.Steps)
		for i := range r.Steps {
			r.Steps[i].Foreign = r.Steps[i].Foreign.Without(root1(root))
		}
		rec.Rollout = &r
	}
	return hosts
}

func root1(id string) RootSet { return RootSet{id} }

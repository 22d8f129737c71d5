package renewer

import (
	"maps"
	"slices"
	"time"
)

// DroppedRoot has a root that was found in ca files stay there no longer by
// itself. It is taken out as any other root that is not wanted.
type DroppedRoot struct{ Root TrustRoot }

func (d DroppedRoot) apply(a *applied) bool {
	for _, host := range a.Record.dropForeign(d.Root.ID) {
		a.event(EventRootDropped, host, 0, "root "+d.Root.Subject+" ("+d.Root.Fingerprint+") was found in the ca file and is dropped on request")
	}
	return true
}

// Revised brings what has not begun in line with the roots that are wanted now.
type Revised struct{ Observed Observed }

func (r Revised) apply(a *applied) bool {
	return a.Open() && a.Record.Rollout.revise(a.Certificate, r.Observed, a.now)
}

// LetGo lets go of what left the fleet file. Removed: the certificate itself did.
type LetGo struct {
	Events  []Event
	Removed bool
}

func (l LetGo) apply(a *applied) bool {
	a.Record.Departed, a.ch.Events = nil, append(a.ch.Events, l.Events...)
	if l.Removed {
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

// Departures are the placements that left the entry, those too that the record
// does not say so of yet: see forget.
func (rec Record) Departures(c Certificate, generation func(number int) *Generation, retired func(host string) bool, now time.Time) []Departed {
	stay := 0
	for i := range c.Placements {
		if _, placed := rec.Placements[c.Placements[i].Host]; placed {
			stay++
		}
	}
	if stay == len(rec.Placements) {
		return rec.Departed
	}
	rec.Placements, rec.Departed = maps.Clone(rec.Placements), slices.Clone(rec.Departed)
	rec.forget(c, generation, retired, now)
	return rec.Departed
}

func root1(id string) RootSet { return RootSet{id} }

// ForgottenOf is a placement that left the fleet file, to be let go.
func ForgottenOf(certificate string, d Departed) Forgotten {
	return Forgotten{Certificate: certificate, Host: d.Host, Generation: d.Generation, Issuer: d.Issuer, NotAfter: d.NotAfter, Accepted: []string{}}
}

// OrphanRow is the row of a certificate that left the fleet file and is still in
// place; g is what is in place, nil where that is not known.
func OrphanRow(name string, left []Departed, g *Generation) Row {
	row := Row{Name: name, Status: StatusOrphaned, SANs: []string{}, Hosts: []HostRow{}}
	for _, d := range left {
		if row.NotAfter.IsZero() || d.NotAfter.Before(row.NotAfter) {
			row.Issuer, row.Generation, row.NotBefore, row.NotAfter = d.Issuer, d.Generation, d.IssuedAt, d.NotAfter
		}
		row.Hosts = append(row.Hosts, HostRow{Name: d.Host, State: HostActivated, Generation: d.Generation})
	}
	if g != nil {
		row.Serial, row.Fingerprint, row.CommonName, row.SANs, row.Key = g.Serial, g.Fingerprint, g.CommonName, g.SANs, g.Request.Key
		row.NotBefore = g.NotBefore
	}
	return row
}

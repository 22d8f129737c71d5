package renewer

import (
	"maps"
	"slices"
	"time"
)

// DropForeign has a root that was found in ca files stay there no longer by
// itself, and returns the hosts where it did. It is taken out as any other root
// that is not wanted.
func (rec *Record) DropForeign(root string) (hosts []string) {
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
// does not say so of yet: see Forget.
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
	rec = rec.Clone()
	rec.Forget(c, generation, retired, now)
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

package renewer

import (
	"maps"
	"slices"
	"time"
)

// What left the fleet file and is in place still.

// Role is how the placements of an entry take part in the trust between peers. A
// record keeps it, because what left the fleet file has no entry. The zero Role is
// unknown.
type Role struct {
	Usages []Usage  `json:"usages,omitempty"` // none: a trust bundle
	Trust  []string `json:"trust,omitempty"`  // issuers whose presenters it accepts; none: it has no ca file
	// Activates: the service is made to load its files. Where it is not, roots count
	// as loaded Settle after they were placed.
	Activates bool          `json:"activates,omitempty"`
	Settle    time.Duration `json:"settle,omitempty"`
}

// Known reports whether the role is known at all.
func (r Role) Known() bool { return len(r.Usages)+len(r.Trust) > 0 }

func (r Role) same(o Role) bool {
	return r.Activates == o.Activates && r.Settle == o.Settle && slices.Equal(r.Usages, o.Usages) && slices.Equal(r.Trust, o.Trust)
}

// Role returns the role of a placement of the certificate.
func (c Certificate) Role(p Placement) Role {
	r := Role{Usages: c.Usages, Activates: p.activates(), Settle: p.Settle(c)}
	if _, has := p.Files[FileCA]; has {
		r.Trust = c.Trust
	}
	return r
}

// noteRole keeps the role of the entry. It reports whether anything changed.
func (rec *Record) noteRole(c Certificate) bool {
	if len(c.Placements) == 0 {
		return false
	}
	role := c.Role(c.Placements[0])
	if rec.Role.same(role) {
		return false
	}
	rec.Role = role
	return true
}

// Departed is a placement that left the fleet file while its leaf, or its trust
// bundle, was in place. It presents and verifies as it did, with files that renewer
// does not change any more: see package trust.
type Departed struct {
	Host string `json:"host"`
	// What it presents, and until when it counts; zero: until it is let go, as a
	// trust bundle does.
	Generation int       `json:"generation,omitempty"`
	Usages     []Usage   `json:"usages"`
	Issuer     string    `json:"issuer"`
	Under      RootSet   `json:"under"`
	IssuedAt   time.Time `json:"issued_at"`
	NotAfter   time.Time `json:"not_after"`
	// State is the placement as it was, taken up again should it come back; nil
	// (and Role unknown) where a version before recorded it: its roots are unknown.
	State *PlacementState `json:"state,omitempty"`
	Role  Role            `json:"role,omitzero"`
}

// Over reports whether it counts no longer.
func (d Departed) Over(now time.Time) bool { return !d.NotAfter.IsZero() && !now.Before(d.NotAfter) }

// Replaced reports whether another certificate has placed its files over all those of
// what left: st is its placement on a host, and r its role. Then none of them is there
// any more, and what used them has the new ones.
func (d Departed) Replaced(host string, st PlacementState, r Role, now time.Time) bool {
	was := d.State
	switch {
	case was == nil || len(was.Files) == 0 || len(was.Dirs) == 0 || len(st.Dirs) == 0 || was.Dirs[0] != st.Dirs[0]:
		return false
	case was.Machine != st.Machine && was.Machine != "" && st.Machine != "" || (was.Machine == "" || st.Machine == "") && d.Host != host:
		return false
	case st.Origin != OriginIssued || st.Seen != nil || !st.Matches || st.Interrupted != nil:
		return false
	case d.Role.Activates && !r.Activates: // what loaded the old ones may have them still
		return false
	}
	covered := !slices.ContainsFunc(was.Files, func(name string) bool { return !slices.Contains(st.Files, name) })
	return covered && !now.Before(st.PlacedAt.Add(max(d.Role.Settle, r.Settle)))
}

// forget drops what is known of hosts that left the entry. What they had in place
// (generation finds it; nil for none) goes on to count until it expires, unless
// the host is retired. It reports whether anything changed.
func (rec *Record) forget(c Certificate, generation func(number int) *Generation, retired func(host string) bool, now time.Time) bool {
	departed := slices.DeleteFunc(slices.Clone(rec.Departed), func(d Departed) bool {
		_, back := c.Placement(d.Host)
		return back || retired(d.Host) || d.Over(now)
	})
	changed, role := len(departed) != len(rec.Departed), rec.Role
	if !role.Known() && len(c.Placements) > 0 {
		role = c.Role(c.Placements[0])
	}
	for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		if _, stays := c.Placement(host); stays {
			continue
		}
		st := rec.Placements[host]
		delete(rec.Placements, host)
		changed = true
		d := Departed{Host: host, Issuer: rec.Issuer, State: &st, Role: role}
		switch g := generation(st.Generation); {
		case retired(host) || !st.Placed():
			continue
		case role.Known() && len(role.Usages) == 0: // a trust bundle
		case !g.Counts(now):
			continue
		default:
			d.Generation, d.Usages, d.Issuer, d.Under, d.IssuedAt, d.NotAfter = g.Number, g.Usages, g.Request.Issuer, g.Under, g.IssuedAt, g.NotAfter
		}
		departed = append(departed, d)
	}
	rec.Departed = departed
	return changed
}

// Rejoin takes up placements that left the entry and are in it again as what they
// were, under the name that their host has now. They are looked at before they are called
// valid. It reports whether there are any.
func (rec *Record) Rejoin(c Certificate, now time.Time) (changed bool) {
	changed = rec.rename(c, now)
	var stay []Departed
	for _, d := range rec.Departed {
		to, back := d.Back(c)
		st, has := rec.Placements[to]
		switch {
		case has && st.Placed() && st.Machine != "" && st.Machine == d.State.Machine && st.Layout == d.State.Layout: // which took its place
			changed = true
			continue
		case !back || has:
			stay = append(stay, d)
			continue
		}
		changed = true
		if rec.Placements = maps.Clone(rec.Placements); rec.Placements == nil {
			rec.Placements = map[string]PlacementState{}
		}
		rec.Placements[to] = d.State.lookedAtAnew(now)
	}
	if changed {
		rec.Departed = stay
	}
	return changed
}

// Back returns the host on which what left is in an entry again; ok is false where it
// is not.
func (d Departed) Back(c Certificate) (host string, ok bool) {
	if d.State == nil {
		return "", false
	}
	if host = d.State.on(c); host == "" {
		host = d.Host
	}
	_, ok = c.Placement(host)
	return host, ok
}

// rename follows hosts that were given other names in the fleet file, which may be names
// that others had: what is placed stays with its machine. It reports whether there are any.
func (rec *Record) rename(c Certificate, now time.Time) bool {
	if rec.Rollout != nil && !rec.Rollout.Phase.Over() {
		return false
	}
	to, taken := map[string]string{}, map[string]bool{}
	for host, st := range rec.Placements {
		if p, ok := c.Placement(host); st.Machine == "" || st.Interrupted != nil || ok && p.Machine == st.Machine {
			continue
		}
		if name := st.on(c); name != "" && !taken[name] {
			to[host], taken[name] = name, true
		}
	}
	for n := -1; n != len(to); { // a name stays with what has it and does not move
		n = len(to)
		maps.DeleteFunc(to, func(_, name string) bool {
			_, has := rec.Placements[name]
			return has && to[name] == ""
		})
	}
	if len(to) == 0 {
		return false
	}
	was := rec.Placements
	rec.Placements = maps.Clone(was)
	maps.DeleteFunc(rec.Placements, func(host string, _ PlacementState) bool { return to[host] != "" })
	for host, name := range to {
		st := was[host]
		rec.Placements[name] = st.lookedAtAnew(now)
	}
	return true
}

// on returns the host of an entry on whose machine the files are; empty for none.
func (p *PlacementState) on(c Certificate) string {
	for i := range c.Placements {
		if at := &c.Placements[i]; p.Machine != "" && at.Machine == p.Machine && at.Layout() == p.Layout {
			return at.Host
		}
	}
	return ""
}

func (p PlacementState) lookedAtAnew(now time.Time) PlacementState {
	p.State, p.Matches, p.Error, p.Hint, p.Failures, p.Reprobe = HostActivated, false, "", "", 0, now
	return p
}

// Inherit returns the record of an entry that had the name of rec before: it says so
// (moved:), or has the very files of what left the fleet file. What was of that is of
// this one.
func (rec Record) Inherit(c Certificate, now time.Time) Record {
	from := rec.Name
	rec.Name, rec.Entry, rec.Issuer = c.Name, c.Entry, c.Issuer
	rec.Placements, rec.Rollout, rec.Asked, rec.NextAt = nil, nil, nil, time.Time{}
	rec.Rejoin(c, now)
	rec.Departed = nil // what is elsewhere stays with the name that it had
	for host, st := range rec.Placements {
		if st.Revisions = nil; len(st.Names) == 0 {
			st.Names = []string{from}
		}
		rec.Placements[host] = st
	}
	return rec
}

// WasCalled reports whether the certificate had a name before, as far as its placements
// know.
func (rec Record) WasCalled(name string) bool {
	for _, st := range rec.Placements {
		if slices.Contains(st.Names, name) {
			return true
		}
	}
	return false
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

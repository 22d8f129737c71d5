package renewer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// KeptRevisions is how many earlier revisions stay on a host as a way back.
const KeptRevisions = 2

// Layout identifies how files are laid out: directory, names, modes, owner.
// A placement whose layout changed is staged anew.
func (p Placement) Layout() string {
	return digest(struct {
		Dir, Owner, Group string
		Files             map[FileKind]string
		Modes             any
	}{p.Dir, p.Owner, p.Group, p.Files, p.Modes})
}

// Digest identifies everything that the fleet file says of a certificate.
func (c Certificate) Digest() string {
	c.Position = ""
	return digest(c)
}

func digest(v any) string {
	b, err := json.Marshal(v) // plain data; maps are sorted
	if err != nil {
		panic("digest: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// keep notes a revision as the newest, after the one it replaces, and forgets
// all but the last few. An older one that is to have the same in it is no way
// back: it was placed anew because it is damaged.
func (p *PlacementState) keep(rev Revision, previous string) {
	is := func(name string) func(Revision) bool { return func(r Revision) bool { return r.Name == name } }
	if previous != "" && !slices.ContainsFunc(p.Revisions, is(previous)) {
		p.Revisions = append(p.Revisions, Revision{Name: previous})
	}
	same := func(r Revision) bool {
		again := rev.Generation > 0 && r.Generation == rev.Generation && r.Trust == rev.Trust && r.Layout == rev.Layout
		return r.Name == rev.Name || again && r.Name != previous
	}
	p.Revisions = append(slices.DeleteFunc(slices.Clone(p.Revisions), same), rev)
	if extra := len(p.Revisions) - KeptRevisions - 1; extra > 0 {
		p.Revisions = slices.Delete(p.Revisions, 0, extra)
	}
}

// drop forgets a revision that failed and returns the one that is live again.
func (p *PlacementState) drop(failed, live string) Revision {
	back := Revision{Name: live}
	var kept []Revision
	for _, r := range p.Revisions {
		switch r.Name {
		case failed:
		case live:
			back = r
		default:
			kept = append(kept, r)
		}
	}
	p.Revisions = append(kept, back)
	return back
}

// unproven notes that a placement cannot be called verified, and when to look
// again.
func (p *PlacementState) unproven(why string, at time.Time) {
	p.State, p.Matches, p.Error = HostBlocked, false, why
	p.Failures++
	p.Reprobe = at.Add(Backoff(p.Failures, p.Revision))
}

// activated notes that the service has been made to load what is live.
func (p *PlacementState) activated() { p.Unactivated, p.Stopped, p.Tried = false, "", "" }

// Forget drops what is known of hosts that left the entry, and reports whether
// there were any.
func (rec *Record) Forget(c Certificate) bool {
	before := len(rec.Placements)
	maps.DeleteFunc(rec.Placements, func(host string, _ PlacementState) bool {
		_, stays := c.Placement(host)
		return !stays
	})
	return len(rec.Placements) < before
}

// OnAll reports whether a generation is still on every host of a certificate,
// laid out as the entry says now.
func (rec Record) OnAll(generation int, c Certificate) bool {
	for _, p := range c.Placements {
		there := func(r Revision) bool { return r.Generation == generation && r.Layout == p.Layout() }
		if !slices.ContainsFunc(rec.Placements[p.Host].Revisions, there) {
			return false
		}
	}
	return true
}

// LookAgain makes what could not be activated or proven due for another try
// now.
func (rec *Record) LookAgain(now time.Time) {
	for host, st := range rec.Placements {
		if st.Reprobe.After(now) {
			st.Reprobe = now
			rec.Placements[host] = st
		}
	}
}

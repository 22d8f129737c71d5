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
	return digestOf(b)
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// keep notes a revision as the newest, after the one it replaces, and forgets
// all but the last few. An older one that is to have the same in it is no way
// back: it was placed again because it is damaged.
func (p *PlacementState) keep(rev Revision, previous string) {
	is := func(name string) func(Revision) bool { return func(r Revision) bool { return r.Name == name } }
	if previous != "" && !slices.ContainsFunc(p.Revisions, is(previous)) {
		p.Revisions = append(p.Revisions, Revision{Name: previous, Origin: OriginForeign})
	}
	same := func(r Revision) bool {
		again := r.Origin == OriginIssued && r.Generation == rev.Generation && r.Roots.Same(rev.Roots) && r.Layout == rev.Layout
		return r.Name == rev.Name || again && r.Name != previous
	}
	p.Revisions = append(slices.DeleteFunc(slices.Clone(p.Revisions), same), rev)
	if extra := len(p.Revisions) - KeptRevisions - 1; extra > 0 {
		p.Revisions = slices.Delete(p.Revisions, 0, extra)
	}
}

// drop forgets a revision that failed and returns the one that is live again.
func (p *PlacementState) drop(failed, live string) Revision {
	back := Revision{Name: live, Origin: OriginForeign}
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
func (p *PlacementState) unproven(why error, at time.Time) {
	p.State, p.Matches, p.Error, p.Hint = HostBlocked, false, why.Error(), Hint(why)
	p.Failures++
	p.Reprobe = at.Add(min(Backoff(p.Failures, p.Revision), p.untilStarted(at)))
}

// untilStarted is the pause between looks at a service that does not run: it is seen
// within seconds when it is started soon after its files were placed, and costs
// nothing worth speaking of where it never is.
func (p *PlacementState) untilStarted(at time.Time) time.Duration {
	const least, most, soon = 3 * time.Second, 30 * time.Second, time.Hour
	since := at.Sub(p.PlacedAt)
	switch {
	case !p.Unactivated:
		return BackoffMax
	case since < soon:
		return min(max(since/10, least), most)
	}
	return since / 10
}

// stopped notes that what activates the placement does not run. Unless something
// else answers in its place, whatever starts from now on reads the roots that are
// in place, so it refuses no peer meanwhile.
func (p *PlacementState) stopped(answers bool) {
	if p.Unactivated = true; answers {
		return
	}
	next := Loaded{Generation: p.Generation}
	if p.Loaded != nil {
		next = *p.Loaded
	}
	next.Roots, p.Loaded = p.Roots, &next
}

// keptDirs is how many earlier directories, or names, are remembered.
const keptDirs = 2

// in notes where the live names are. Revisions of another directory are no way
// back.
func (p *PlacementState) in(dir string) {
	if p.MovedTo(dir) {
		p.Revisions = nil
	}
	earlier := slices.DeleteFunc(slices.Clone(p.Dirs), func(d string) bool { return d == dir })
	p.Dirs = append([]string{dir}, earlier[:min(len(earlier), keptDirs)]...)
}

// under notes the name under which the live names were placed, if it was renamed.
func (p *PlacementState) under(name string) {
	if len(p.Names) > 0 {
		earlier := slices.DeleteFunc(slices.Clone(p.Names), func(n string) bool { return n == name })
		p.Names = append([]string{name}, earlier[:min(len(earlier), keptDirs)]...)
	}
}

// again is when what was placed last may be placed once more for what the placement
// lacks: a rollout that leads to where it came from would be wanted again at once,
// and its service activated without end.
func (p PlacementState) again() time.Time {
	if p.Same == 0 {
		return time.Time{}
	}
	return p.PlacedAt.Add(Backoff(p.Same, p.Revision))
}

// Names returns the names of the files, sorted.
func (p Placement) Names() []string { return slices.Sorted(maps.Values(p.Files)) }

// MovedTo reports whether a directory is another one than that of the live names.
func (p PlacementState) MovedTo(dir string) bool { return len(p.Dirs) > 0 && p.Dirs[0] != dir }

// Placed reports whether anything of renewer's is at the live names.
func (p PlacementState) Placed() bool { return p.Revision != "" }

// Has reports whether a generation is in place, as it was written or adopted.
func (p PlacementState) Has(generation int) bool {
	return p.Generation == generation && p.Seen == nil && (p.Origin == OriginIssued || p.Origin == OriginAdopted)
}

// loaded notes that the service uses what is in place.
func (p *PlacementState) loaded() { p.Loaded = &Loaded{Generation: p.Generation, Roots: p.Roots} }

// DefaultSettle is how long after placing a bundle counts as loaded where
// nothing is activated and the service does not read it again by itself.
const DefaultSettle = 24 * time.Hour

// SettleTime returns the certificate's settle:, by default DefaultSettle or a
// tenth of the lifetime, whichever is less.
func (c Certificate) SettleTime() time.Duration {
	switch {
	case c.Settle < 0: // written as 0s
		return 0
	case c.Settle > 0:
		return c.Settle
	case c.Lifetime > 0:
		return min(DefaultSettle, c.Lifetime/10)
	default:
		return DefaultSettle
	}
}

// Settle returns how long after placing the roots count as loaded; 0 where that
// follows from what is done to the service, or is at once.
func (p Placement) Settle(c Certificate) time.Duration {
	if p.activates() || p.Reloads.Trust {
		return 0
	}
	return c.SettleTime()
}

func (p Placement) activates() bool { return p.Activate.Kind != ActivateNone && p.Activate.Kind != "" }

// LoadedRoots returns the roots that the users of a placement are known to have
// loaded, and when those in place will count as loaded by time alone (zero: not
// by time).
func (p PlacementState) LoadedRoots(r Role) (RootSet, time.Time) {
	var loaded RootSet
	if p.Loaded != nil {
		loaded = p.Loaded.Roots
	}
	switch {
	case r.Activates || !r.Known():
		return loaded, time.Time{}
	case r.Settle == 0:
		return p.Roots, time.Time{}
	case p.PlacedAt.IsZero(): // by a version before, or found in place
		return p.Roots, time.Time{}
	default:
		return loaded, p.PlacedAt.Add(r.Settle)
	}
}

// noteUnwanted keeps since when roots in a ca file are no longer asked for by the
// entry, which wants base (unknown: nothing is noted): what is issued after that
// does not keep them there. It reports whether anything changed.
func (rec *Record) noteUnwanted(c Certificate, base RootSet, now time.Time) (changed bool) {
	for _, p := range c.Placements {
		st, ok := rec.Placements[p.Host]
		if !ok || !base.Known() {
			continue
		}
		var since map[string]time.Time
		for _, root := range st.Roots.Without(base).Without(st.Foreign) {
			if since == nil {
				since = map[string]time.Time{}
			}
			if since[root] = now; !st.Unwanted[root].IsZero() {
				since[root] = st.Unwanted[root]
			}
		}
		if !maps.EqualFunc(since, st.Unwanted, time.Time.Equal) {
			st.Unwanted = since
			rec.Placements[p.Host], changed = st, true
		}
	}
	return changed
}

// Counts reports whether somebody may still present the generation.
func (g *Generation) Counts(now time.Time) bool {
	return g != nil && now.Before(g.NotAfter) && g.RevokedAt.IsZero()
}

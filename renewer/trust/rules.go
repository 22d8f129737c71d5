package trust

import (
	"slices"
	"time"

	"renewer/renewer"
)

// Wanted returns what belongs into the ca file of a placement: base, the roots
// that its issuers have now; those that are there and are not renewer's to
// drop; and the roots of every leaf that one of its presenters shows. Unknown
// where base is.
func (g *Graph) Wanted(n Node, base renewer.RootSet, now time.Time) renewer.RootSet {
	if !base.Known() {
		return nil
	}
	if known, ok := g.nodes[n.ID]; ok {
		n = *known
	}
	return g.wanted(n, base, now)
}

func (g *Graph) wanted(n Node, base renewer.RootSet, now time.Time) renewer.RootSet {
	gone := g.goneAt(n.Host)
	want := base.With(n.Foreign.Without(gone))
	var kept renewer.RootSet
	for s := range sides {
		if !n.Checks[s] {
			continue
		}
		for _, issuer := range n.Trust {
			for root := range g.rootsOf[s][issuer] {
				if root != unknown && !want.Has(root) && g.shows(s, root, now, func(p *Node, l Leaf) bool {
					named := slices.Contains(n.Trust, p.Issuer) || slices.Contains(n.Trust, l.Issuer)
					return named && !self(&n, p) && !want.Meets(l.Under) && (n.Roots.Has(root) || !n.Roots.Meets(l.Under))
				}) {
					kept = append(kept, root)
				}
			}
		}
		for _, root := range n.Roots {
			counts := func(p *Node, l Leaf) bool {
				since, unwanted := n.Unwanted[root]
				return !self(&n, p) && !want.Meets(l.Under) && (!unwanted || !l.IssuedAt.After(since))
			}
			if !want.Has(root) && g.good(root, now) && (g.shows(s, root, now, counts) || g.shows(s, unknown, now, counts)) {
				kept = append(kept, root)
			}
		}
	}
	return want.With(renewer.NewRootSet(kept...).Without(gone))
}

// self: a placement checks what it shows itself only when it is both ends.
func self(v, p *Node) bool { return v.ID == p.ID && (!v.Shows[Server] || !v.Shows[Client]) }

// shows reports whether a leaf that counts is shown under a root that can be
// accepted.
func (g *Graph) shows(s Side, root string, now time.Time, counts func(*Node, Leaf) bool) bool {
	if !g.good(root, now) {
		return false
	}
	for p := range g.shown[s][root] {
		for _, l := range p.Leaves {
			if l.roots().Has(root) && now.Before(l.NotAfter) && counts(p, l) {
				return true
			}
		}
	}
	return false
}

func (g *Graph) good(root string, now time.Time) bool {
	end, known := g.expires[root]
	return !known || now.Before(end)
}

// Verdict is how a verifier takes a leaf: a root of it has to be in place, for when the
// file is read again, and one be loaded, which need not be the same. Matrix, Impact and
// the gate have no other way to tell.
func (g *Graph) Verdict(v *Node, l Leaf, now time.Time) renewer.Acceptance {
	if !now.Before(l.NotAfter) {
		return renewer.HasExpired
	}
	if !l.Under.Known() || !v.Roots.Known() {
		return renewer.NotKnown
	}
	loaded, assumed := v.Loaded, v.Assumed
	if !v.Settles.IsZero() && !now.Before(v.Settles) {
		loaded, assumed = v.Roots, true
	}
	switch {
	case !v.Roots.Meets(l.Under):
		return renewer.NoRoot
	case !g.verifies(v.Roots, l, now):
		return renewer.HasExpired
	case !g.verifies(loaded, l, now):
		return renewer.NotLoaded
	case assumed:
		return renewer.Assumed
	}
	return renewer.Accepted
}

// verifies reports whether a leaf leads to one of the roots that has not expired.
func (g *Graph) verifies(roots renewer.RootSet, l Leaf, now time.Time) bool {
	return slices.ContainsFunc(l.Under, func(root string) bool { return roots.Has(root) && g.good(root, now) })
}

// Accepts reports whether a verifier takes a leaf.
func (g *Graph) Accepts(v *Node, l Leaf, now time.Time) bool { return g.Verdict(v, l, now).Works() }

// mayAccept is Accepts of what is shown where what is not known counts as
// accepted: it protects. But a verifier of unknown roots that accepts what is shown
// accepts what follows under the same root.
func (g *Graph) mayAccept(v *Node, l, next Leaf, now time.Time) bool {
	if !now.Before(l.NotAfter) || v.over(now) {
		return false
	}
	if !l.Under.Known() || !v.Roots.Known() {
		return !l.Under.Meets(next.Under)
	}
	return g.verifies(v.Roots, l, now) && (!v.Loaded.Known() || g.verifies(v.Loaded, l, now) || !v.Settles.IsZero())
}

// Refusal is a verifier that would refuse a leaf.
type Refusal struct {
	Verifier ID
	// InPlace: the root is in its ca file, but not known to be loaded; Until is
	// when it counts as loaded, or counts no longer; zero: not by time.
	InPlace bool
	Until   time.Time
	Left    bool // it left the fleet file: nothing will bring the root there
	Unnamed bool // its trust: does not name the issuer of the leaf, so neither will anything
}

// Refusals returns who would refuse a leaf although they accept what its
// presenter shows now (shown): up to limit, in no order, without those to skip. A presenter that shows
// nothing, or nothing that is accepted, is refused by no one who would notice.
func (g *Graph) Refusals(n Node, l Leaf, shown []Leaf, now time.Time, limit int, skip func(ID) bool) (out []Refusal) {
	shown = further(shown, l)
	for s := range sides {
		if !n.Shows[s] || len(shown) == 0 {
			continue
		}
		some, seen := []set{g.left[s]}, set{}
		for _, issuer := range issuers(&Node{Issuer: n.Issuer, Leaves: shown}) {
			some = append(some, g.mayLack(s, issuer, l.Under, now))
		}
		for _, some := range some {
			for v := range some {
				if _, known := seen[v]; known || v.ID == n.ID && self(v, &n) || !v.asked(n.Issuer, shown) || skip(v.ID) {
					continue
				}
				if r, refused := g.refuses(v, l, shown, now); refused {
					r.Unnamed = !v.Left && !slices.Contains(v.Trust, n.Issuer)
					out, seen[v] = append(out, r), struct{}{}
				}
				if len(out) >= limit {
					return out
				}
			}
		}
	}
	return out
}

// asked reports whether a verifier has to accept what a presenter brings next: its
// trust: names the issuer, or that of what is shown now. The trust: of one that left the
// fleet file is changed by nothing, so there its ca file says it too.
func (n *Node) asked(issuer string, shown []Leaf) bool {
	return slices.Contains(n.Trust, issuer) || n.Left && n.Roots.Known() ||
		slices.ContainsFunc(shown, func(l Leaf) bool { return slices.Contains(n.Trust, l.Issuer) })
}

// further returns those of the leaves shown whose acceptance says nothing of the
// next one: who accepts a leaf under the same roots accepts that too.
func further(shown []Leaf, next Leaf) []Leaf {
	return slices.DeleteFunc(slices.Clone(shown), func(has Leaf) bool {
		return len(has.Under) > 0 && len(has.Under.Without(next.Under)) == 0
	})
}

// refuses reports whether a verifier would refuse a leaf although it may accept
// one of those shown.
func (g *Graph) refuses(v *Node, l Leaf, shown []Leaf, now time.Time) (Refusal, bool) {
	if g.Accepts(v, l, now) || !slices.ContainsFunc(shown, func(has Leaf) bool { return g.mayAccept(v, has, l, now) }) {
		return Refusal{}, false
	}
	r := Refusal{Verifier: v.ID, InPlace: v.Roots.Meets(l.Under), Left: v.Left}
	if r.InPlace && now.Before(v.Settles) {
		r.Until = v.Settles
	} else if v.Left {
		r.Until = v.Until
	}
	return r, true
}

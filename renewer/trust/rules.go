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
	want := base.With(n.Foreign.Without(g.gone))
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
	return want.With(renewer.NewRootSet(kept...).Without(g.gone))
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

// Accepts reports whether a verifier takes a leaf: a root of it is in place and
// loaded, and neither has expired.
func (g *Graph) Accepts(v *Node, l Leaf, now time.Time) bool {
	if !now.Before(l.NotAfter) {
		return false
	}
	loaded := v.Loaded
	if !v.Settles.IsZero() && !now.Before(v.Settles) {
		loaded = v.Roots
	}
	return slices.ContainsFunc(l.Under, func(root string) bool { return v.Roots.Has(root) && loaded.Has(root) && g.good(root, now) })
}

// mayAccept is Accepts of what is shown where what is not known counts as
// accepted: it protects. But a verifier of unknown roots that accepts what is shown
// accepts what follows under the same root.
func (g *Graph) mayAccept(v *Node, l, next Leaf, now time.Time) bool {
	if !now.Before(l.NotAfter) {
		return false
	}
	if !l.Under.Known() || !v.Roots.Known() {
		return !l.Under.Meets(next.Under)
	}
	return slices.ContainsFunc(l.Under, func(root string) bool {
		return v.Roots.Has(root) && g.good(root, now) && (!v.Loaded.Known() || v.Loaded.Has(root) || !v.Settles.IsZero())
	})
}

// Refusal is a verifier that would refuse a leaf.
type Refusal struct {
	Verifier ID
	// InPlace: the root is in its ca file, but not known to be loaded; Until is
	// when it counts as loaded, zero: not by time.
	InPlace bool
	Until   time.Time
}

// Refusals returns who would refuse a leaf although they accept what its
// presenter shows now (shown): up to limit, in no order, without those to skip. A presenter that shows
// nothing, or nothing that is accepted, is refused by nobody who would notice.
func (g *Graph) Refusals(n Node, l Leaf, shown []Leaf, now time.Time, limit int, skip func(ID) bool) (out []Refusal) {
	shown = slices.DeleteFunc(slices.Clone(shown), func(has Leaf) bool { // who accepts that accepts this
		return len(has.Under) > 0 && len(has.Under.Without(l.Under)) == 0
	})
	for s := range sides {
		if !n.Shows[s] || len(shown) == 0 {
			continue
		}
		for v := range g.mayLack(s, n.Issuer, l.Under) {
			if v.ID == n.ID && self(v, &n) || skip(v.ID) || g.Accepts(v, l, now) {
				continue
			}
			if !slices.ContainsFunc(shown, func(has Leaf) bool { return g.mayAccept(v, has, l, now) }) {
				continue
			}
			r := Refusal{Verifier: v.ID, InPlace: v.Roots.Meets(l.Under)}
			if r.InPlace && now.Before(v.Settles) {
				r.Until = v.Settles
			}
			out = append(out, r)
			if len(out) >= limit {
				return out
			}
		}
	}
	return out
}

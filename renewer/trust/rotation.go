package trust

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"renewer/renewer"
)

// What a CA that is replaced is waited for.

// Unready returns the verifiers that accept what presenters of an issuer show now,
// and do not have one of the roots in place and loaded: sorted, each once.
func (g *Graph) Unready(issuer string, under renewer.RootSet, now time.Time) (out []Refusal) {
	next := Leaf{Issuer: issuer, Under: under, NotAfter: now.Add(time.Hour)}
	for s := range sides {
		for _, some := range []set{g.mayLack(s, issuer, under, now), g.left[s]} {
			for v := range some {
				if shown := g.accepted(s, v, next, now); shown != nil && v.asked(issuer, nil) {
					if r, refused := g.refuses(v, next, shown, now); refused {
						out = append(out, r)
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Refusal) int { return compare(a.Verifier, b.Verifier) })
	return slices.CompactFunc(out, func(a, b Refusal) bool { return a.Verifier == b.Verifier })
}

// accepted returns leaves that a presenter of the issuer of next shows now and a
// verifier may accept; nil if there is no such presenter.
func (g *Graph) accepted(s Side, v *Node, next Leaf, now time.Time) []Leaf {
	of := func(root string) []Leaf {
		for p := range g.shown[s][root] {
			if self(v, p) || p.Issuer != next.Issuer && !slices.ContainsFunc(p.Leaves, func(l Leaf) bool { return l.Issuer == next.Issuer }) {
				continue
			}
			if slices.ContainsFunc(p.Leaves, func(l Leaf) bool { return g.mayAccept(v, l, next, now) }) {
				return p.Leaves
			}
		}
		return nil
	}
	roots := append(renewer.RootSet{unknown}, v.Roots...)
	if !v.Roots.Known() {
		roots = slices.Collect(maps.Keys(g.rootsOf[s][next.Issuer]))
	}
	for _, root := range roots {
		if shown := of(root); shown != nil {
			return shown
		}
	}
	return nil
}

// Showing is a placement that shows a leaf, and until when at most.
type Showing struct {
	ID
	NotAfter time.Time
	Left     bool // it left the fleet file: nothing renews it
}

// Under returns the placements that show a leaf of an issuer (empty: of any) under a
// root and under none of the others, and issued before a time unless that is zero: sorted.
func (g *Graph) Under(issuer, root string, others renewer.RootSet, before, now time.Time) (out []Showing) {
	last := map[ID]time.Time{}
	for s := range sides {
		for n := range g.shown[s][root] {
			for _, l := range n.Leaves {
				of := (issuer == "" || l.Issuer == issuer || n.Issuer == issuer) && (before.IsZero() || l.IssuedAt.Before(before))
				if of && l.Under.Has(root) && !l.Under.Meets(others) && now.Before(l.NotAfter) && l.NotAfter.After(last[n.ID]) {
					last[n.ID] = l.NotAfter
				}
			}
		}
	}
	for id, end := range last {
		out = append(out, Showing{id, end, g.nodes[id].Left})
	}
	slices.SortFunc(out, func(a, b Showing) int { return cmp.Or(compare(a.ID, b.ID), a.NotAfter.Compare(b.NotAfter)) })
	return out
}

// Loading returns the verifiers out of whose ca file a root is, and whose service was not
// proven to have loaded that: sorted. Where no service is activated, time alone would tell.
func (g *Graph) Loading(root string, now time.Time) (out []ID) {
	for id, n := range g.nodes {
		if n.Placed && !n.over(now) && n.Loaded.Has(root) && n.Roots.Known() && !n.Roots.Has(root) && n.Settles.IsZero() {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// Holders returns the verifiers with a root in their ca file that is not there of
// their owner's: sorted. From one that left the fleet file nothing takes it.
func (g *Graph) Holders(root string, now time.Time) (out []Node) {
	for n := range g.holding[root] {
		if n.Placed && !n.over(now) && (!n.Foreign.Has(root) || g.goneAt(n.Host).Has(root)) {
			out = append(out, *n)
		}
	}
	slices.SortFunc(out, func(a, b Node) int { return compare(a.ID, b.ID) })
	return out
}

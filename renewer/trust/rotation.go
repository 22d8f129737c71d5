package trust

import (
	"cmp"
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
		for v := range g.mayLack(s, issuer, under, now) {
			if g.Accepts(v, next, now) || !g.acceptsAny(s, v, next, now) {
				continue
			}
			r := Refusal{Verifier: v.ID, InPlace: v.Roots.Meets(under)}
			if r.InPlace && now.Before(v.Settles) {
				r.Until = v.Settles
			}
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Refusal) int { return compare(a.Verifier, b.Verifier) })
	return slices.CompactFunc(out, func(a, b Refusal) bool { return a.Verifier == b.Verifier })
}

// acceptsAny reports whether a verifier may accept a leaf that a presenter of the
// issuer of next shows now.
func (g *Graph) acceptsAny(s Side, v *Node, next Leaf, now time.Time) bool {
	any := func(root string) bool {
		for p := range g.shown[s][root] {
			if self(v, p) || p.Issuer != next.Issuer && !slices.ContainsFunc(p.Leaves, func(l Leaf) bool { return l.Issuer == next.Issuer }) {
				continue
			}
			if slices.ContainsFunc(p.Leaves, func(l Leaf) bool { return g.mayAccept(v, l, next, now) }) {
				return true
			}
		}
		return false
	}
	if !v.Roots.Known() {
		for root := range g.rootsOf[s][next.Issuer] {
			if any(root) {
				return true
			}
		}
		return false
	}
	return any(unknown) || slices.ContainsFunc(v.Roots, any)
}

// Showing is a placement that shows a leaf, and until when at most.
type Showing struct {
	ID
	NotAfter time.Time
}

// Under returns the placements that show a leaf of an issuer under a root and under
// none of the others: sorted.
func (g *Graph) Under(issuer, root string, others renewer.RootSet, now time.Time) (out []Showing) {
	last := map[ID]time.Time{}
	for s := range sides {
		for n := range g.shown[s][root] {
			for _, l := range n.Leaves {
				of := l.Issuer == issuer || n.Issuer == issuer
				if of && l.Under.Has(root) && !l.Under.Meets(others) && now.Before(l.NotAfter) && l.NotAfter.After(last[n.ID]) {
					last[n.ID] = l.NotAfter
				}
			}
		}
	}
	for id, end := range last {
		out = append(out, Showing{id, end})
	}
	slices.SortFunc(out, func(a, b Showing) int { return cmp.Or(compare(a.ID, b.ID), a.NotAfter.Compare(b.NotAfter)) })
	return out
}

// Holders returns the verifiers with a root in their ca file that is not there of
// their owner's: sorted.
func (g *Graph) Holders(root string) (out []Node) {
	for n := range g.holding[root] {
		if n.Placed && (!n.Foreign.Has(root) || g.gone.Has(root)) {
			out = append(out, *n)
		}
	}
	slices.SortFunc(out, func(a, b Node) int { return compare(a.ID, b.ID) })
	return out
}

package trust

import (
	"maps"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// group is placements of which the same holds; node and leaf are one of theirs.
type group struct {
	ids    []string
	node   *Node
	leaf   Leaf
	marked bool
	until  time.Time // of verifiers: the last Settles that is still to come
}

// add notes a placement; those of one come together.
func (p *group) add(n *Node) {
	if len(p.ids) == 0 || p.ids[len(p.ids)-1] != n.name {
		p.ids = append(p.ids, n.name)
	}
}

// same stands for a set of roots, of which the graph keeps one copy each.
type same struct {
	first *string
	known bool
}

func sameSet(set renewer.RootSet) same {
	if len(set) == 0 {
		return same{known: set.Known()}
	}
	return same{&set[0], true}
}

type presenterKey struct {
	now, signed             string
	under                   same
	expired, coming, marked bool
}

type verifierKey struct {
	trust                                 string
	roots, loaded                         same
	waits, settled, assumed, marked, left bool
}

// sorted returns all placements by name.
func (g *Graph) sorted() []*Node {
	if g.order == nil {
		g.order = slices.SortedFunc(maps.Values(g.nodes), func(a, b *Node) int { return strings.Compare(a.name, b.name) })
	}
	return g.order
}

// groups puts all placements together of which the same holds on a side.
func (g *Graph) groups(s Side, now time.Time, presents func(*Node, Leaf) bool, checks func(*Node) bool) (presenters, verifiers []*group) {
	byLeaf, byFile := map[presenterKey]*group{}, map[verifierKey]*group{}
	for _, n := range g.sorted() {
		if n.Shows[s] {
			for _, l := range n.Leaves {
				k := presenterKey{n.Issuer, l.Issuer, sameSet(l.Under), !now.Before(l.NotAfter), l.Coming, presents(n, l)}
				p := byLeaf[k]
				if p == nil {
					p = &group{node: n, leaf: l, marked: k.marked}
					byLeaf[k], presenters = p, append(presenters, p)
				}
				if p.add(n); l.NotAfter.Before(p.leaf.NotAfter) {
					p.leaf.NotAfter = l.NotAfter
				}
			}
		}
		if n.Checks[s] && n.Placed && !n.over(now) {
			k := verifierKey{
				strings.Join(n.Trust, " "), sameSet(n.Roots), sameSet(n.Loaded),
				now.Before(n.Settles), !n.Settles.IsZero() && !now.Before(n.Settles), n.Assumed, checks(n), n.Left,
			}
			v := byFile[k]
			if v == nil {
				v = &group{node: n, marked: k.marked}
				byFile[k], verifiers = v, append(verifiers, v)
			}
			if v.add(n); k.waits && n.Settles.After(v.until) {
				v.until = n.Settles
			}
		}
	}
	return presenters, verifiers
}

// pairs calls f for every two groups that are to accept each other or do, with
// how the verifiers take the leaf.
func (g *Graph) pairs(now time.Time, presents func(*Node, Leaf) bool, checks func(*Node) bool, f func(s Side, p, v *group, state renewer.Acceptance)) {
	for s := range sides {
		presenters, verifiers := g.groups(s, now, presents, checks)
		for _, p := range presenters {
			for _, v := range verifiers {
				state := g.Verdict(v.node, p.leaf, now)
				if state.Works() || slices.Contains(v.node.Trust, p.node.Issuer) || slices.Contains(v.node.Trust, p.leaf.Issuer) {
					f(s, p, v, state)
				}
			}
		}
	}
}

var sideUsage = [sides]renewer.Usage{Server: renewer.UsageServer, Client: renewer.UsageClient}

// Matrix returns who is to accept whom, and whether they do, of the certificates
// that are named (nil: all).
func (g *Graph) Matrix(now time.Time, named func(certificate string) bool) []renewer.TrustPair {
	is := func(n *Node) bool { return named == nil || named(n.Certificate) }
	out := []renewer.TrustPair{}
	g.pairs(now, func(n *Node, _ Leaf) bool { return is(n) }, is, func(s Side, p, v *group, state renewer.Acceptance) {
		if !p.marked && !v.marked {
			return
		}
		pair := renewer.TrustPair{
			Presenters: p.ids, As: sideUsage[s], Issuer: p.leaf.Issuer, Under: p.leaf.Under, NotAfter: p.leaf.NotAfter, Verifiers: v.ids, State: state, Coming: p.leaf.Coming,
		}
		switch state {
		case renewer.NotLoaded:
			pair.Until = v.until
		case renewer.HasExpired:
			if pair.Since = p.leaf.NotAfter; now.Before(pair.Since) {
				pair.Since = g.lastEnd(v.node, p.leaf.Under)
			}
		}
		out = append(out, pair)
	})
	out = join(out, func(p *renewer.TrustPair) (pairKind, *[]string) {
		return pairKind{&p.Presenters[0], len(p.Presenters), p.As, p.Issuer, sameSet(p.Under), p.State, p.Until.UnixNano(), p.Since.UnixNano(), p.Coming}, &p.Verifiers
	})
	slices.SortFunc(out, func(a, b renewer.TrustPair) int {
		return strings.Compare(order(a.State, a.As, a.Presenters, a.Verifiers, a.Under), order(b.State, b.As, b.Presenters, b.Verifiers, b.Under))
	})
	return out
}

// order has what is wrong first.
func order(state renewer.Acceptance, as renewer.Usage, presenters, verifiers []string, under renewer.RootSet) string {
	rank := slices.Index([]renewer.Acceptance{renewer.NoRoot, renewer.HasExpired, renewer.NotLoaded, renewer.NotKnown, renewer.Assumed}, state)
	if rank < 0 {
		rank = 9
	}
	return strings.Join([]string{string(rune('0' + rank)), presenters[0], string(as), verifiers[0], strings.Join(under, " ")}, "\x00")
}

// lastEnd returns when the last of the roots expires that lead from a leaf into
// a ca file.
func (g *Graph) lastEnd(v *Node, under renewer.RootSet) (end time.Time) {
	for _, root := range under {
		if v.Roots.Has(root) && g.expires[root].After(end) {
			end = g.expires[root]
		}
	}
	return end
}

// Suppose is what an impact supposes of the leaves that are meant, or of roots.
type Suppose struct {
	Case   renewer.ImpactCase         // but for renewed: see Renewed
	Leaves func(n *Node, l Leaf) bool // nil: it is about Roots
	End    time.Time                  // of the CA that signed them, if that is meant
	Roots  renewer.RootSet
}

// Impact returns who would refuse whom of those that accept each other now.
func (g *Graph) Impact(now time.Time, s Suppose) []renewer.Refusal {
	out := []renewer.Refusal{}
	leaves := s.Leaves
	if leaves == nil {
		leaves = func(_ *Node, l Leaf) bool { return l.Under.Meets(s.Roots) }
	}
	g.pairs(now, leaves, func(*Node) bool { return false }, func(side Side, p, v *group, state renewer.Acceptance) {
		if !p.marked || p.leaf.Coming || !state.Works() && (state != renewer.NotKnown || s.Leaves == nil) {
			return
		}
		r := renewer.Refusal{
			Presenters: p.ids, As: sideUsage[side], Issuer: p.leaf.Issuer, Under: p.leaf.Under, Verifiers: v.ids, State: renewer.WouldExpire, Since: p.leaf.NotAfter,
		}
		if s.Leaves == nil {
			without := *v.node
			without.Roots = v.node.Roots.Without(s.Roots)
			if g.Accepts(&without, p.leaf, now) {
				return
			}
			r.Since = g.lastEnd(v.node, s.Roots)
			if s.Case == renewer.ImpactRemoved {
				r.State, r.Since = renewer.NoRoot, now
			}
		} else if s.Case == renewer.ImpactExpired && !s.End.IsZero() && s.End.Before(r.Since) {
			r.Since = s.End
		}
		if s.Case == renewer.ImpactRevoked {
			r.State, r.Since = renewer.IfChecked, now
		}
		out = append(out, r)
	})
	return sortRefusals(out)
}

// pairKind is all of a pair but its verifiers; the presenters of a group are one list.
type pairKind struct {
	presenters   *string
	n            int
	as           renewer.Usage
	issuer       string
	under        same
	state        renewer.Acceptance
	until, since int64
	coming       bool
}

// join makes one of pairs that differ only in who checks.
func join[T any](list []T, kind func(*T) (pairKind, *[]string)) []T {
	at := map[pairKind]int{}
	out := make([]T, 0, len(list))
	for i := range list {
		k, more := kind(&list[i])
		if n, had := at[k]; had {
			_, verifiers := kind(&out[n])
			*verifiers = slices.Concat(*verifiers, *more)
			slices.Sort(*verifiers)
			continue
		}
		at[k] = len(out)
		out = append(out, list[i])
	}
	return out
}

func sortRefusals(out []renewer.Refusal) []renewer.Refusal {
	out = join(out, func(r *renewer.Refusal) (pairKind, *[]string) {
		return pairKind{presenters: &r.Presenters[0], n: len(r.Presenters), as: r.As, issuer: r.Issuer, under: sameSet(r.Under), state: r.State, since: r.Since.UnixNano()}, &r.Verifiers
	})
	slices.SortFunc(out, func(a, b renewer.Refusal) int {
		return strings.Compare(order(a.State, a.As, a.Presenters, a.Verifiers, a.Under), order(b.State, b.As, b.Presenters, b.Verifiers, b.Under))
	})
	return out
}

// Renewal is a certificate that brings another leaf.
type Renewal struct {
	Node        // of one of its placements
	IDs  []ID   // all
	Next Leaf   // what it brings
	Now  []Leaf // what it shows
}

// Renewed returns what Refusals does of many certificates at once, together
// where the same holds.
func (g *Graph) Renewed(list []Renewal, now time.Time) []renewer.Refusal {
	type key struct {
		issuer, under, shown string
		shows                [sides]bool
	}
	var kinds []*Renewal
	known := map[key]*Renewal{}
	for _, r := range list {
		r.Now = further(r.Now, r.Next)
		var shown strings.Builder
		counts := false
		for _, l := range r.Now {
			shown.WriteString(l.Issuer + ":") // which says who is asked, also where it has expired
			if now.Before(l.NotAfter) {
				counts = true
				shown.WriteString(strings.Join(l.roots(), " ") + ";")
			}
		}
		k := key{r.Issuer, strings.Join(r.Next.roots(), " "), shown.String(), r.Shows}
		if had := known[k]; had != nil {
			had.IDs = append(had.IDs, r.IDs...)
		} else if counts && r.Next.Under.Known() {
			r.IDs = slices.Clone(r.IDs)
			known[k], kinds = &r, append(kinds, &r)
		}
	}
	out := []renewer.Refusal{}
	if len(kinds) == 0 {
		return out
	}
	nothing := func(*Node, Leaf) bool { return false }
	for s := range sides {
		_, verifiers := g.groups(s, now, nothing, func(*Node) bool { return false })
		for _, r := range kinds {
			if !r.Shows[s] {
				continue
			}
			p := group{}
			for _, id := range r.IDs {
				p.ids = append(p.ids, id.String())
			}
			slices.Sort(p.ids)
			for _, v := range verifiers {
				if !v.node.asked(r.Issuer, r.Now) {
					continue
				}
				found, refused := g.refuses(v.node, r.Next, r.Now, now)
				if !refused {
					continue
				}
				state := renewer.NoRoot
				if found.InPlace {
					state = renewer.NotLoaded
				}
				out = append(out, renewer.Refusal{
					Presenters: p.ids, As: sideUsage[s], Issuer: r.Issuer, Under: r.Next.Under, Verifiers: v.ids, State: state, Since: now,
				})
			}
		}
	}
	return sortRefusals(out)
}

// Holding returns how many placements show a leaf under a root, in how many ca
// files it is, and in which of those it is foreign.
func (g *Graph) Holding(root string) (presenters, verifiers int, foreign []string) {
	for n := range g.holding[root] {
		if n.Foreign.Has(root) {
			foreign = append(foreign, n.String())
		}
	}
	slices.Sort(foreign)
	found := set{}
	for s := range sides {
		for n := range g.shown[s][root] {
			found[n] = struct{}{}
		}
	}
	return len(found), len(g.holding[root]), foreign
}

// ForeignIn returns the placements in whose ca file a root is kept because it was
// found there.
func (g *Graph) ForeignIn(root string) (out []ID) {
	for id, n := range g.nodes {
		if n.Foreign.Has(root) {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, compare)
	return out
}

// Holds returns who needs a root to stay in a ca file even if it were not
// foreign: those that present a leaf under it there. What is not known protects,
// as in Wanted.
func (g *Graph) Holds(id ID, root string, base renewer.RootSet, now time.Time) (presenters []ID) {
	known, ok := g.nodes[id]
	if !ok {
		return nil
	}
	n := *known
	n.Foreign = n.Foreign.Without(renewer.RootSet{root})
	if !base.Known() {
		base = renewer.RootSet{}
	}
	if !g.wanted(n, base, now).Has(root) {
		return nil
	}
	found := set{}
	for s := range sides {
		for _, under := range []string{root, unknown} {
			for p := range g.shown[s][under] {
				if n.Checks[s] && slices.ContainsFunc(p.Leaves, func(l Leaf) bool { return now.Before(l.NotAfter) && l.roots().Has(under) }) {
					found[p] = struct{}{}
				}
			}
		}
	}
	return ids(found)
}

// AcceptedBy returns the verifiers that accept what a placement shows.
func (g *Graph) AcceptedBy(id ID, now time.Time) []ID {
	n, ok := g.nodes[id]
	if !ok {
		return nil
	}
	found := set{}
	for s := range sides {
		for _, l := range n.Leaves {
			for _, root := range l.Under {
				for v := range g.holding[root] {
					if n.Shows[s] && v.Checks[s] && !v.over(now) && g.Accepts(v, l, now) {
						found[v] = struct{}{}
					}
				}
			}
		}
	}
	return ids(found)
}

func ids(of set) []ID {
	out := make([]ID, 0, len(of))
	for n := range of {
		out = append(out, n.ID)
	}
	slices.SortFunc(out, compare)
	return out
}

package engine

import (
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// trusts returns the graph of who accepts whom. It is made when it is first
// asked for, and kept as records are written.
func (e *Engine) trusts() *trust.Graph {
	if e.graph == nil {
		e.stock(func(int, *entry, bool) {})
	}
	return e.graph
}

// regraph takes what is known of a certificate into the graph. Verifiers whose
// ca file may have to change because of it are planned again.
func (e *Engine) regraph(name string, nodes []trust.Node) {
	if e.graph == nil {
		return
	}
	for _, id := range e.graph.Replace(name, nodes) {
		if _, ok := e.fleet.byName[id.Certificate]; ok {
			e.unplanned[id.Certificate] = true
		}
	}
	e.regated(name)
}

// nodes returns the placements of a certificate as the graph has them.
func (e *Engine) nodes(en *entry) []trust.Node {
	out := make([]trust.Node, 0, len(en.cert.Placements))
	for _, p := range en.cert.Placements {
		out = append(out, e.node(en, p))
	}
	return append(out, e.left(en.cert.Name, e.departures(en.cert, en.rec))...)
}

func (e *Engine) departures(c renewer.Certificate, rec renewer.Record) []renewer.Departed {
	return rec.Departures(c, e.generationOf(&entry{cert: c, rec: rec}), e.retired, e.Now())
}

// left returns what left the fleet file as the graph has it.
func (e *Engine) left(name string, list []renewer.Departed) (out []trust.Node) {
	for _, d := range list {
		if e.fleet.Retired[d.Host] || e.taken[name][d.Host] {
			continue
		}
		n := trust.Left(name, d)
		if d.State != nil {
			st := *d.State
			st.Unseen = "" // a backup knows it as well as what was made of it: nothing has changed it since
			n.Leaves = e.shown(&entry{cert: renewer.Certificate{Name: name, Issuer: d.Issuer, Usages: d.Usages}}, st)
			if n.Placed {
				verifies(&n, st, d.Role, d.NotAfter)
			}
			n.Foreign = nil // nothing drops them
		}
		out = append(out, n)
	}
	return out
}

// leftFile reports whether a placement left the fleet file.
func (e *Engine) leftFile(id trust.ID) bool {
	n, ok := e.trusts().Node(id)
	return ok && n.Left
}

func (e *Engine) node(en *entry, p renewer.Placement) trust.Node {
	role := en.cert.Role(p)
	n := trust.NewNode(trust.ID{Certificate: en.cert.Name, Host: p.Host}, en.cert.Issuer, role)
	st := en.rec.Placements[p.Host]
	n.Leaves = e.shown(en, st)
	if en.open() && en.rolling != nil {
		if s, ok := en.rec.Rollout.Step(p.Host); ok && !s.State.Over() {
			next := e.leafOf(en.rolling)
			next.Coming = true
			n.Leaves = appendLeaf(n.Leaves, next)
		}
	}
	if _, has := p.Files[renewer.FileCA]; !has {
		return n
	}
	if !st.Placed() {
		switch s, _ := e.step(en, p.Host); {
		case st.Origin == renewer.OriginForeign && st.Seen != nil:
			n.Placed, n.Roots, n.Loaded, n.Foreign = true, st.Seen.Roots, st.Seen.Roots, st.Foreign
		case st.Origin != renewer.OriginNone && (s.State == "" || s.State == renewer.StepPending): // no one has looked
			n.Placed = true
		}
		return n
	}
	verifies(&n, st, role, e.Now().Add(en.cert.Lifetime))
	return n
}

// verifies takes in the ca file of a placement; until is how long what it shows may
// count where that is not known.
func verifies(n *trust.Node, st renewer.PlacementState, r renewer.Role, until time.Time) {
	n.Placed = true
	if st.Undiscovered() { // what is there may be another thing altogether
		n.Leaves = append(n.Leaves, trust.Leaf{Issuer: n.Issuer, NotAfter: until})
		return
	}
	n.Roots, n.Foreign, n.Unwanted = st.Roots, st.Foreign, st.Unwanted
	if st.Seen != nil {
		n.Roots = st.Seen.Roots
	}
	n.Loaded, n.Settles = st.LoadedRoots(r)
	n.Assumed = r.Settle > 0
}

// step returns the step of an open rollout on a host.
func (e *Engine) step(en *entry, host string) (renewer.Step, bool) {
	if en.open() {
		if s, ok := en.rec.Rollout.Step(host); ok {
			return *s, true
		}
	}
	return renewer.Step{}, false
}

// shown returns the leaves that a placement may show now: those at its live
// names, and the one that its service has loaded.
func (e *Engine) shown(en *entry, st renewer.PlacementState) (out []trust.Leaf) {
	if en.cert.IsBundle() || !st.Placed() && st.Seen == nil {
		return nil
	}
	find := e.generationOf(en)
	add := func(number int) {
		if g := find(number); g != nil && g.RevokedAt.IsZero() {
			out = appendLeaf(out, e.leafOf(g))
		}
	}
	if st.Origin != renewer.OriginForeign {
		add(st.Generation)
	}
	if st.Loaded != nil && st.Loaded.Generation != st.Generation {
		add(st.Loaded.Generation)
	}
	if seen := st.Seen; seen != nil && seen.Leaf != "" {
		out = appendLeaf(out, trust.Leaf{Issuer: en.cert.Issuer, Under: seen.Under, NotAfter: time.Unix(seen.NotAfter, 0)})
	}
	return out
}

func appendLeaf(list []trust.Leaf, l trust.Leaf) []trust.Leaf {
	same := func(has trust.Leaf) bool { return has.Under.Same(l.Under) && has.NotAfter.Equal(l.NotAfter) }
	if slices.ContainsFunc(list, same) {
		return list
	}
	return append(list, l)
}

func (e *Engine) leafOf(g *renewer.Generation) trust.Leaf {
	l := trust.LeafOf(g)
	l.Under = e.roots.under(g)
	return l
}

// wanted returns the roots that belong into the ca files of a certificate now.
func (e *Engine) wanted(en *entry) renewer.WantedRoots {
	return func(host string) renewer.RootSet {
		p, ok := en.cert.Placement(host)
		if _, has := p.Files[renewer.FileCA]; !ok || !has {
			return nil
		}
		return e.trusts().Wanted(e.node(en, p), e.roots.base(en.cert.Trust...), e.Now())
	}
}

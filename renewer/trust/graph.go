package trust

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unique"

	"renewer/renewer"
)

type set map[*Node]struct{}

// Graph is all placements of a fleet, and indexes over them.
type Graph struct {
	nodes   map[ID]*Node
	hosts   map[string][]string  // by certificate
	expires map[string]time.Time // notAfter of roots
	gone    map[string][]string  // see Ban
	sets    map[string]renewer.RootSet
	order   []*Node // sorted; nil: to be sorted when somebody asks

	shown     [sides]map[string]set            // by root: presenters with a leaf under it
	rootsOf   [sides]map[string]map[string]int // by issuer: the roots of its presenters' leaves
	verifiers [sides]map[string]set            // by issuer that they trust
	left      [sides]set                       // verifiers that left the fleet file
	holding   map[string]set                   // by root: verifiers with it in place
	lacking   [sides]map[string]map[string]set // by issuer and roots asked for: who may not have one
}

// New returns an empty graph.
func New() *Graph {
	g := &Graph{nodes: map[ID]*Node{}, hosts: map[string][]string{}, expires: map[string]time.Time{}, sets: map[string]renewer.RootSet{}, holding: map[string]set{}}
	for s := range sides {
		g.shown[s], g.rootsOf[s], g.verifiers[s] = map[string]set{}, map[string]map[string]int{}, map[string]set{}
		g.lacking[s], g.left[s] = map[string]map[string]set{}, set{}
	}
	return g
}

// Know notes until when a root can be accepted at all.
func (g *Graph) Know(root string, notAfter time.Time) { g.expires[root] = notAfter }

// Ban says which roots no leaf keeps in a ca file any more, whatever presents one: an
// operator had them go. But for the ca files of the hosts that are named with a root:
// what was gone on without is still each other's peer there.
func (g *Graph) Ban(roots map[string][]string) { g.gone = roots }

// goneAt are the roots that no leaf keeps in the ca files of a host.
func (g *Graph) goneAt(host string) (out renewer.RootSet) {
	if len(g.gone) == 0 {
		return nil
	}
	var roots []string
	for root, spared := range g.gone {
		if !slices.Contains(spared, host) {
			roots = append(roots, root)
		}
	}
	return renewer.NewRootSet(roots...)
}

// Node returns what is known of a placement.
func (g *Graph) Node(id ID) (Node, bool) {
	n, ok := g.nodes[id]
	if !ok {
		return Node{}, false
	}
	return *n, true
}

// Put replaces what is known of a placement. It returns the verifiers whose ca
// file may have to change because of that: a root of it is shown by no one any
// more, or by somebody for the first time.
func (g *Graph) Put(n Node) (affected []ID) {
	old := g.nodes[n.ID]
	var before, after [sides]map[string]bool
	for s := range sides {
		before[s] = g.presence(s, old, &n)
	}
	g.put(&n)
	found := map[ID]bool{}
	for s := range sides {
		after[s] = g.presence(s, old, &n)
		for root, was := range before[s] {
			if was == after[s][root] {
				continue
			}
			for v := range g.holding[root] {
				found[v.ID] = found[v.ID] || v.Checks[s]
			}
			if after[s][root] {
				g.trusting(s, n, func(v *Node) { found[v.ID] = true })
			}
		}
	}
	for id, is := range found {
		if is {
			affected = append(affected, id)
		}
	}
	return affected
}

// Load takes in a certificate of which nothing is known yet, and asks not whom
// that concerns.
func (g *Graph) Load(certificate string, nodes []Node) {
	hosts := make([]string, 0, len(nodes))
	for i := range nodes {
		g.put(&nodes[i])
		hosts = append(hosts, nodes[i].Host)
	}
	g.hosts[certificate] = hosts
}

func (g *Graph) put(n *Node) {
	if old := g.nodes[n.ID]; old != nil {
		g.unindex(old)
	}
	if len(n.Leaves) == 0 && !n.Placed {
		delete(g.nodes, n.ID)
		g.order = nil
		return
	}
	g.share(n)
	n.name = n.String()
	g.reorder(n)
	g.nodes[n.ID] = n
	g.index(n)
}

// reorder puts a node where the one of its placement is in order, if that is
// known.
func (g *Graph) reorder(n *Node) {
	i, found := slices.BinarySearchFunc(g.order, n.name, func(o *Node, name string) int { return strings.Compare(o.name, name) })
	if found && g.order[i].ID == n.ID {
		g.order[i] = n
	} else {
		g.order = nil
	}
}

// share has nodes hold the same sets of roots, of which there are few, instead
// of those of the records that they were made from.
func (g *Graph) share(n *Node) {
	one := func(set *renewer.RootSet) {
		if len(*set) == 0 {
			return
		}
		key := strings.Join(*set, " ")
		if _, kept := g.sets[key]; !kept {
			g.sets[key] = strings.Fields(key)
		}
		*set = g.sets[key]
	}
	for i := range n.Leaves {
		one(&n.Leaves[i].Under)
		n.Leaves[i].Issuer = unique.Make(n.Leaves[i].Issuer).Value()
	}
	one(&n.Roots)
	one(&n.Loaded)
	one(&n.Foreign)
}

// Replace replaces all that is known of one certificate; see Put.
func (g *Graph) Replace(certificate string, nodes []Node) (affected []ID) {
	hosts := make([]string, 0, len(nodes))
	for _, n := range nodes {
		affected = append(affected, g.Put(n)...)
		hosts = append(hosts, n.Host)
	}
	for _, host := range g.hosts[certificate] {
		if !slices.Contains(hosts, host) {
			affected = append(affected, g.Put(Node{ID: ID{certificate, host}})...)
		}
	}
	g.hosts[certificate] = hosts
	return affected
}

// trusting calls f for the verifiers that are to accept a presenter.
func (g *Graph) trusting(s Side, n Node, f func(*Node)) {
	for _, issuer := range issuers(&n) {
		for v := range g.verifiers[s][issuer] {
			f(v)
		}
	}
}

// presence says which of the roots of two states of a node are shown at all.
func (g *Graph) presence(s Side, nodes ...*Node) map[string]bool {
	out := map[string]bool{}
	for _, n := range nodes {
		if n == nil {
			continue
		}
		for _, l := range n.Leaves {
			for _, root := range l.roots() {
				out[root] = len(g.shown[s][root]) > 0
			}
		}
	}
	return out
}

// issuers are the names under which verifiers know a presenter.
func issuers(n *Node) []string {
	out := []string{n.Issuer}
	for _, l := range n.Leaves {
		if !slices.Contains(out, l.Issuer) {
			out = append(out, l.Issuer)
		}
	}
	return out
}

func (g *Graph) index(n *Node) {
	for s := range sides {
		if n.Shows[s] {
			for _, l := range n.Leaves {
				for _, root := range l.roots() {
					put(g.shown[s], root, n)
					for _, issuer := range issuers(n) {
						if g.rootsOf[s][issuer] == nil {
							g.rootsOf[s][issuer] = map[string]int{}
						}
						g.rootsOf[s][issuer][root]++
					}
				}
			}
		}
		if n.Checks[s] && n.Placed && n.Left {
			g.left[s][n] = struct{}{}
		} else if n.Checks[s] && n.Placed {
			for _, issuer := range n.Trust {
				put(g.verifiers[s], issuer, n)
				for under, lacking := range g.lacking[s][issuer] {
					if !n.has(under) {
						lacking[n] = struct{}{}
					}
				}
			}
		}
	}
	for _, root := range n.Roots {
		put(g.holding, root, n)
	}
}

func (g *Graph) unindex(n *Node) {
	for s := range sides {
		for _, l := range n.Leaves {
			for _, root := range l.roots() {
				cut(g.shown[s], root, n)
				for _, issuer := range issuers(n) {
					if n.Shows[s] {
						if g.rootsOf[s][issuer][root]--; g.rootsOf[s][issuer][root] <= 0 {
							delete(g.rootsOf[s][issuer], root)
						}
					}
				}
			}
		}
		delete(g.left[s], n)
		for _, issuer := range n.Trust {
			cut(g.verifiers[s], issuer, n)
			for _, lacking := range g.lacking[s][issuer] {
				delete(lacking, n)
			}
		}
	}
	for _, root := range n.Roots {
		cut(g.holding, root, n)
	}
}

func put(m map[string]set, key string, n *Node) {
	if m[key] == nil {
		m[key] = set{}
	}
	m[key][n] = struct{}{}
}

func cut(m map[string]set, key string, n *Node) {
	if delete(m[key], n); len(m[key]) == 0 {
		delete(m, key)
	}
}

// has reports whether one of the roots is in place and loaded, whatever the
// time. The key is that of a lacking set.
func (n *Node) has(key string) bool {
	return slices.ContainsFunc(strings.Fields(key), func(root string) bool { return n.Roots.Has(root) && n.Loaded.Has(root) })
}

// mayLack returns the verifiers of an issuer that may not have one of the roots
// in place and loaded, of those that have not expired. It is kept from the first
// time that somebody asks.
func (g *Graph) mayLack(s Side, issuer string, under renewer.RootSet, now time.Time) set {
	if slices.ContainsFunc(under, func(root string) bool { return !g.good(root, now) }) {
		under = slices.DeleteFunc(slices.Clone(under), func(root string) bool { return !g.good(root, now) })
	}
	key := strings.Join(under, " ")
	if g.lacking[s][issuer] == nil {
		g.lacking[s][issuer] = map[string]set{}
	}
	lacking, kept := g.lacking[s][issuer][key]
	if !kept {
		lacking = set{}
		for n := range g.verifiers[s][issuer] {
			if !n.has(key) {
				lacking[n] = struct{}{}
			}
		}
		g.lacking[s][issuer][key] = lacking
	}
	return lacking
}

// Presenters returns the placements that show a leaf under a root.
func (g *Graph) Presenters(root string) []ID {
	found := set{}
	for s := range sides {
		maps.Copy(found, g.shown[s][root])
	}
	return ids(found)
}

func compare(a, b ID) int { return strings.Compare(a.String(), b.String()) }

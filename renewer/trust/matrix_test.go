package trust

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"renewer/renewer"
)

var someRoots = []string{"A", "B", "C"}

func drawSet(t *rapid.T, label string) renewer.RootSet {
	if rapid.IntRange(0, 9).Draw(t, label+" unknown") == 0 {
		return nil
	}
	return renewer.NewRootSet(rapid.SliceOfN(rapid.SampledFrom(someRoots), 0, 3).Draw(t, label)...)
}

func drawLeaf(t *rapid.T, now time.Time) Leaf {
	return Leaf{
		Issuer: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "signed by"), Under: drawSet(t, "under"), IssuedAt: t0,
		NotAfter: now.Add(time.Duration(rapid.IntRange(-1, 3).Draw(t, "days left"))*24*time.Hour + time.Minute),
	}
}

func drawNode(t *rapid.T, now time.Time) Node {
	name := rapid.SampledFrom([]string{"s", "d", "c", "w"}).Draw(t, "name")
	n := Node{ID: ID{name, rapid.SampledFrom([]string{"h", "i"}).Draw(t, "host")}, Issuer: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "issuer")}
	kind := rapid.SampledFrom([]string{"server", "client", "both", "bundle"}).Draw(t, "kind")
	n.Shows = [sides]bool{Server: kind == "server" || kind == "both", Client: kind == "client" || kind == "both"}
	n.Trust = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b"}), 1, 2, rapid.ID[string]).Draw(t, "trust")
	if kind != "bundle" {
		for range rapid.IntRange(0, 2).Draw(t, "leaves") {
			n.Leaves = append(n.Leaves, drawLeaf(t, now))
		}
	}
	if n.Placed = rapid.Bool().Draw(t, "placed"); n.Placed {
		n.Checks = [sides]bool{Client: n.Shows[Server], Server: n.Shows[Client] || kind == "bundle"}
		n.Roots, n.Loaded, n.Assumed = drawSet(t, "roots"), drawSet(t, "loaded"), rapid.Bool().Draw(t, "assumed")
		n.Settles = rapid.SampledFrom([]time.Time{{}, now.Add(-time.Hour), now.Add(time.Hour)}).Draw(t, "settles")
		if len(n.Roots) > 0 && rapid.Bool().Draw(t, "foreign") {
			n.Foreign = n.Roots[:1]
		}
	}
	if n.Left = rapid.IntRange(0, 2).Draw(t, "left") == 0; n.Left {
		n.Until = rapid.SampledFrom([]time.Time{{}, now, now.Add(time.Hour)}).Draw(t, "counts until")
	}
	return n
}

func drawGraph(t *rapid.T, now time.Time) *Graph {
	g := New()
	g.Know("C", now.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "end of C"))*time.Hour))
	for range rapid.IntRange(1, 12).Draw(t, "puts") {
		g.Put(drawNode(t, now))
		g.Matrix(now, nil) // whatever is kept of one answer must not spoil the next
	}
	return g
}

type pairKey struct {
	presenter, verifier string
	as                  renewer.Usage
	state               renewer.Acceptance
}

// eachPair goes over every two placements and leaf, one by one.
func eachPair(g *Graph, now time.Time, f func(s Side, p, v *Node, l Leaf, state renewer.Acceptance)) {
	for s := range sides {
		for _, p := range g.nodes {
			for _, v := range g.nodes {
				if !p.Shows[s] || !v.Checks[s] || !v.Placed || v.over(now) {
					continue
				}
				for _, l := range p.Leaves {
					state := g.Verdict(v, l, now)
					if slices.Contains(v.Trust, p.Issuer) || slices.Contains(v.Trust, l.Issuer) || state.Works() {
						f(s, p, v, l, state)
					}
				}
			}
		}
	}
}

// What is shown together is what holds of each, and a verdict accepts exactly what
// the gate takes for accepted.
func TestMatrixIsWhatHoldsOfEachPair(t *testing.T) {
	t.Parallel()
	now := t0.Add(24 * time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, now)
		want, got := map[pairKey]bool{}, map[pairKey]bool{}
		eachPair(g, now, func(s Side, p, v *Node, l Leaf, state renewer.Acceptance) {
			want[pairKey{p.String(), v.String(), sideUsage[s], state}] = true
			if state.Works() != g.Accepts(v, l, now) {
				t.Fatalf("%s of %+v by %+v", state, l, v)
			}
		})
		for _, pair := range g.Matrix(now, nil) {
			for _, p := range pair.Presenters {
				for _, v := range pair.Verifiers {
					got[pairKey{p, v, pair.As, pair.State}] = true
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// An impact cannot say something else than the gate does.
func TestRenewedIsWhatTheGateSays(t *testing.T) {
	t.Parallel()
	now := t0.Add(24 * time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, now)
		next := renewer.NewRootSet(rapid.SliceOfN(rapid.SampledFrom(someRoots), 1, 2).Draw(t, "next")...)
		var list []Renewal
		want, got := map[string]bool{}, map[string]bool{}
		for _, n := range g.nodes {
			r := Renewal{Node: *n, IDs: []ID{n.ID}, Next: Leaf{Issuer: n.Issuer, Under: next, IssuedAt: now, NotAfter: now.Add(time.Hour * 100)}, Now: n.Leaves}
			list = append(list, r)
			for _, refusal := range g.Refusals(r.Node, r.Next, r.Now, now, 1000, nobody) {
				want[fmt.Sprintf("%s %s %t", n.ID, refusal.Verifier, refusal.InPlace)] = true
			}
		}
		for _, r := range g.Renewed(list, now) {
			for _, p := range r.Presenters {
				for _, v := range r.Verifiers {
					got[fmt.Sprintf("%s %s %t", p, v, r.State == renewer.NotLoaded)] = true
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// The one who left the fleet file and is known to accept what is shown refuses what it
// does not accept afterwards, whatever its trust: said; one whose roots are not known,
// of its own issuer alone.
func TestWhatLeftRefusesWhatItDoesNotAccept(t *testing.T) {
	t.Parallel()
	now := t0.Add(24 * time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, now)
		next := renewer.NewRootSet(rapid.SliceOfN(rapid.SampledFrom(someRoots), 1, 2).Draw(t, "next")...)
		for _, n := range g.nodes {
			l := Leaf{Issuer: n.Issuer, Under: next, IssuedAt: now, NotAfter: now.Add(time.Hour)}
			refused := map[ID]bool{}
			for _, r := range g.Refusals(*n, l, n.Leaves, now, 1000, nobody) {
				refused[r.Verifier] = r.Left
			}
			waits := map[ID]bool{}
			for _, r := range g.Unready(n.Issuer, next, now) {
				waits[r.Verifier] = true
			}
			for s := range sides {
				for _, v := range g.nodes {
					if !n.Shows[s] || !v.Checks[s] || !v.Placed || !v.Left || self(v, n) {
						continue
					}
					works := slices.ContainsFunc(further(n.Leaves, l), func(has Leaf) bool { return g.Accepts(v, has, now) })
					switch {
					case v.over(now) && (refused[v.ID] || waits[v.ID]):
						t.Fatalf("%s counts no longer, and is waited for", v.ID)
					case !v.over(now) && works && !g.Accepts(v, l, now) && (!refused[v.ID] || !waits[v.ID]):
						t.Fatalf("%s refuses what %s brings: %v, %v", v.ID, n.ID, refused, waits)
					case !v.Roots.Known() && refused[v.ID] && !v.asked(n.Issuer, n.Leaves):
						t.Fatalf("%s is not known to accept anything of %s", v.ID, n.ID)
					}
				}
			}
		}
	})
}

// A root that is removed, or a leaf that expires, is missed by exactly those who
// accept something by it now and by nothing else.
func TestImpactIsWhoAcceptsNowAndNotThen(t *testing.T) {
	t.Parallel()
	now := t0.Add(24 * time.Hour)
	rapid.Check(t, func(t *rapid.T) {
		g := drawGraph(t, now)
		want, got := map[pairKey]bool{}, map[pairKey]bool{}
		eachPair(g, now, func(s Side, p, v *Node, l Leaf, state renewer.Acceptance) {
			without := *v
			without.Roots = v.Roots.Without(renewer.RootSet{"A"})
			if l.Under.Has("A") && state.Works() && !g.Accepts(&without, l, now) {
				want[pairKey{p.String(), v.String(), sideUsage[s], renewer.NoRoot}] = true
			}
		})
		for _, r := range g.Impact(now, Suppose{Case: renewer.ImpactRemoved, Roots: renewer.RootSet{"A"}}) {
			for _, p := range r.Presenters {
				for _, v := range r.Verifiers {
					got[pairKey{p, v, r.As, r.State}] = true
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// What Holds says of a foreign root is what Wanted does without it.
func TestAForeignRootIsHeldByWhoNeedsItAlone(t *testing.T) {
	t.Parallel()
	s := foreign(server("s", leaf("a", "A"), "A", "F"), "F")
	for name, tc := range map[string]struct {
		others []Node
		want   string
	}{
		"missing":                         {nil, ""},
		"a client under it":               {[]Node{client("c", leaf("a", "F"), "A")}, "[c@h-c]"},
		"a client that has another too":   {[]Node{client("c", leaf("a", "A", "F"), "A")}, ""},
		"a client that expired":           {[]Node{client("c", issuedUntil(leaf("a", "F"), t0), "A")}, ""},
		"a server, which it does not ask": {[]Node{server("d", leaf("a", "F"), "A")}, ""},
		"a client of unknown roots":       {[]Node{client("c", Leaf{Issuer: "a", NotAfter: t0.Add(time.Hour)}, "A")}, "[c@h-c]"},
	} {
		g := graph(append(tc.others, s)...)
		got := fmt.Sprint(g.Holds(s.ID, "F", renewer.NewRootSet("A"), t0.Add(time.Minute)))
		if got = map[bool]string{true: "", false: got}[got == "[]"]; got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
		if in := g.ForeignIn("F"); len(in) != 1 || in[0] != s.ID {
			t.Errorf("%s: foreign in %v", name, in)
		}
	}
}

func issuedUntil(l Leaf, end time.Time) Leaf {
	l.NotAfter = end
	return l
}

func TestAcceptedByNamesVerifiers(t *testing.T) {
	t.Parallel()
	old := Left("old@h", renewer.Departed{Host: "h", Usages: []renewer.Usage{renewer.UsageServer}, Issuer: "a", Under: renewer.NewRootSet("A"), NotAfter: t0.Add(time.Hour)})
	g := graph(old, client("c", leaf("a", "A"), "A"), client("d", leaf("a", "B"), "B"), server("s", leaf("a", "A"), "A"))
	if got := fmt.Sprint(g.AcceptedBy(old.ID, t0)); got != "[c@h-c]" {
		t.Errorf("accepted by %s", got)
	}
	if got := g.AcceptedBy(old.ID, t0.Add(2*time.Hour)); len(got) != 0 {
		t.Errorf("an expired one is accepted by %v", got)
	}
	// What a version before recorded accepts neither everything nor nothing.
	for issuer, want := range map[string]int{"a": 1, "z": 0} {
		p := client("e", leaf(issuer, "A"), "A")
		if got := g.Refusals(p, leaf(issuer, "B"), p.Leaves, t0, 9, func(id ID) bool { return id != old.ID }); len(got) != want {
			t.Errorf("of issuer %s: %+v", issuer, got)
		}
	}
}

// A leaf that several roots lead to: a good one has to be in place, and one be loaded.
func TestALeafWaitsForARootInPlaceAndOneLoaded(t *testing.T) {
	t.Parallel()
	presenter, next := client("c", leaf("a", "O"), "O"), leaf("a", "A", "B", "C")
	apart := func(loaded string) Node {
		n := server("s", leaf("a", "O"), "A", "O")
		n.Loaded = renewer.NewRootSet(loaded, "O") // that is out of its file, and A not loaded yet
		return n
	}
	expired := server("s", leaf("a", "O"), "C", "O")
	for name, tc := range map[string]struct {
		verifier Node
		refused  bool
	}{
		"one in place and another loaded": {apart("B"), false},
		"and that has expired":            {apart("C"), true},
		"the one that has expired":        {expired, true},
		"the good one":                    {server("s", leaf("a", "O"), "A", "O"), false},
	} {
		g := graph(presenter, tc.verifier)
		g.Know("C", t0)
		if got := g.Refusals(presenter, next, presenter.Leaves, t0.Add(time.Minute), 9, nobody); len(got) > 0 != tc.refused {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

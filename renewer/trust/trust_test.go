package trust

import (
	"testing"
	"time"

	"renewer/renewer"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func leaf(issuer string, roots ...string) Leaf {
	return Leaf{Issuer: issuer, Under: renewer.NewRootSet(roots...), IssuedAt: t0, NotAfter: t0.Add(90 * 24 * time.Hour)}
}

// server and client make placements with a leaf and a ca file in place.
func server(name string, l Leaf, roots ...string) Node {
	n := Node{ID: ID{name, "h-" + name}, Issuer: l.Issuer, Leaves: []Leaf{l}, Trust: []string{l.Issuer}, Placed: true}
	n.Roots, n.Loaded = renewer.NewRootSet(roots...), renewer.NewRootSet(roots...)
	n.Shows[Server], n.Checks[Client] = true, true
	return n
}

func client(name string, l Leaf, roots ...string) Node {
	n := server(name, l, roots...)
	n.Shows, n.Checks = [sides]bool{Client: true}, [sides]bool{Server: true}
	return n
}

func graph(nodes ...Node) *Graph {
	g := New()
	for _, n := range nodes {
		g.Put(n)
	}
	return g
}

func TestARootStaysWhileAPresenterShowsALeafUnderIt(t *testing.T) {
	t.Parallel()
	old := t0.Add(time.Hour)
	for name, tc := range map[string]struct {
		verifier, presenter Node
		now                 time.Time
		want                renewer.RootSet
	}{
		"a client that has not moved":    {server("s", leaf("a", "A"), "A"), client("c", leaf("a", "A"), "A"), t0, renewer.NewRootSet("A", "B")},
		"a client that has moved":        {server("s", leaf("a", "A"), "A"), client("c", leaf("a", "B"), "B"), t0, renewer.NewRootSet("B")},
		"another server":                 {server("s", leaf("a", "A"), "A"), server("d", leaf("a", "A"), "A"), t0, renewer.NewRootSet("B")},
		"a leaf that has expired":        {server("s", leaf("a", "A"), "A"), client("c", leaf("a", "A"), "A"), t0.Add(91 * 24 * time.Hour), renewer.NewRootSet("B")},
		"a root that has expired":        {server("s", leaf("a", "X"), "X"), client("c", leaf("a", "X"), "X"), t0.Add(time.Minute), renewer.NewRootSet("B")},
		"a leaf that both roots lead to": {server("s", leaf("a", "A"), "A"), client("c", leaf("a", "A", "B"), "A"), t0, renewer.NewRootSet("B")},
		"a leaf of roots that are not known": {
			server("s", leaf("a", "A"), "A"), client("c", Leaf{Issuer: "a", IssuedAt: t0, NotAfter: t0.Add(time.Hour)}, "A"), t0, renewer.NewRootSet("A", "B"),
		},
		"a new verifier":  {server("s", leaf("a", "A")), client("c", leaf("a", "A"), "A"), t0, renewer.NewRootSet("A", "B")},
		"another issuer":  {server("s", leaf("a", "A"), "A"), client("c", leaf("z", "Z"), "Z"), t0, renewer.NewRootSet("B")},
		"a foreign root":  {foreign(server("s", leaf("a", "A"), "A", "F"), "F"), client("c", leaf("a", "B"), "B"), t0, renewer.NewRootSet("B", "F")},
		"trust: edited":   {server("s", leaf("a", "A"), "A", "Z"), client("c", leaf("z", "Z"), "A"), t0, renewer.NewRootSet("B", "Z")},
		"and renewed now": {unwanted(server("s", leaf("a", "A"), "A", "Z"), "Z", t0), client("c", issued(leaf("z", "Z"), old), "A"), old, renewer.NewRootSet("B")},
	} {
		g := graph(tc.verifier, tc.presenter)
		g.Know("X", t0.Add(time.Second))
		if got := g.Wanted(tc.verifier, renewer.NewRootSet("B"), tc.now); !got.Same(tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func foreign(n Node, roots ...string) Node {
	n.Foreign = renewer.NewRootSet(roots...)
	return n
}

func unwanted(n Node, root string, since time.Time) Node {
	n.Unwanted = map[string]time.Time{root: since}
	return n
}

func issued(l Leaf, at time.Time) Leaf {
	l.IssuedAt = at
	return l
}

func TestALeafWaitsForEveryVerifierThatAcceptsWhatIsShown(t *testing.T) {
	t.Parallel()
	presenter := client("c", leaf("a", "A"), "A", "B")
	next := leaf("a", "B")
	loadedOnly := server("s", leaf("a", "A"), "A", "B")
	loadedOnly.Loaded = renewer.NewRootSet("A")
	settled := loadedOnly
	settled.Settles = t0
	for name, tc := range map[string]struct {
		verifier Node
		refused  bool
	}{
		"has it":                         {server("s", leaf("a", "A"), "A", "B"), false},
		"has it not":                     {server("s", leaf("a", "A"), "A"), true},
		"has it in place, not loaded":    {loadedOnly, true},
		"has had it for long enough":     {settled, false},
		"accepts what is shown no more":  {server("s", leaf("a", "A"), "Z"), false},
		"does not trust the issuer":      {server("s", leaf("z", "Z"), "Z"), false},
		"checks servers, as clients do":  {client("s", leaf("a", "A"), "A"), false},
		"nothing is in place there yet":  {Node{ID: ID{"s", "h"}, Trust: []string{"a"}, Checks: [sides]bool{Client: true}}, false},
		"a ca file that no one compared": {unseen(server("s", leaf("a", "A"))), true},
	} {
		g := graph(presenter, tc.verifier)
		got := g.Refusals(presenter, next, presenter.Leaves, t0, 9, nobody)
		if (len(got) > 0) != tc.refused {
			t.Errorf("%s: %+v", name, got)
		}
		if first := g.Refusals(presenter, next, nil, t0, 9, nobody); len(first) != 0 {
			t.Errorf("%s: a first placement waits for %+v", name, first)
		}
	}
}

// An entry whose issuer: is changed alone breaks nothing that works now: who accepts its
// leaf is asked, whether its trust: names the new issuer or not.
func TestALeafOfAnotherIssuerWaitsForWhoAcceptsWhatIsShown(t *testing.T) {
	t.Parallel()
	moved := client("c", leaf("a", "A"), "A", "B")
	moved.Issuer = "b"
	both := server("s", leaf("a", "A"), "A")
	both.Trust = []string{"a", "b"}
	ready := server("s", leaf("a", "A"), "A", "B")
	ready.Trust = both.Trust
	for name, tc := range map[string]struct {
		verifier         Node
		refused, unnamed bool
	}{
		"it names the old issuer alone":       {server("s", leaf("a", "A"), "A"), true, true},
		"it names both, and lacks the root":   {both, true, false},
		"it names both":                       {ready, false, false},
		"it names neither":                    {server("s", leaf("z", "Z"), "A"), false, false},
		"it has never accepted what is there": {server("s", leaf("a", "A"), "Z"), false, false},
	} {
		g := graph(moved, tc.verifier)
		got := g.Refusals(moved, leaf("b", "B"), moved.Leaves, t0, 9, nobody)
		if len(got) > 1 || (len(got) == 1) != tc.refused || tc.refused && got[0].Unnamed != tc.unnamed {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func unseen(n Node) Node {
	n.Roots, n.Loaded = nil, nil
	return n
}

func TestAChangedLeafTellsWhoseCAFileMayChange(t *testing.T) {
	t.Parallel()
	s, c := server("s", leaf("a", "A"), "A", "B"), client("c", leaf("a", "A"), "A", "B")
	g := graph(s, c)
	c.Leaves = []Leaf{leaf("a", "B")}
	if got := g.Put(c); len(got) != 1 || got[0] != s.ID {
		t.Errorf("the last leaf under A went: %v", got)
	}
	if got := g.Put(c); len(got) != 0 {
		t.Errorf("nothing changed: %v", got)
	}
}

func nobody(ID) bool { return false }

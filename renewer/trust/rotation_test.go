package trust

import (
	"slices"
	"testing"
	"time"

	"renewer/renewer"
)

// A verifier is waited for only if it accepts a presenter of the issuer now, and does
// not have the next root in place and loaded.
func TestWhoIsNotReadyForTheNextRoot(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	sides := func(s Side) (out [sides]bool) { out[s] = true; return out }
	set := renewer.NewRootSet
	presenter := func(name, issuer string, end time.Time, under ...string) Node {
		return Node{ID: ID{name, "h"}, Issuer: issuer, Shows: sides(Server), Leaves: []Leaf{{Issuer: issuer, Under: set(under...), NotAfter: end}}}
	}
	verifier := func(name string, roots, loaded renewer.RootSet) Node {
		return Node{ID: ID{name, "h"}, Placed: true, Checks: sides(Server), Trust: []string{"ca"}, Roots: roots, Loaded: loaded}
	}
	later := now.Add(time.Hour)
	for name, c := range map[string]struct {
		nodes []Node
		want  []string
	}{
		"it lacks the root":            {[]Node{presenter("svc", "ca", later, "old"), verifier("cli", set("old"), set("old"))}, []string{"cli@h"}},
		"it has not loaded it":         {[]Node{presenter("svc", "ca", later, "old"), verifier("cli", set("new", "old"), set("old"))}, []string{"cli@h"}},
		"it has loaded it":             {[]Node{presenter("svc", "ca", later, "old"), verifier("cli", set("new", "old"), set("new", "old"))}, nil},
		"its roots are unknown":        {[]Node{presenter("svc", "ca", later, "old"), verifier("cli", nil, nil)}, []string{"cli@h"}},
		"it accepts nothing of that":   {[]Node{presenter("svc", "ca", later, "old"), verifier("cli", set("other"), set("other"))}, nil},
		"no one presents anything":     {[]Node{verifier("cli", set("old"), set("old"))}, nil},
		"what is presented is expired": {[]Node{presenter("svc", "ca", now, "old"), verifier("cli", set("old"), set("old"))}, nil},
		"another issuer's":             {[]Node{presenter("svc", "other", later, "old"), verifier("cli", set("old"), set("old"))}, nil},
		"all present the next":         {[]Node{presenter("svc", "ca", later, "new"), verifier("cli", set("old"), set("old"))}, nil},
		"two of them": {[]Node{
			presenter("svc", "ca", later, "old"), presenter("svc2", "ca", later, "old"), verifier("b", set("old"), set("old")), verifier("a", set("old"), set("old")),
		}, []string{"a@h", "b@h"}},
	} {
		g := New()
		for _, n := range c.nodes {
			g.Put(n)
		}
		var got []string
		for _, r := range g.Unready("ca", set("new"), now) {
			got = append(got, r.Verifier.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A root that was banned is kept for no leaf and for no owner, unless an issuer has it
// still.
func TestABannedRootIsKeptForNoOne(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	set := renewer.NewRootSet
	svc := Node{ID: ID{"svc", "h"}, Issuer: "ca", Leaves: []Leaf{{Issuer: "ca", Under: set("old"), NotAfter: now.Add(time.Hour)}}}
	svc.Shows[Server] = true
	cli := Node{ID: ID{"cli", "h"}, Placed: true, Trust: []string{"ca"}, Roots: set("corp", "new", "old"), Loaded: set("corp", "new", "old"), Foreign: set("corp")}
	cli.Checks[Server] = true
	g := New()
	g.Put(svc)
	g.Put(cli)
	for _, c := range []struct{ banned, base, want renewer.RootSet }{
		{nil, set("new"), set("corp", "new", "old")},
		{set("old"), set("new"), set("corp", "new")},
		{set("corp", "old"), set("new"), set("new")},
		{set("old"), set("new", "old"), set("corp", "new", "old")},
	} {
		g.Ban(banned(c.banned))
		if got := g.Wanted(cli, c.base, now); !got.Same(c.want) {
			t.Errorf("without %v: %v, want %v", c.banned, got, c.want)
		}
	}
	if held := g.Under("ca", "old", set("new"), time.Time{}, now); len(held) != 1 || held[0].String() != "svc@h" {
		t.Errorf("%v", held)
	}
	if held := g.Under("ca", "old", set("old"), time.Time{}, now); len(held) != 0 {
		t.Errorf("%v", held)
	}
	g.Ban(banned(set("old"), "h"))
	if got := g.Wanted(cli, set("new"), now); !got.Same(set("corp", "new", "old")) {
		t.Errorf("on a host that is gone on without: %v", got)
	}
	g.Ban(nil)
	if held := g.Holders("corp", now); len(held) != 0 {
		t.Errorf("%v", held)
	}
	if held := g.Holders("old", now); len(held) != 1 {
		t.Errorf("%v", held)
	}
}

func banned(roots renewer.RootSet, spared ...string) map[string][]string {
	out := map[string][]string{}
	for _, root := range roots {
		out[root] = spared
	}
	return out
}

package renewer

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func drawMark(t *rapid.T, name string) Mark {
	of := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, name+" "+what) }
	return Mark{
		Fleet: of("fleet", "f", "g"), Incarnation: of("incarnation", "a", "b", "c"), Term: rapid.IntRange(0, 3).Draw(t, name+" term"),
		Place: of("place", "", "p", "q"),
	}
}

// Of two renewers that are not the same, at most one gets a directory without the
// operator's word, and who has it by that keeps it.
func TestAtMostOneRenewerKeepsADirectory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawMark(t, "a"), drawMark(t, "b")
		if a.Claims(nil) != ClaimFree || a.Claims(&a) != ClaimMine {
			t.Fatal("a directory without a mark, or with its own, is refused")
		}
		sameFleet, samePlace := a.Fleet == b.Fleet, a.Place != "" && a.Place == b.Place
		over := func(m, found Mark) bool { return m.Claims(&found) == ClaimOver }
		if over(a, b) && over(b, a) && !samePlace {
			t.Fatal("both take over from each other")
		}
		if !sameFleet && !samePlace && (a.Claims(&b) != ClaimRefused || b.Claims(&a) != ClaimRefused) {
			t.Fatal("another fleet is not refused")
		}
		if sameFleet && a.Incarnation != b.Incarnation && a.Term == b.Term && !samePlace && a.Claims(&b) != ClaimRefused {
			t.Fatal("a copy is not refused")
		}
		taken := a.After(&b) // by the operator's word
		if a.Claims(&taken) != ClaimMine {
			t.Fatal("it is not its own")
		}
		if distinct := !sameFleet || a.Incarnation != b.Incarnation; distinct && !samePlace && b.Claims(&taken) != ClaimRefused {
			t.Fatal("the other one takes it back by itself")
		}
	})
}

func FuzzParseToken(f *testing.F) {
	for _, s := range []string{"f.a.0", "f.a.-1", "f.a.01", "f..1", "..", "F.a.1", "f.a.999999999999999999999", "f.a.1.2", strings.Repeat("f", 33) + ".a.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, ok := ParseToken(s); ok && m.Token() != s {
			t.Errorf("%q is %+v, of which the token is %q", s, m, m.Token())
		}
	})
}

package renewer

import (
	"slices"
	"strings"
	"testing"
)

// What was planted over the links is kept as found; the damaged revision that
// they led to makes room, and the generation before stays a way back.
func TestKeepingWhatADriftWasHealedOver(t *testing.T) {
	t.Parallel()
	p := PlacementState{Revisions: []Revision{{Name: "r1-a", Generation: 2, Roots: NewRootSet("t"), Origin: OriginIssued, Layout: "l"}, {Name: "r2-b", Generation: 3, Roots: NewRootSet("t"), Origin: OriginIssued, Layout: "l"}}}
	p.keep(Revision{Name: "r3-b", Generation: 3, Roots: NewRootSet("t"), Origin: OriginIssued, Layout: "l"}, "r0-c")
	names := func() (names []string) {
		for _, r := range p.Revisions {
			names = append(names, r.Name)
		}
		return names
	}
	if got := names(); !slices.Equal(got, []string{"r1-a", "r0-c", "r3-b"}) {
		t.Errorf("kept %v", got)
	}
	p.keep(Revision{Name: "r4-b", Generation: 3, Roots: NewRootSet("t"), Origin: OriginIssued, Layout: "l"}, "r3-b")
	if got := names(); !slices.Equal(got, []string{"r0-c", "r3-b", "r4-b"}) {
		t.Errorf("what is replaced is kept until the new one is proven: %v", got)
	}
}

// The files of an earlier directory are not kept any more, and a plan says so.
func TestAPlanSaysWhichDirectoryIsLeft(t *testing.T) {
	t.Parallel()
	st := PlacementState{Dirs: []string{"/srv/old", "/srv/older"}}
	if got := leaves(st, "/srv/new", false); !strings.Contains(got, "/srv/old is left") {
		t.Errorf("moved: %q", got)
	}
	for name, got := range map[string]string{"not moved": leaves(st, "/srv/old", false), "never placed": leaves(PlacementState{}, "/srv/new", false), "occupied": leaves(st, "/srv/new", true)} {
		if got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

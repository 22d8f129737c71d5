package renewer

import (
	"slices"
	"testing"
	"time"
)

func TestDropForeignLeavesNoTraceOfTheRoot(t *testing.T) {
	t.Parallel()
	both, other := NewRootSet("F", "G"), NewRootSet("G")
	was := Record{
		Name: "web", Placements: map[string]PlacementState{
			"a": {Foreign: both, Roots: NewRootSet("A", "F", "G"), Interrupted: &Step{Host: "a", Foreign: both}},
			"b": {Foreign: other}, "c": {},
		},
		Rollout: &Rollout{Steps: []Step{{Host: "a", State: StepStaged, Foreign: both, Roots: NewRootSet("A", "F", "G")}, {Host: "b", Foreign: other}}},
	}
	rec := was.Clone()
	if hosts := rec.dropForeign("F"); !slices.Equal(hosts, []string{"a"}) {
		t.Errorf("dropped from %v", hosts)
	}
	a := rec.Placements["a"]
	if !a.Foreign.Same(other) || !a.Interrupted.Foreign.Same(other) || !rec.Rollout.Steps[0].Foreign.Same(other) || !rec.Placements["b"].Foreign.Same(other) {
		t.Errorf("left behind: %+v, %+v", a, rec.Rollout.Steps)
	}
	if !a.Roots.Has("F") {
		t.Error("what is in place is said to have changed")
	}
	if w := was.Placements["a"]; !w.Foreign.Has("F") || !w.Interrupted.Foreign.Has("F") || !was.Rollout.Steps[0].Foreign.Has("F") {
		t.Error("the record that it was cloned from was changed")
	}
	if hosts := rec.dropForeign("F"); len(hosts) != 0 {
		t.Errorf("dropped again from %v", hosts)
	}
}

func TestOrphanRowIsOfWhatExpiresFirst(t *testing.T) {
	t.Parallel()
	left := []Departed{{Host: "a", Issuer: "x", Generation: 2, NotAfter: t0.Add(2 * time.Hour)}, {Host: "b", Issuer: "y", Generation: 1, NotAfter: t0.Add(time.Hour)}}
	row := OrphanRow("web", left, nil)
	if row.Status != StatusOrphaned || row.Issuer != "y" || row.Generation != 1 || !row.NotAfter.Equal(t0.Add(time.Hour)) || len(row.Hosts) != 2 || row.SANs == nil {
		t.Errorf("%+v", row)
	}
	if late := row.At(t0.Add(24 * time.Hour)); late.Status != StatusOrphaned || late.Severity(t0.Add(24*time.Hour)) != "" {
		t.Errorf("afterwards: %+v", late)
	}
}

func TestMembersNamesThoseOfAnEntryTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ids  []string
		most int
		want []string
	}{
		{nil, 3, nil},
		{[]string{"web@a"}, 3, []string{"web@a"}},
		{[]string{"cli@a", "docker@a", "docker@b"}, 3, []string{"cli@a", "docker×2"}},
		{[]string{"a@h", "b@h", "c@h", "d@h", "e@h"}, 3, []string{"a@h", "b@h", "c@h", "2 more"}},
		{[]string{"a@h", "b@h", "c@h", "d@h"}, 0, []string{"a@h", "b@h", "c@h", "d@h"}},
	} {
		if got := Members(c.ids, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.ids, got, c.want)
		}
	}
}

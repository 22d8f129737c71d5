package renewer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"renewer/renewer"
)

// What was never seen is looked at once, at once; then when the next look is due,
// the one who wrote what is there.
func TestWhatWasNeverSeenIsLookedAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	cert := renewer.Certificate{Name: "web", Placements: []renewer.Placement{{Host: "h", Dir: "/d"}}}
	placed := renewer.PlacementState{Revision: "r1-aa", Generation: 1, State: renewer.HostVerified, Matches: true, Served: "9f", ProbedAt: now, VerifiedAt: now}
	foreign := placed
	foreign.Generation = 0
	record := func(st renewer.PlacementState, how func(*renewer.Record)) renewer.Record {
		rec := renewer.Record{Name: "web", Current: 1, Placements: map[string]renewer.PlacementState{"h": st}}
		how(&rec)
		return rec
	}
	restored, upgraded := (*renewer.Record).Restored, (*renewer.Record).Upgrade
	right := renewer.Look{Kind: renewer.ProbeFile, Seen: renewer.Observation{Disk: renewer.OnDisk{Leaf: "9f"}}}
	fails := func(err error) renewer.Look { return renewer.Look{Kind: renewer.ProbeFile, Err: err} }
	for name, c := range map[string]struct {
		rec  renewer.Record
		look renewer.Look
		anew bool // after the look
		due  time.Duration
	}{
		"restored, seen":               {record(placed, restored), right, false, 0},
		"restored, cannot be reached":  {record(placed, restored), fails(fmt.Errorf("no route: %w", renewer.ErrUnreachable)), true, time.Minute},
		"restored, no descriptors":     {record(placed, restored), fails(fmt.Errorf("open: %w", renewer.ErrLocal)), true, time.Minute},
		"of a version before, seen":    {record(placed, upgraded), right, false, 0},
		"of a version before, foreign": {record(foreign, upgraded), fails(&renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: errors.New("not ours")}), false, 0},
	} {
		if st := c.rec.Placements["h"]; !c.rec.Unseen() || !st.LookDue(now) {
			t.Errorf("%s: no one looks", name)
		}
		c.look.At = now
		after, _ := renewer.Apply(renewer.State{Certificate: cert, Record: c.rec}, now, renewer.Looked{Host: "h", Look: c.look})
		st := after.Record.Placements["h"]
		if st.LookDue(now) || st.Undiscovered() != c.anew || !st.Reprobe.IsZero() != (c.due > 0) || c.due > 0 && !st.LookDue(now.Add(c.due)) {
			t.Errorf("%s: after the look %+v", name, st)
		}
	}
	if st := record(placed, restored).Placements["h"]; st.State != renewer.HostUnknown || st.Matches || st.Served != "" || !st.VerifiedAt.Equal(now) {
		t.Errorf("a backup says more than when it was last proven: %+v", st)
	}
}

// What is found after a backup was restored gets a number that nothing else has: not
// what is being ordered meanwhile, nor what was found on another host.
func TestWhatIsFoundHasANumberOfItsOwn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	cert := renewer.Certificate{Name: "web", Usages: []renewer.Usage{renewer.UsageServer}, Placements: []renewer.Placement{{Host: "a", Dir: "/d"}, {Host: "b", Dir: "/d"}}}
	rec := renewer.Record{Name: "web", Current: 1, Latest: 1, Rollouts: 1, Placements: map[string]renewer.PlacementState{}}
	for _, host := range []string{"a", "b"} {
		rec.Placements[host] = renewer.PlacementState{Revision: "r1-aa", Generation: 1}
	}
	rec.Restored()
	rec.Rollout = renewer.Issue(cert)
	rec.Rollout.ID = "web#1"
	gen := func(number int, fingerprint string, age time.Duration) *renewer.Generation {
		return &renewer.Generation{Certificate: "web", Number: number, Fingerprint: fingerprint, NotBefore: now.Add(-age), NotAfter: now.Add(time.Hour)}
	}
	state := renewer.State{Certificate: cert, Record: rec, Current: gen(1, "01", time.Hour)}
	numbers := map[int]string{1: "01"}
	take := func(in renewer.Input) {
		var ch renewer.Change
		state, ch = renewer.Apply(state, now, in)
		if g := ch.Generation; g == nil {
			t.Fatalf("%+v is not recorded", in)
		} else if was, taken := numbers[g.Number]; taken && was != g.Fingerprint {
			t.Errorf("%d is %s and %s", g.Number, was, g.Fingerprint)
		} else {
			numbers[g.Number] = g.Fingerprint
		}
	}
	found := func(host, fingerprint string, age time.Duration) renewer.Looked {
		return renewer.Looked{Host: host, Look: renewer.Look{At: now}, Found: &renewer.Found{Dir: "/d", Revision: "r3-" + fingerprint, Generation: gen(0, fingerprint, age), Fresh: true}}
	}
	ordered := gen(rec.Latest+1, "ff", 0) // asked for before anybody looked
	take(found("a", "03", time.Minute))
	current := state.Record.Current
	take(found("b", "02", 2*time.Minute))
	if state.Record.Current != current {
		t.Errorf("the older one is current")
	}
	latest := state.Record.Latest
	take(renewer.Outcome{Action: renewer.Action{Certificate: "web", Rollout: "web#1", Kind: renewer.ActOrder}, At: now, Generation: ordered})
	if state.Record.Latest < latest {
		t.Errorf("the last number falls from %d to %d", latest, state.Record.Latest)
	}
}

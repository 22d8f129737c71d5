package renewer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"renewer/renewer"
)

// What was never seen is looked at once, at once; then when the next look is due,
// whoever wrote what is there.
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
			t.Errorf("%s: nobody looks", name)
		}
		c.look.At = now
		after, _ := renewer.Apply(renewer.State{Certificate: cert, Record: c.rec}, now, renewer.Looked{Host: "h", Look: c.look})
		st := after.Record.Placements["h"]
		if st.LookDue(now) || st.Anew() != c.anew || !st.Reprobe.IsZero() != (c.due > 0) || c.due > 0 && !st.LookDue(now.Add(c.due)) {
			t.Errorf("%s: after the look %+v", name, st)
		}
	}
	if st := record(placed, restored).Placements["h"]; st.State != renewer.HostUnknown || st.Matches || st.Served != "" || !st.VerifiedAt.Equal(now) {
		t.Errorf("a backup says more than when it was last proven: %+v", st)
	}
}

package renewer

import (
	"errors"
	"testing"
	"time"
)

// The time of a drift is that at which it was found, until it is restored and found again.
func TestADriftIsDatedOnce(t *testing.T) {
	t.Parallel()
	p := PlacementState{State: HostVerified, Matches: true, Generation: 1, Served: "aa"}
	drift := func(after time.Duration, what string) []Event {
		return p.Observe(Look{Kind: ProbeTLS, At: t0.Add(after), Seen: Observation{Served: "ff"}, Err: &ProbeError{Kind: ProbeMismatch, Err: errors.New(what)}}, "web", "a")
	}
	if ev := drift(time.Hour, "serves ff"); len(ev) != 1 || ev[0].Type != EventDrifted || ev[0].Certificate != "web" || ev[0].Host != "a" {
		t.Fatalf("events %+v", ev)
	}
	drift(2*time.Hour, "serves ff, and another file")
	if !p.DriftedAt.Equal(t0.Add(time.Hour)) {
		t.Errorf("drifted at %s", p.DriftedAt)
	}
	if p.Observe(Look{Kind: ProbeTLS, At: t0.Add(3 * time.Hour), Seen: Observation{Served: "aa"}}, "web", "a"); !p.DriftedAt.Equal(t0.Add(time.Hour)) || !p.Matches {
		t.Errorf("restored: %+v", p)
	}
	if drift(4*time.Hour, "serves ff"); !p.DriftedAt.Equal(t0.Add(4 * time.Hour)) {
		t.Errorf("drifted again at %s", p.DriftedAt)
	}
}

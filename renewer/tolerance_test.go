package renewer

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// After an outage the next attempt comes within what RetryWithin says, however long that
// was and whatever is retried.
func TestRetryComesWithinItsBound(t *testing.T) {
	t.Parallel()
	for n := range 200 {
		what := fmt.Sprintf("web#%d", n)
		var at time.Duration // since the first attempt, at which the outage began
		for attempts := 1; attempts < 40; attempts++ {
			next := at + Backoff(attempts, what)
			if outage := at + 1; next-outage > RetryWithin(outage) { // it ends just after an attempt
				t.Fatalf("%s: after an outage of %s the next attempt comes %s later, and not within %s", what, outage, next-outage, RetryWithin(outage))
			}
			at = next
		}
	}
}

func TestToleratedOutageLeavesWhatARenewalNeeds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		left := time.Duration(rapid.Int64Range(0, int64(400*24*time.Hour)).Draw(t, "left"))
		need := time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "need"))
		d := Tolerated(left, need)
		if d < 0 || d > 0 && d+RetryWithin(d)+need > left {
			t.Fatalf("of %s it tolerates %s, and %s more are needed", left, d, RetryWithin(d)+need)
		}
		if d += time.Hour; d < 14*time.Hour && d+RetryWithin(d)+need < left-4*time.Hour {
			t.Fatalf("of %s it could tolerate %s", left, d)
		}
	})
}

func TestRolloutTimeCountsRoundsTimeoutsAndPauses(t *testing.T) {
	t.Parallel()
	host := Placement{Activate: Activation{Kind: ActivateSystemd, Timeout: 90 * time.Second}, Probe: Probe{Timeout: 30 * time.Second}}
	for _, c := range []struct {
		pace  Pace
		hosts int
		size  int
		want  time.Duration
	}{
		{Pace{Canary: 1, MaxParallel: 5, Pause: time.Hour}, 1, 0, 2 * time.Minute},
		{Pace{Canary: 1, MaxParallel: 5, Pause: time.Hour}, 6, 0, 4*time.Minute + 2*time.Hour},
		{Pace{Canary: 1, MaxParallel: 5, Pause: time.Hour}, 1, 7, 6*time.Minute + 3*time.Hour},
		{Pace{Canary: 0, MaxParallel: 0, Pause: time.Hour}, 9, 0, 2*time.Minute + time.Hour},
		{Pace{Canary: 20, MaxParallel: 1, Pause: time.Hour}, 9, 0, 2*time.Minute + time.Hour},
	} {
		cert := Certificate{Pace: c.pace}
		for range c.hosts {
			cert.Placements = append(cert.Placements, host)
		}
		if got := cert.RolloutTime(c.size); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

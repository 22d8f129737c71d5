package renewer

import (
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	end := t0.Add(30 * 24 * time.Hour)
	busy := DockerState{Running: true, Containers: 3, Matching: 1}
	wait := Guard{WithoutLiveRestore: GuardWaitIdle, Label: "dagster/run_id", Deadline: 7 * 24 * time.Hour, AtDeadline: GuardBlock}
	restart := wait
	restart.AtDeadline = GuardRestart
	for name, c := range map[string]struct {
		guard   Guard
		state   DockerState
		now     time.Time
		held    bool
		blocked bool
	}{
		"not running":                   {Guard{}, DockerState{Containers: 3}, t0, false, false},
		"live-restore":                  {Guard{}, DockerState{Running: true, LiveRestore: true, Containers: 3}, t0, false, false},
		"no containers":                 {Guard{}, DockerState{Running: true}, t0, false, false},
		"the default blocks":            {Guard{}, busy, t0, true, true},
		"force":                         {Guard{WithoutLiveRestore: GuardForce}, busy, t0, false, false},
		"waits":                         {wait, busy, t0, true, false},
		"none that matters":             {wait, DockerState{Running: true, Containers: 3}, t0, false, false},
		"just before the deadline":      {wait, busy, end.Add(-7*24*time.Hour - 1), true, false},
		"the deadline blocks":           {wait, busy, end.Add(-7 * 24 * time.Hour), true, true},
		"the deadline restarts":         {restart, busy, end.Add(-7 * 24 * time.Hour), false, false},
		"nothing in place, no deadline": {Guard{WithoutLiveRestore: GuardWaitIdle}, busy, t0, true, false},
	} {
		held := c.guard.Check(c.state, c.now, end)
		if (held.Why != "") != c.held || held.Blocked != c.blocked || held.Blocked && held.Hint == "" {
			t.Errorf("%s: %+v", name, held)
		}
	}
}

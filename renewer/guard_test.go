package renewer

import (
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	end := t0.Add(30 * 24 * time.Hour)
	busy := DockerState{Running: true, Containers: 3, Matching: 1}
	wait := DockerGuard{WithoutLiveRestore: GuardWaitIdle, Label: "dagster/run_id", GuardDeadline: GuardDeadline{7 * 24 * time.Hour, GuardBlock}}
	restart := wait
	restart.Then = GuardRestart
	for name, c := range map[string]struct {
		guard   DockerGuard
		state   DockerState
		now     time.Time
		held    bool
		blocked bool
	}{
		"not running":                   {DockerGuard{}, DockerState{Containers: 3}, t0, false, false},
		"live-restore":                  {DockerGuard{}, DockerState{Running: true, LiveRestore: true, Containers: 3}, t0, false, false},
		"no containers":                 {DockerGuard{}, DockerState{Running: true}, t0, false, false},
		"the default blocks":            {DockerGuard{}, busy, t0, true, true},
		"force":                         {DockerGuard{WithoutLiveRestore: GuardForce}, busy, t0, false, false},
		"waits":                         {wait, busy, t0, true, false},
		"none that matters":             {wait, DockerState{Running: true, Containers: 3}, t0, false, false},
		"just before the deadline":      {wait, busy, end.Add(-7*24*time.Hour - 1), true, false},
		"the deadline blocks":           {wait, busy, end.Add(-7 * 24 * time.Hour), true, true},
		"the deadline restarts":         {restart, busy, end.Add(-7 * 24 * time.Hour), false, false},
		"nothing in place, no deadline": {DockerGuard{WithoutLiveRestore: GuardWaitIdle}, busy, t0, true, false},
	} {
		held := c.guard.Check(c.state, c.now, end)
		if (held.Why != "") != c.held || held.Blocked != c.blocked || held.Blocked && held.Hint == "" {
			t.Errorf("%s: %+v", name, held)
		}
	}
}

func TestGuardOfAContainer(t *testing.T) {
	end := t0.Add(30 * 24 * time.Hour)
	wait := DockerGuard{WithoutLiveRestore: GuardWaitIdle, Label: "dagster/run_id", GuardDeadline: GuardDeadline{7 * 24 * time.Hour, GuardRestart}}
	busy := DockerState{Running: true, LiveRestore: true, Containers: 3, Matching: 1}
	for name, c := range map[string]struct {
		guard   DockerGuard
		state   DockerState
		now     time.Time
		held    bool
		blocked bool
	}{
		"live-restore is no excuse": {wait, busy, t0, true, false},
		"no run":                    {wait, DockerState{Running: true, Containers: 3}, t0, false, false},
		"no daemon":                 {wait, DockerState{Matching: 1}, t0, false, false},
		"the deadline restarts":     {wait, busy, end, false, false},
		"blocks":                    {DockerGuard{WithoutLiveRestore: GuardBlock, Label: "x"}, busy, t0, true, true},
		"force":                     {DockerGuard{WithoutLiveRestore: GuardForce, Label: "x"}, busy, t0, false, false},
	} {
		held := c.guard.CheckContainer(c.state, c.now, end)
		if (held.Why != "") != c.held || held.Blocked != c.blocked || held.Blocked && held.Hint == "" {
			t.Errorf("%s: %+v", name, held)
		}
	}
}

func TestDaguGuard(t *testing.T) {
	end := t0.Add(30 * 24 * time.Hour)
	block, restart := DaguGuard{GuardDeadline: GuardDeadline{24 * time.Hour, GuardBlock}}, DaguGuard{GuardDeadline: GuardDeadline{24 * time.Hour, GuardRestart}}
	busy, late := Work{Running: true, Active: 2, What: "runs"}, end.Add(-24*time.Hour)
	for name, c := range map[string]struct {
		guard   DaguGuard
		work    Work
		now     time.Time
		held    bool
		blocked bool
	}{
		"idle":                  {block, Work{Running: true}, t0, false, false},
		"stopped":               {block, Work{Active: 2}, t0, false, false},
		"busy":                  {block, busy, t0, true, false},
		"just before":           {block, busy, late.Add(-1), true, false},
		"the deadline blocks":   {block, busy, late, true, true},
		"the deadline restarts": {restart, busy, late, false, false},
		"no deadline":           {DaguGuard{}, busy, end, true, false},
	} {
		held := c.guard.Check(c.work, c.now, end)
		if (held.Why != "") != c.held || held.Blocked != c.blocked || held.Blocked && held.Hint == "" {
			t.Errorf("%s: %+v", name, held)
		}
	}
}

func TestWhatIsGuarded(t *testing.T) {
	both := &Guard{Docker: &DockerGuard{Label: "run"}, Dagu: &DaguGuard{}}
	for name, c := range map[string]struct {
		p            Placement
		docker, dagu bool
	}{
		"no guard":             {Placement{Activate: Activation{Kind: ActivateDocker}}, false, false},
		"the daemon":           {Placement{Guard: both, Activate: Activation{Kind: ActivateSystemd, Units: []string{"docker.service"}}}, true, true},
		"a worker":             {Placement{Guard: both, Activate: Activation{Kind: ActivateSystemd, Units: []string{"dagu-worker.service"}}}, false, true},
		"a container":          {Placement{Guard: both, Activate: Activation{Kind: ActivateDocker}}, true, true},
		"a container, all":     {Placement{Guard: &Guard{Docker: &DockerGuard{}}, Activate: Activation{Kind: ActivateDocker}}, false, false},
		"nothing is restarted": {Placement{Guard: both, Activate: Activation{Kind: ActivateNone}}, false, false},
	} {
		if c.p.GuardsDocker() != c.docker || c.p.GuardsDagu() != c.dagu {
			t.Errorf("%s: %t, %t", name, c.p.GuardsDocker(), c.p.GuardsDagu())
		}
	}
}

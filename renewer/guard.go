package renewer

import (
	"fmt"
	"slices"
	"time"
)

// GuardChoice is what a guard does where a restart would hurt.
type GuardChoice string

// The choices of guard: docker: in the fleet file.
const (
	GuardBlock    GuardChoice = "block"     // a person has to go on
	GuardWaitIdle GuardChoice = "wait_idle" // until nothing that matters runs, or the deadline
	GuardForce    GuardChoice = "force"     // restart all the same
	GuardRestart  GuardChoice = "restart"   // at_deadline: restart all the same
)

// Guard keeps a running Docker daemon from being restarted while that kills
// containers: with live-restore off, a restart ends them (dockerd(8)).
type Guard struct {
	WithoutLiveRestore GuardChoice   `json:"without_live_restore"`
	Label              string        `json:"label,omitempty"`    // containers that matter have it; empty: all of them
	Deadline           time.Duration `json:"deadline,omitempty"` // before the end of what is in place
	AtDeadline         GuardChoice   `json:"at_deadline,omitempty"`
}

// DockerState is what a guard looks at.
type DockerState struct {
	Running     bool // the daemon
	LiveRestore bool
	Containers  int // that run
	Matching    int // of them, those with the guard's label; all without one
}

// GuardInterval is how long until a guard that held something up looks again.
const GuardInterval = time.Minute

// Held is why an activation is not made now; the zero value lets it pass.
type Held struct {
	Why     string
	Hint    string
	Blocked bool // only a person can go on; else it passes by itself
}

// Check decides about a restart of the daemon at now, when what is in place
// ends at end. Guards apply to a daemon that runs.
func (g Guard) Check(d DockerState, now, end time.Time) Held {
	if !d.Running || d.LiveRestore || d.Containers == 0 || g.WithoutLiveRestore == GuardForce {
		return Held{}
	}
	const liveRestore = `set "live-restore": true in daemon.json (renewer host setup does), or guard: {docker: {without_live_restore: wait_idle}}, or renew with --force`
	if g.WithoutLiveRestore != GuardWaitIdle {
		return Held{
			Why:  fmt.Sprintf("live-restore is off and a restart would end %d containers", d.Containers),
			Hint: liveRestore, Blocked: true,
		}
	}
	if d.Matching == 0 {
		return Held{}
	}
	what := "containers"
	if g.Label != "" {
		what += " with the label " + g.Label
	}
	why := fmt.Sprintf("waits until no %s run (%d now), live-restore is off", what, d.Matching)
	deadline := end.Add(-g.Deadline)
	switch {
	case end.IsZero() || g.Deadline <= 0 || now.Before(deadline):
		return Held{Why: why}
	case g.AtDeadline == GuardRestart:
		return Held{}
	default:
		return Held{Why: fmt.Sprintf("%s, and the deadline %s has passed", why, date(deadline)), Hint: liveRestore, Blocked: true}
	}
}

// Guarded reports whether an activation of the placement needs its guard's
// leave: one that restarts the Docker daemon.
func (p Placement) Guarded() bool {
	return p.Guard != nil && p.Activate.Kind == ActivateSystemd && slices.ContainsFunc(p.Activate.Units, func(u string) bool {
		return u == "docker" || u == "docker.service"
	})
}

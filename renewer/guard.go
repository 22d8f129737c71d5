package renewer

import (
	"fmt"
	"slices"
	"time"
)

// GuardChoice is what a guard does where a restart would hurt.
type GuardChoice string

// The choices of guard: in the fleet file.
const (
	GuardBlock    GuardChoice = "block"     // manual action is needed
	GuardWaitIdle GuardChoice = "wait_idle" // until nothing that matters runs, or the deadline
	GuardForce    GuardChoice = "force"     // restart all the same
	GuardRestart  GuardChoice = "restart"   // at_deadline: restart all the same
)

// Guard keeps a service from being restarted while that hurts what it runs.
type Guard struct {
	Docker *DockerGuard `json:"docker,omitempty"`
	Dagu   *DaguGuard   `json:"dagu,omitempty"`
}

// GuardDeadline ends the waiting of a guard.
type GuardDeadline struct {
	Before time.Duration `json:"deadline,omitempty"` // the end of what is in place; 0: none
	Then   GuardChoice   `json:"at_deadline,omitempty"`
}

// DockerGuard keeps a running Docker daemon from being restarted while that
// kills containers: with live-restore off, a restart ends them (dockerd(8)).
// Beside a container that is activated, such as a control plane, it waits for
// the containers with its label, live-restore or not.
type DockerGuard struct {
	WithoutLiveRestore GuardChoice `json:"without_live_restore"`
	Label              string      `json:"label,omitempty"` // containers that matter have it; empty: all of them
	GuardDeadline
}

// DaguGuard keeps a Dagu process from being restarted while a run of its own
// is active: the run's steps are its children and die with it.
type DaguGuard struct {
	By IdleBy `json:"by"`
	// API: the list of workers, GET …/workers of Dagu's HTTP API, and the
	// worker whose tasks count, * for all of them. Dagu names a worker
	// HOSTNAME@PID unless set otherwise; the part before @ is enough.
	URL       string   `json:"url,omitempty"`
	Worker    string   `json:"worker,omitempty"`
	TokenFile string   `json:"token_file,omitempty"` // of an API key; empty: none is sent
	CACert    string   `json:"ca_cert,omitempty"`    // trust for the API's own TLS; empty: the system's
	Command   []string `json:"command,omitempty"`    // exit status 0: idle, 1: busy
	GuardDeadline
}

// IdleBy is how it is seen that nothing is under way.
type IdleBy string

// The ways to see it.
const (
	IdleByProcesses IdleBy = "processes" // the unit's control group, or the container, holds its main process alone
	// IdleByCoordinator: those processes, and the tasks that Dagu's coordinators list for
	// the worker, some of which have no process. They are asked as a peer asks.
	IdleByCoordinator IdleBy = "coordinator"
	IdleByAPI         IdleBy = "api"
	IdleByCommand     IdleBy = "command"
)

// DockerState is what a DockerGuard looks at.
type DockerState struct {
	Running     bool // the daemon
	LiveRestore bool
	Containers  int // that run
	Matching    int // of them, those with the guard's label; all without one
}

// Work is what a DaguGuard looks at.
type Work struct {
	Running bool // the service
	Active  int  // what a restart would end
	What    string
	Unknown string // why there may be more; empty: there is not
}

// GuardInterval is how long until a guard that held something up looks again.
const GuardInterval = time.Minute

// Held is why an activation is not made now; the zero value lets it pass.
type Held struct {
	Why     string
	Hint    string
	Blocked bool // only an operator can go on; else it passes by itself
	// Deadline ends the waiting; zero: there is none, or it has passed.
	Deadline time.Time
}

// Check decides about a restart of the daemon at now, when what is in place
// ends at end. Guards apply to a daemon that runs.
func (g DockerGuard) Check(d DockerState, now, end time.Time) Held {
	if !d.Running || d.LiveRestore || d.Containers == 0 || g.WithoutLiveRestore == GuardForce {
		return Held{}
	}
	const liveRestore = `set "live-restore": true in daemon.json (renewer host setup does), or guard: {docker: {without_live_restore: wait_idle}}, or renew with --force`
	if g.WithoutLiveRestore != GuardWaitIdle {
		return Held{
			Why:  fmt.Sprintf("a restart of dockerd would stop %d containers, because live-restore is off", d.Containers),
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
	return g.hold(fmt.Sprintf("waiting until no %s run (%d now), because live-restore is off", what, d.Matching), liveRestore, now, end)
}

// CheckContainer decides about a restart of a container beside those that the
// label marks.
func (g DockerGuard) CheckContainer(d DockerState, now, end time.Time) Held {
	if !d.Running || d.Matching == 0 || g.WithoutLiveRestore == GuardForce {
		return Held{}
	}
	const hint = "stop them, or renew with --force; with guard: {docker: {without_live_restore: wait_idle}} renewer waits until they have stopped"
	if g.WithoutLiveRestore != GuardWaitIdle {
		return Held{Why: fmt.Sprintf("%d containers with the label %s are running", d.Matching, g.Label), Hint: hint, Blocked: true}
	}
	return g.hold(fmt.Sprintf("waiting until no containers with the label %s run (%d now)", g.Label, d.Matching), hint, now, end)
}

// Check decides about a restart of the service at now, when what is in place
// ends at end.
func (g DaguGuard) Check(w Work, now, end time.Time) Held {
	if !w.Running || w.Active == 0 && w.Unknown == "" {
		return Held{}
	}
	if w.Active == 0 { // from the deadline on a restart may cost a run, and none costs all of them
		g.Then = GuardRestart
		return g.hold("waiting until renewer can find out what the service runs: "+w.Unknown, "", now, end)
	}
	return g.hold(fmt.Sprintf("waiting until no %s are left (%d now)", w.What, w.Active),
		"wait for the runs, or renew with --force; with at_deadline: restart in the guard, renewer restarts at the deadline and the runs are lost", now, end)
}

// hold waits until the deadline, and then for an operator or no longer.
func (l GuardDeadline) hold(why, hint string, now, end time.Time) Held {
	deadline := end.Add(-l.Before)
	switch {
	case end.IsZero() || l.Before <= 0:
		return Held{Why: why}
	case now.Before(deadline):
		then := "manual action is needed"
		if l.Then == GuardRestart {
			then = "the service is restarted anyway"
		}
		return Held{Why: fmt.Sprintf("%s; from %s on %s", why, date(deadline), then), Deadline: deadline}
	case l.Then == GuardRestart:
		return Held{}
	default:
		return Held{Why: fmt.Sprintf("%s, and the deadline %s has passed", why, date(deadline)), Hint: hint, Blocked: true}
	}
}

// GuardsDocker reports whether an activation of the placement needs the leave
// of its guard for Docker: one that restarts the daemon, or a container beside
// those with the guard's label.
func (p Placement) GuardsDocker() bool {
	if p.Guard == nil || p.Guard.Docker == nil {
		return false
	}
	return p.Activate.Kind == ActivateDocker && p.Guard.Docker.Label != "" ||
		p.Activate.Kind == ActivateSystemd && slices.ContainsFunc(p.Activate.Units, func(u string) bool {
			return u == "docker" || u == "docker.service"
		})
}

// GuardsDagu reports whether an activation of the placement needs the leave of
// its guard for Dagu.
func (p Placement) GuardsDagu() bool {
	return p.Guard != nil && p.Guard.Dagu != nil && p.Activate.Kind != ActivateNone
}

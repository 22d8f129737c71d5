package renewer

import (
	"slices"
	"time"
)

// Entry is one rollout under way with what it depends on.
type Entry struct {
	Certificate Certificate
	Rollout     *Rollout
	Conditions  Conditions
}

// Task is what one worker does in one go: a single action, or the activation
// (or restoration) of several placements that share a service on one host, so
// that the service is restarted once.
type Task []Action

// Decide looks at all rollouts under way and returns what can be done now and
// when to ask again. busy says which actions are under way already.
//
// Two things tie rollouts together: placements that are activated by the same
// thing on one host are activated together or one after another, never while
// another of them is being proven.
func Decide(entries []Entry, busy func(Action) bool) (tasks []Task, wake time.Time) {
	shared := map[service][]candidate{}
	n := Next{}
	for _, e := range entries {
		next := e.Rollout.Next(e.Certificate, e.Conditions)
		n.wakeAt(next.Wake)
		for _, a := range next.Actions {
			key, ok := serviceOf(e.Certificate, a)
			if ok {
				shared[key] = append(shared[key], candidate{a, busy(a)})
			} else if !busy(a) {
				tasks = append(tasks, Task{a})
			}
		}
	}
	if len(shared) == 0 {
		return tasks, n.Wake
	}
	crowd := crowds(entries, shared)
	for key, list := range shared {
		tasks = append(tasks, batch(list, crowd[key])...)
	}
	slices.SortStableFunc(tasks, func(a, b Task) int { return compareActions(a[0], b[0]) })
	return tasks, n.Wake
}

// service is what an activation touches: one thing on one host.
type service struct{ host, key string }

type candidate struct {
	Action
	busy bool
}

// serviceOf returns the service that an activation or restoration touches.
func serviceOf(c Certificate, a Action) (service, bool) {
	if a.Kind != ActActivate && a.Kind != ActRestore {
		return service{}, false
	}
	p, ok := c.Placement(a.Host)
	key := p.Activate.Key()
	return service{a.Host, key}, ok && key != ""
}

// crowd counts what else goes on around one service.
type crowd struct{ coming, proving int }

// crowds counts, for each service, the placements that are about to be staged
// (worth waiting for) and those that are being proven (not to be disturbed).
func crowds(entries []Entry, shared map[service][]candidate) map[service]crowd {
	out := map[service]crowd{}
	for _, e := range entries {
		next := e.Rollout.Next(e.Certificate, e.Conditions)
		active := map[string]bool{}
		for _, a := range next.Actions {
			active[a.Host] = true
		}
		for _, s := range e.Rollout.Steps {
			p, ok := e.Certificate.Placement(s.Host)
			key := service{s.Host, p.Activate.Key()}
			if _, wanted := shared[key]; !ok || !wanted {
				continue
			}
			c := out[key]
			switch {
			case s.State == StepActivated || s.State == StepRestored:
				if active[s.Host] { // not while it waits for another try
					c.proving++
				}
			case s.State == StepPending && active[s.Host]:
				c.coming++
			case e.Rollout.Phase == PhaseOrdering && len(next.Actions) > 0:
				c.coming++
			}
			out[key] = c
		}
	}
	return out
}

// batch turns the candidates of one service into tasks: restorations first,
// all together, then activations, all together, and never two at once.
func batch(list []candidate, around crowd) []Task {
	var restore, activate Task
	for _, c := range list {
		if c.busy {
			return nil
		}
		if c.Kind == ActRestore {
			restore = append(restore, c.Action)
		} else {
			activate = append(activate, c.Action)
		}
	}
	switch {
	case around.proving > 0:
		return nil
	case len(restore) > 0:
		return []Task{restore}
	case around.coming > 0:
		return nil
	}
	return []Task{activate}
}

func compareActions(a, b Action) int {
	switch {
	case a.Certificate < b.Certificate:
		return -1
	case a.Certificate > b.Certificate:
		return 1
	case a.Host < b.Host:
		return -1
	case a.Host > b.Host:
		return 1
	default:
		return 0
	}
}

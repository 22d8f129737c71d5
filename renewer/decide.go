package renewer

import (
	"cmp"
	"slices"
	"time"
)

// Entry is one rollout under way with what it depends on.
type Entry struct {
	Certificate Certificate
	Rollout     *Rollout
	Conditions  Conditions
	// Family is how the last rollouts of the other certificates of the same
	// entry (per_host) ended; those under way are entries themselves.
	Family []Ended
	Size   int // how many certificates the entry has; 0 is 1
	// Gate keeps the leaf from going live: a verifier would refuse it. Zero: none
	// would.
	Gate Waiting
}

// Task is what one worker does in one go: a single action, or the activation
// (or restoration) of several placements that share a service on one host, so
// that the service is restarted once.
type Task []Action

// Turn is what can be done now for all rollouts under way.
type Turn struct {
	Tasks []Task
	Wake  time.Time       // when to ask again if nothing ends before; zero: only an outcome changes anything
	Held  map[string]Hold // by certificate: activations that wait for other certificates
	// Moving are the certificates for which something can be done now.
	Moving map[string]bool
	// Waiting is what keeps certificates, or some of their hosts, from more.
	Waiting map[string]Waits
}

// Decide looks at all rollouts under way, in the order of the fleet file, and
// returns what can be done now. busy says which actions are under way already.
//
// Three things tie rollouts together. Placements that are activated by the
// same thing on one host are activated together or one after another, never
// while another of them is being proven. The certificates of one entry keep to
// its pace. And of a peer group, servers go before clients and never together.
func Decide(entries []Entry, busy func(Action) bool) Turn {
	n := Next{}
	moves := make([]move, 0, len(entries))
	for _, e := range entries {
		next := e.Rollout.Next(e.Certificate, e.Conditions)
		n.wakeAt(next.Wake)
		m := move{e, next}
		if e.Gate.Kind != "" {
			m.close()
			n.wakeAt(e.Gate.Until)
		}
		moves = append(moves, m)
	}
	turn := Turn{Held: holds(moves), Moving: map[string]bool{}, Waiting: map[string]Waits{}}
	for _, h := range turn.Held {
		n.wakeAt(h.Until)
	}
	turn.Wake = n.Wake
	shared := map[service][]candidate{}
	for i := range moves {
		m := &moves[i]
		if h, held := turn.Held[m.Certificate.Name]; held {
			m.next.Actions = slices.DeleteFunc(m.next.Actions, m.fresh)
			m.next.Waiting = append(Waits{h.Waiting}, m.next.Waiting...)
		}
		if len(m.next.Waiting) > 0 {
			turn.Waiting[m.Certificate.Name] = m.next.Waiting
		}
		turn.Moving[m.Certificate.Name] = len(m.next.Actions) > 0
		for _, a := range m.next.Actions {
			key, ok := serviceOf(m.Certificate, a)
			if ok {
				shared[key] = append(shared[key], candidate{a, busy(a)})
			} else if !busy(a) {
				turn.Tasks = append(turn.Tasks, Task{a})
			}
		}
	}
	if len(shared) > 0 {
		crowd := crowds(moves, shared)
		for key, list := range shared {
			turn.Tasks = append(turn.Tasks, batch(list, crowd[key])...)
		}
	}
	slices.SortStableFunc(turn.Tasks, func(a, b Task) int { return compareActions(a[0], b[0]) })
	return turn
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
func crowds(moves []move, shared map[service][]candidate) map[service]crowd {
	out := map[service]crowd{}
	for _, e := range moves {
		next := e.next
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

// urgency says which kind of action goes first when there are more than
// workers: a host between two generations is brought to an end before another
// one is begun.
var urgency = map[ActionKind]int{ActRestore: 0, ActReprobe: 1, ActProbe: 2, ActActivate: 3, ActStage: 4, ActOrder: 5}

func compareActions(a, b Action) int {
	return cmp.Or(cmp.Compare(urgency[a.Kind], urgency[b.Kind]), cmp.Compare(a.Certificate, b.Certificate), cmp.Compare(a.Host, b.Host))
}

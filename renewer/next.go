package renewer

import "time"

// ActionKind is one kind of effect.
type ActionKind string

// The effects of a rollout. All but ActOrder are on one host.
const (
	ActOrder    ActionKind = "order"
	ActStage    ActionKind = "stage"
	ActActivate ActionKind = "activate" // flip, then restart or signal
	ActProbe    ActionKind = "probe"
	ActRestore  ActionKind = "restore"        // flip back, then restart or signal
	ActReprobe  ActionKind = "probe_previous" // look at what was restored
)

// Action is one effect that a rollout asks for.
type Action struct {
	Certificate string
	Rollout     string
	Kind        ActionKind
	Host        string
}

// actionOf maps the state of a step to what has to be done (again) in it.
var actionOf = map[StepState]ActionKind{
	StepPending:    ActStage,
	StepStaged:     ActActivate,
	StepActivating: ActActivate,
	StepActivated:  ActProbe,
	StepRestoring:  ActRestore,
	StepRestored:   ActReprobe,
}

// Conditions is what a rollout has to wait for besides itself.
type Conditions struct {
	Now time.Time
	// WindowOpen and WindowNext describe the maintenance window of the
	// certificate; without one WindowOpen is true.
	WindowOpen bool
	WindowNext time.Time
	Deadline   Deadline
}

// NearExpiry reports whether what is in place is about to expire, so that window,
// order and pace no longer count.
func (k Conditions) NearExpiry() bool { return k.Deadline.Near(k.Now) }

// Next is what a rollout can do now.
type Next struct {
	Actions []Action
	Until   time.Time // when time alone may change this; zero: never
	Waiting Waits     // why the rest is not done now; for people
}

// Next decides. It does not know what is under way: an action is returned
// until its outcome is applied.
func (r *Rollout) Next(c Certificate, k Conditions) Next {
	switch {
	case r.Phase == PhaseOrdering:
		var n Next
		if n.waits(r.NextAt, k.Now, BackoffMax) {
			n.Waiting = Waits{r.ordering()}
		} else {
			n.Actions = []Action{r.action(ActOrder, "")}
		}
		return n
	case r.Phase != PhaseRolling:
		return Next{}
	}
	var n Next
	if !k.NearExpiry() {
		n.until(k.Deadline.About, k.Now)
	}
	stopped, wait := r.Stopped(), r.pausedUntil(c.Pace)
	leaves, roots := r.slots(c, k, false), r.slots(c, k, true)
	for i := range r.Steps {
		s := &r.Steps[i]
		left := &leaves
		if s.Pass == PassRoots {
			left = &roots
		}
		switch {
		case s.State.Over():
		case s.State.Live(): // always finished, whatever else went wrong
			n.add(r, s, k.Now)
		case stopped:
			n.wait(r.halted())
		case s.State == StepPending && n.waits(s.NextAt, k.Now, BackoffMax): // unreachable ones hold no one up
			n.wait(s.waiting())
		case *left <= 0:
			n.wait(r.paced(c))
		case n.waits(wait, k.Now, c.Pace.Pause):
			n.wait(Waiting{Kind: WaitPause, Text: "pause between hosts until " + date(wait), Until: wait})
			*left--
		case s.State == StepStaged && r.shut(c, k):
			n.until(k.WindowNext, k.Now)
			n.wait(r.window(c, k))
			*left--
		default:
			n.add(r, s, k.Now)
			*left--
		}
	}
	return n
}

func (r *Rollout) action(kind ActionKind, host string) Action {
	return Action{Certificate: r.Certificate, Rollout: r.ID, Kind: kind, Host: host}
}

func (n *Next) add(r *Rollout, s *Step, now time.Time) {
	later := n.waits(s.NextAt, now, BackoffMax)
	if later || s.Wait.For(WaitGuard) || s.Wait.For(WaitPerson) { // a guard is asked again and again, and holds meanwhile
		n.wait(s.waiting())
	}
	if later {
		return
	}
	n.Actions = append(n.Actions, r.action(actionOf[s.State], s.Host))
}

// Ahead reports whether a time is still to come. One further off than any that
// is set comes from a clock that was ahead, and has no meaning.
func Ahead(at, now time.Time, most time.Duration) bool {
	return at.After(now) && at.Sub(now) <= most
}

// waits is the same, and notes when that changes.
func (n *Next) waits(at, now time.Time, most time.Duration) bool {
	n.until(at, now)
	n.until(at.Add(-most), now)
	return Ahead(at, now, most)
}

func (n *Next) until(t, now time.Time) {
	if t.After(now) && (n.Until.IsZero() || t.Before(n.Until)) {
		n.Until = t
	}
}

// slots returns how many further hosts may be under way: the canaries that are
// still to be proven, then max_parallel, less those that are live already. A
// live one that went away holds its slot until what is in place is about to end.
// The pass of the added roots has canaries of its own: the leaf of a canary may
// have to wait until every host has the roots.
func (r *Rollout) slots(c Certificate, k Conditions, rooting bool) int {
	p, proven, live := c.Pace, 0, 0
	near := k.NearExpiry()
	for _, s := range r.Steps {
		switch {
		case s.State == StepVerified || rooting && s.Pass == PassRooted:
			proven++
		case s.State.Live() && (!near || !Ahead(s.NextAt, k.Now, BackoffMax)):
			live++
		}
	}
	if canary := min(p.Canary, len(r.Steps)); proven < canary {
		return canary - proven - live
	}
	if p.MaxParallel <= 0 {
		return len(r.Steps)
	}
	return p.MaxParallel - live
}

func (r *Rollout) pausedUntil(p Pace) time.Time {
	var last time.Time
	for _, s := range r.Steps {
		if s.State.InPlace() && s.EndedAt.After(last) {
			last = s.EndedAt
		}
	}
	if last.IsZero() || r.Requested {
		return time.Time{}
	}
	return last.Add(p.Pause)
}

// shut reports whether the window keeps the rollout from activating: not for a
// operator's request, and not close to the end of what is in place.
func (r *Rollout) shut(c Certificate, k Conditions) bool {
	if c.Window == "" || k.WindowOpen || r.Requested {
		return false
	}
	return !k.NearExpiry()
}

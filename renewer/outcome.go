package renewer

import (
	"errors"
	"fmt"
	"time"
)

// Ending is how an action ended: one of these, whatever the action.
type Ending string

// The endings. Only done changes what is known to be in place, but for an
// activation that failed: its flip was done.
const (
	EndDone    Ending = "done"
	EndRefused Ending = "refused" // by the issuer or the preflight: the same would be refused again
	EndFailed  Ending = "failed"  // it may work the next time
	EndHeld    Ending = "held"    // not now: a guard, the rate of the issuer, or one that takes its time
	EndLost    Ending = "lost"    // no one knows what was done: the host was lost, or what proves it could not be had
	EndLocal   Ending = "local"   // this machine is out of file descriptors or memory, or stops: nothing is known of anybody else
)

// Missing is what a host no longer has, so that trying again does not help.
type Missing string

// What may be missing.
const (
	MissingRevision Missing = "revision" // activate, restore: nothing was flipped
	MissingKey      Missing = "key"      // stage: no host has the generation's key
)

// Outcome is how one action ended.
type Outcome struct {
	Action
	At       time.Time
	Took     time.Duration
	End      Ending  // empty: what Err says, see EndingOf
	Err      error   // nil if it was done or held by a guard
	Missing  Missing // failed
	NotBegun bool    // activate, failed or lost: nothing was flipped
	Held     Held    // activate, restore: held

	Generation *Generation   // order: what was issued; nil without an error: only its key was made
	Key        *SealedKey    // order: the private key of Generation
	Warnings   []string      // order: what the issuer added or shortened; probe: what could not be checked
	Revision   string        // stage: what now lies beside what is live
	Previous   string        // stage: what is live
	Live       bool          // stage: Revision is the live one
	Layout     string        // stage
	Roots      RootSet       // stage: of the ca file; failed: wanted there
	Foreign    RootSet       // stage: those of Roots that were found in the file that was there
	WasForeign bool          // stage: renewer did not write what is live
	Found      *Seen         // stage, held: what was found where nothing was placed yet; Previous is its revision where renewer wrote it, and has forgotten
	Bare       bool          // stage: a look found no files at all where nothing was placed yet
	NewRoots   [][]byte      // order, stage: DER of roots that the inventory has to know
	Stopped    string        // activate, restore: what does not run and was left alone
	Idle       bool          // probe, of what does not run: nothing else can have loaded what was there before
	Settle     time.Duration // activate: nothing is activated, and what reads the roots has them after that; 0: at once
	Dir        string        // activate: of the live names
	Rereads    bool          // activate: the service reads it by itself
	Began      time.Time     // activate: when the service got the command; zero if it did not, or did not run
	Budget     time.Duration // activate: from Began until proven
	Workers    []string      // activate: of a Dagu coordinator, those that were connected before
	Served     string        // probes: SHA-256 seen, hex
	ServedEnd  time.Time     // probes: its notAfter
}

// apply takes an outcome in. One that does not belong to the state (of a rollout
// that has ended, say) changes nothing.
func (o Outcome) apply(a *applied) bool {
	r := a.Record.Rollout
	if r == nil || r.ID != o.Rollout || r.Phase.Over() {
		return false
	}
	if o.End == "" {
		o.End = EndingOf(o.Err)
	}
	t := transition{applied: a, r: r, o: o}
	s, ok := r.Step(o.Host)
	switch {
	case o.Kind == ActOrder && r.Phase == PhaseOrdering:
		t.ordered()
	case ok && r.Phase == PhaseRolling && actionOf[s.State] == o.Kind:
		t.s, t.p, t.o.Err = s, a.Record.Placements[o.Host], AtHost(o.Host, o.Err)
		t.step()
		a.Record.Placements[o.Host] = t.p
		t.finish()
	default:
		return false
	}
	a.ch.Roots = append(a.ch.Roots, o.NewRoots...)
	return true
}

// transition is an outcome while it is taken in, with what it is about.
type transition struct {
	*applied
	r *Rollout
	s *Step
	p PlacementState
	o Outcome
}

func (t *transition) step() {
	switch {
	case t.o.End == EndLocal:
		t.local()
	case t.o.Kind == ActStage:
		t.staged()
	case t.o.Kind == ActActivate:
		t.activated()
	case t.o.Kind == ActProbe:
		t.probed()
	case t.o.Kind == ActRestore:
		t.restored()
	case t.o.Kind == ActReprobe:
		t.reprobed()
	}
}

func (t *transition) event(typ EventType, message string, err error) *Event {
	e := t.applied.event(typ, t.o.Host, t.r.Generation, message)
	e.Time, e.Certificate, e.Rollout = t.o.At, t.r.Certificate, t.r.ID
	if err != nil {
		e.Error, e.Hint = err.Error(), Hint(err)
	}
	return e
}

// enter moves the step to a state; an error it had stays until it is proven.
func (t *transition) enter(state StepState) {
	t.s.State, t.s.Attempts, t.s.NextAt, t.s.Again, t.s.Wait = state, 0, time.Time{}, false, nil
	if state.Over() {
		t.s.EndedAt = t.o.At
	}
}

func (t *transition) fail(err error) { t.s.Error, t.s.Hint = err.Error(), Hint(err) }

// again keeps the state and tries later.
func (t *transition) again(typ EventType) {
	t.s.Attempts++
	t.s.Wait = nil
	if errors.Is(t.o.Err, ErrUnreachable) {
		t.s.Wait = &Wait{Kind: WaitUnreachable, Why: t.o.Err.Error(), Since: t.o.At, Hint: Hint(t.o.Err)}
	}
	t.s.NextAt = t.o.At.Add(Backoff(t.s.Attempts, t.r.ID+t.s.Host))
	t.fail(t.o.Err)
	t.event(typ, fmt.Sprintf("attempt %d, next %s", t.s.Attempts, t.s.NextAt.UTC().Format(time.RFC3339)), t.o.Err)
}

// LocalRetry is how long until something is tried again that this machine had no
// descriptors or memory for.
const LocalRetry = 15 * time.Second

// local waits for this machine: it is no attempt, and says nothing about a host.
func (t *transition) local() {
	if !t.s.Wait.For(WaitLocal) {
		t.s.Wait = &Wait{Kind: WaitLocal, Why: t.o.Err.Error(), Since: t.o.At, Hint: Hint(t.o.Err)}
		t.event(EventLocal, "a fault of this machine, not of "+t.s.Host, t.o.Err)
	}
	t.s.NextAt = t.o.At.Add(LocalRetry)
}

// finish ends the rollout when nothing more can be done: everything in place,
// or a failure and no one between two generations.
func (t *transition) finish() {
	r := t.r
	if r.Phase.Over() {
		return
	}
	failed, over, settled, placed := "", true, true, len(r.Steps) == 0
	for _, s := range r.Steps {
		over = over && (s.State.Over() || s.unreachable())
		settled = settled && (!s.State.Live() || s.unreachable())
		placed = placed || s.State.InPlace()
		if s.State.failed() && failed == "" {
			failed = OnHost(s.Host, s.Error)
			r.Error, r.Hint = failed, s.Hint
		}
	}
	switch {
	case failed != "" && settled:
		t.leaveBehind()
		t.close(PhaseBlocked, failed)
	case over && placed && failed == "":
		r.Error, r.Hint = "", ""
		t.leaveBehind()
		if r.Generation > 0 || r.Kind == KindRollback {
			t.Record.Current = r.Generation
		}
		switch r.Kind {
		case KindRollback:
			t.Record.RollbackRequest = &r.Request
		case KindIssue:
			t.Record.RollbackRequest = nil
		}
		t.close(PhaseDone, "")
	}
}

// leaveBehind hands hosts that cannot be reached over to work of their own: a
// rollout ends when every placement that can be reached is proven or back.
func (t *transition) leaveBehind() {
	for _, s := range t.r.Steps {
		if s.State.Over() || !s.unreachable() {
			continue
		}
		p := t.Record.Placements[s.Host]
		p.Error, p.Hint = s.Error, s.Hint
		if s.State.Live() {
			step := s.afresh()
			p.State, p.Matches, p.Interrupted = HostActivated, false, &step
		}
		t.Record.Placements[s.Host] = p
	}
}

func (t *transition) close(phase Phase, why string) {
	t.r.Phase, t.r.EndedAt = phase, t.o.At
	typ := map[Phase]EventType{PhaseDone: EventRolloutDone, PhaseBlocked: EventRolloutBlocked, PhaseSuperseded: EventRolloutSuperseded}[phase]
	t.o.Host = ""
	t.event(typ, why, nil)
}

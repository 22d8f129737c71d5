package renewer

import (
	"fmt"
	"time"
)

// Outcome is how one action ended. Err nil means that it was done.
type Outcome struct {
	Action
	At   time.Time
	Took time.Duration
	Err  error
	// Inconclusive: Err says nothing about the certificate (the host or the
	// issuer of the probe's client certificate could not be reached).
	Inconclusive bool
	Cancelled    bool // cut off by the end of this process: nothing is known
	KeyLost      bool // stage: no host has the generation's key any more
	Held         Held // activate: a guard does not let it pass now; nothing was flipped

	Generation *Generation // order: what was issued
	Warnings   []string    // order: what the issuer added or shortened; probe: what could not be checked
	Revision   string      // stage: what now lies beside what is live
	Previous   string      // stage: what is live
	Live       bool        // stage: Revision is the live one
	Layout     string      // stage
	Trust      string      // stage
	Stopped    string      // activate, restore: what does not run and was left alone
	Served     string      // probes: SHA-256 seen, hex
	ServedEnd  time.Time   // probes: its notAfter
}

// Apply is the transition: it takes an outcome into the record and returns the
// events that explain it. An outcome that does not belong to the state (of a
// rollout that is over, say) changes nothing.
func (rec *Record) Apply(o Outcome) []Event {
	r := rec.Rollout
	if r == nil || r.ID != o.Rollout || r.Phase.Over() {
		return nil
	}
	t := transition{rec: rec, r: r, o: o}
	if o.Kind == ActOrder {
		if r.Phase == PhaseOrdering {
			t.ordered()
		}
		return t.events
	}
	s, ok := r.Step(o.Host)
	if !ok || r.Phase != PhaseRolling || actionOf[s.State] != o.Kind {
		return nil
	}
	t.s, t.p = s, rec.Placements[o.Host]
	switch o.Kind {
	case ActStage:
		t.staged()
	case ActActivate:
		t.activated()
	case ActProbe:
		t.probed()
	case ActRestore:
		t.restored()
	case ActReprobe:
		t.reprobed()
	}
	if rec.Placements == nil {
		rec.Placements = map[string]PlacementState{}
	}
	rec.Placements[o.Host] = t.p
	t.finish()
	return t.events
}

// Begin notes that an action is about to be started. It has to be recorded
// before the effect: from a flip on, a host has to be finished or put back
// even if the rollout stops elsewhere. It reports whether anything changed.
func (rec *Record) Begin(a Action) bool {
	r := rec.Rollout
	if r == nil || r.ID != a.Rollout || a.Kind != ActActivate {
		return false
	}
	s, ok := r.Step(a.Host)
	switch {
	case ok && s.State == StepStaged:
		s.State = StepActivating
	case ok && s.State == StepActivating && !s.Again:
		s.Again = true
	default:
		return false
	}
	return true
}

type transition struct {
	rec    *Record
	r      *Rollout
	s      *Step
	p      PlacementState
	o      Outcome
	events []Event
}

func (t *transition) event(typ EventType, message string, err error) {
	e := Event{
		Time: t.o.At, Type: typ, Certificate: t.r.Certificate, Host: t.o.Host,
		Generation: t.r.Generation, Rollout: t.r.ID, Message: message,
	}
	if err != nil {
		e.Error, e.Hint = err.Error(), Hint(err)
	}
	t.events = append(t.events, e)
}

// enter moves the step to a state; an error it had stays until it is proven.
func (t *transition) enter(state StepState) {
	t.s.State, t.s.Attempts, t.s.NextAt, t.s.Again = state, 0, time.Time{}, false
	if state.Over() {
		t.s.EndedAt = t.o.At
	}
}

func (t *transition) fail(err error) { t.s.Error, t.s.Hint = err.Error(), Hint(err) }

// again keeps the state and tries later.
func (t *transition) again(typ EventType) {
	t.s.Attempts++
	t.s.NextAt = t.o.At.Add(Backoff(t.s.Attempts, t.r.ID+t.s.Host))
	t.fail(t.o.Err)
	t.event(typ, fmt.Sprintf("attempt %d, next %s", t.s.Attempts, t.s.NextAt.UTC().Format(time.RFC3339)), t.o.Err)
}

func (t *transition) ordered() {
	r, o := t.r, t.o
	switch {
	case o.Err == nil:
		g := o.Generation
		r.Phase, r.Attempts, r.NextAt, r.Error, r.Hint = PhaseRolling, 0, time.Time{}, "", ""
		r.Generation, t.rec.Latest, t.rec.KeyLost = g.Number, g.Number, false
		t.event(EventIssued, fmt.Sprintf("serial %s, valid until %s", g.Serial, g.NotAfter.Format(time.RFC3339)), nil)
		for _, w := range o.Warnings {
			t.event(EventIssueWarning, w, nil)
		}
	case ClassOf(o.Err) == ClassRefused:
		r.Error, r.Hint = o.Err.Error(), Hint(o.Err)
		t.event(EventRenewalFailed, "the issuer refused", o.Err)
		t.close(PhaseBlocked, o.Err.Error())
	default:
		r.Attempts++
		r.NextAt = o.At.Add(Backoff(r.Attempts, r.ID))
		r.Error, r.Hint = o.Err.Error(), Hint(o.Err)
		t.event(EventRenewalFailed, fmt.Sprintf("attempt %d, next %s", r.Attempts, r.NextAt.UTC().Format(time.RFC3339)), o.Err)
	}
}

func (t *transition) staged() {
	s, o := t.s, t.o
	switch {
	case o.KeyLost:
		t.rec.KeyLost = true
		t.fail(o.Err)
		t.event(EventStageFailed, "a new certificate is needed", o.Err)
		t.close(PhaseSuperseded, o.Err.Error())
		return
	case ClassOf(o.Err) == ClassRefused: // by the preflight: it must not go live
		t.fail(o.Err)
		t.enter(StepBlocked)
		t.p.State, t.p.Error, t.p.Hint = HostBlocked, o.Err.Error(), Hint(o.Err)
		t.event(EventStageFailed, "what is in place stays", o.Err)
		return
	case o.Err != nil:
		t.again(EventStageFailed)
		return
	}
	t.enter(StepStaged)
	s.Error, s.Hint = "", ""
	begun := s.Revision // made live before, and never proven: no way back
	s.Revision, s.Layout, s.Trust = o.Revision, o.Layout, o.Trust
	if o.Previous != o.Revision && (s.Previous == "" || o.Previous != begun) {
		s.Previous = o.Previous
	}
	if t.r.Kind == KindRollback && o.Live { // nothing to flip: it only has to be proven
		t.enter(StepActivated)
		t.place()
	}
	t.event(EventStaged, s.Revision, nil)
}

// place records that the live names lead to the step's revision.
func (t *transition) place() {
	t.p.State, t.p.Generation, t.p.Revision = HostActivated, t.r.Generation, t.s.Revision
	t.p.Layout, t.p.Trust = t.s.Layout, t.s.Trust
	t.p.keep(Revision{Name: t.s.Revision, Generation: t.r.Generation, Layout: t.s.Layout, Trust: t.s.Trust}, t.s.Previous)
}

// held goes back to waiting: what a guard holds up has not begun, unless an
// earlier try was cut off.
func (t *transition) held() {
	s, h := t.s, t.o.Held
	news := s.Waiting == "" || s.Blocked != h.Blocked
	if !s.Again {
		s.State = StepStaged
	}
	s.Waiting, s.Blocked, s.Hint = h.Why, h.Blocked, h.Hint
	s.NextAt = t.o.At.Add(GuardInterval)
	if news {
		t.event(EventRolloutWaiting, h.Why, nil)
	}
}

func (t *transition) activated() {
	if t.o.Held.Why != "" {
		t.held()
		return
	}
	t.s.Waiting, t.s.Blocked, t.s.Hint = "", false, ""
	if t.o.Inconclusive {
		t.again(EventActivateFailed)
		return
	}
	t.place()
	if t.o.Err != nil {
		t.event(EventActivateFailed, "", t.o.Err)
		t.back(t.o.Err)
		return
	}
	t.enter(StepActivated)
	t.s.Stopped = t.o.Stopped
	t.event(EventActivated, t.s.Stopped, nil)
}

// back goes to the previous revision or, where there is none, stops.
func (t *transition) back(err error) {
	t.fail(err)
	if t.canGoBack() {
		t.enter(StepRestoring)
		return
	}
	t.p.Unactivated = t.s.State == StepActivating
	t.enter(StepBlocked)
	t.p.State, t.p.Error, t.p.Hint, t.p.Matches = HostBlocked, err.Error()+"; there is nothing earlier to go back to", Hint(err), false
}

func (t *transition) canGoBack() bool { return t.s.Previous != "" && t.s.Previous != t.s.Revision }

func (t *transition) unproven(why string) {
	t.saw()
	t.enter(StepUnproven)
	t.p.unproven(why, t.o.At)
	t.event(EventUnreachable, why, nil)
}

func (t *transition) saw() {
	t.p.ProbedAt, t.p.Served, t.p.ServedEnd = t.o.At, t.o.Served, t.o.ServedEnd
}

func (t *transition) proven(state HostState) {
	t.saw()
	t.p.State, t.p.Matches, t.p.VerifiedAt = state, true, t.o.At
	t.p.Error, t.p.Hint, t.p.Failures, t.p.Reprobe, t.p.Unactivated = "", "", 0, time.Time{}, false
}

func (t *transition) probed() {
	switch {
	case t.o.Inconclusive:
		t.again(EventProbeFailed)
	case t.o.Err != nil && !t.canGoBack() && ProbeErrorKindOf(t.o.Err) == ProbeUnreachable:
		// The first placement, and nobody serves yet: that takes nothing down.
		t.fail(t.o.Err)
		t.unproven(t.o.Err.Error())
	case t.o.Err != nil:
		t.saw()
		t.event(EventProbeFailed, "", t.o.Err)
		t.back(t.o.Err)
	case t.s.Stopped != "":
		t.p.Unactivated = true
		t.unproven("not running, so not activated: " + t.s.Stopped + "; the files are in place, but nothing serves them")
	default:
		t.proven(HostVerified)
		t.enter(StepVerified)
		t.s.Error, t.s.Hint = "", ""
		t.event(EventVerified, t.o.Served, nil)
		for _, w := range t.o.Warnings {
			t.event(EventNotChecked, w, nil)
		}
	}
}

func (t *transition) restored() {
	if t.o.Err != nil {
		t.again(EventRestoreFailed)
		return
	}
	prev := t.p.drop(t.s.Revision, t.s.Previous)
	t.p.Revision, t.p.Generation, t.p.Layout, t.p.Trust = t.s.Previous, prev.Generation, prev.Layout, prev.Trust
	why := t.s.Error
	t.enter(StepRestored)
	t.s.Stopped = t.o.Stopped
	t.event(EventRestored, t.s.Previous+": "+why, nil)
}

func (t *transition) reprobed() {
	if t.o.Inconclusive {
		t.again(EventProbeFailed)
		return
	}
	why := t.s.Error
	if t.o.Err != nil {
		t.saw()
		t.s.Error = fmt.Sprintf("%s; restored %s, but that is not served either: %v", why, t.s.Previous, t.o.Err)
		t.enter(StepBlocked)
		t.p.State, t.p.Matches, t.p.Error, t.p.Hint = HostBlocked, false, t.s.Error, Hint(t.o.Err)
		t.event(EventProbeFailed, "of the restored revision "+t.s.Previous, t.o.Err)
		return
	}
	t.proven(HostRolledBack)
	t.enter(StepRolledBack)
	t.p.Error, t.p.Hint = why, t.s.Hint
	if t.s.Stopped != "" {
		t.p.unproven(why+"; put back, but not running: "+t.s.Stopped, t.o.At)
	}
	t.event(EventRolledBack, why, nil)
}

// finish ends the rollout when nothing more can be done: everything in place,
// or a failure and nobody between two generations.
func (t *transition) finish() {
	r := t.r
	if r.Phase.Over() {
		return
	}
	failed, over := "", true
	for _, s := range r.Steps {
		over = over && s.State.Over()
		if s.State.failed() && failed == "" {
			failed = s.Host + ": " + s.Error
			r.Error, r.Hint = failed, s.Hint
		}
	}
	switch {
	case failed != "" && r.Settled():
		t.close(PhaseBlocked, failed)
	case over && failed == "":
		r.Error, r.Hint = "", ""
		if r.Generation > 0 {
			t.rec.Current = r.Generation
		}
		switch r.Kind {
		case KindRollback:
			t.rec.Held = &r.Request
		case KindIssue:
			t.rec.Held = nil
		}
		t.close(PhaseDone, "")
	}
}

func (t *transition) close(phase Phase, why string) {
	t.r.Phase, t.r.EndedAt = phase, t.o.At
	typ := map[Phase]EventType{PhaseDone: EventRolloutDone, PhaseBlocked: EventRolloutBlocked, PhaseSuperseded: EventRolloutSuperseded}[phase]
	t.o.Host = ""
	t.event(typ, why, nil)
}

package renewer

import (
	"errors"
	"fmt"
	"time"
)

// One method for each action: what its outcome does to the step, to what is
// known of the placement, and to the log.

func (t *transition) ordered() {
	r, o := t.r, t.o
	switch {
	case o.Err == nil && o.Generation == nil:
		r.Ordered, t.ch.Key = o.Key.Generation, o.Key
	case o.Err == nil:
		g := o.Generation
		r.Ordered = 0
		r.Phase, r.Attempts, r.NextAt, r.Wait, r.Error, r.Hint = PhaseRolling, 0, time.Time{}, nil, "", ""
		r.Generation, t.Record.Latest, t.Record.KeyLost = g.Number, max(g.Number, t.Record.Latest), false
		t.Rolling, t.ch.Generation, t.ch.Key = g, g, o.Key
		t.event(EventIssued, fmt.Sprintf("serial %s, valid until %s", g.Serial, g.NotAfter.Format(time.RFC3339)), nil)
		for _, w := range o.Warnings {
			t.event(EventIssueWarning, w, nil)
		}
	case errors.Is(o.Err, ErrRate):
		if r.NextAt.IsZero() { // reported once
			t.event(EventRolloutWaiting, o.Err.Error(), nil)
		}
		r.NextAt, r.Wait = o.At.Add(min(RetryAfter(o.Err), BackoffMax)), &Wait{Kind: WaitRate, Since: o.At}
	case errors.Is(o.Err, ErrLater):
		t.later()
	case o.End == EndLocal:
		if !r.Wait.For(WaitLocal) {
			r.Wait = &Wait{Kind: WaitLocal, Why: o.Err.Error(), Since: o.At, Hint: Hint(o.Err)}
			t.event(EventLocal, "a fault of this machine; the issuer was not asked", o.Err)
		}
		r.NextAt = o.At.Add(LocalRetry)
	case o.End == EndRefused:
		r.Error, r.Hint = o.Err.Error(), Hint(o.Err)
		why := "the issuer refused"
		if errors.Is(o.Err, ErrUnusable) {
			why = "the certificate from the issuer is rejected"
		}
		if errors.Is(o.Err, ErrTooShort) {
			t.event(EventLifetimeTooShort, "", o.Err)
		}
		t.event(EventRenewalFailed, why, o.Err)
		t.close(PhaseBlocked, o.Err.Error())
	default:
		r.Attempts++
		r.Wait = nil
		r.NextAt = o.At.Add(orderBackoff(r.Attempts, r.ID, o.Err))
		r.Error, r.Hint = o.Err.Error(), Hint(o.Err)
		t.event(EventRenewalFailed, fmt.Sprintf("attempt %d, next %s", r.Attempts, r.NextAt.UTC().Format(time.RFC3339)), o.Err)
	}
}

// LaterInterval is how often an issuer that takes its time is asked.
const LaterInterval = time.Minute

// later waits for an issuer that has not signed yet, however long that takes: asked at
// equal intervals, and an event when its answer changes.
func (t *transition) later() {
	r, o, was := t.r, t.o, t.r.Wait
	r.Wait = &Wait{Kind: WaitIssuer, Why: o.Err.Error(), Since: o.At, Hint: Hint(o.Err)}
	r.Attempts, r.NextAt = 0, o.At.Add(max(LaterInterval, min(RetryAfter(o.Err), BackoffMax)))
	failed := r.Error
	r.Error, r.Hint = "", ""
	if was.For(WaitIssuer) {
		r.Wait.Since = was.Since
	}
	switch {
	case ClassOf(o.Err) == ClassMisconfigured:
		if r.Error, r.Hint = r.Wait.Why, r.Wait.Hint; r.Error != failed {
			t.event(EventRenewalFailed, "the order stays open; renewer keeps asking the issuer", o.Err)
		}
	case !was.For(WaitIssuer), failed != "": // its words may change from one time to the next
		t.event(EventOrderWaiting, r.Wait.Why, nil)
	}
}

// orderBackoff is Backoff, and never sooner than the issuer asked for; but an
// issuer cannot ask for more than BackoffMax.
func orderBackoff(attempts int, what string, err error) time.Duration {
	return max(Backoff(attempts, what), min(RetryAfter(err), BackoffMax))
}

func (t *transition) staged() {
	s, o := t.s, t.o
	if o.Bare && !t.p.Placed() {
		t.p.Origin = OriginNone
	}
	switch {
	case o.Found != nil: // nothing is written before it is known who accepts what is there
		t.p.Origin, t.p.Seen, t.p.Foreign, t.p.State = OriginForeign, o.Found, o.Foreign, HostPending
		if o.Previous == "" {
			t.event(EventFound, "files that renewer did not write are in place; they are kept and can be restored", nil)
		}
		return
	case o.Missing == MissingKey && t.r.Kind == KindRollback:
		t.fail(o.Err)
		t.event(EventStageFailed, "the current certificate stays in place", o.Err)
		t.r.Error, t.r.Hint = o.Err.Error(), Hint(o.Err)
		t.close(PhaseBlocked, o.Err.Error())
		return
	case o.Missing == MissingKey && s.Pass == PassRoots: // of what is in place, which another certificate would not bring back
		t.again(EventStageFailed)
		return
	case o.Missing == MissingKey && t.r.because(ReasonKeyLost): // another one was ordered for that, and its key is lost as well
		t.fail(o.Err)
		t.enter(StepBlocked)
		s.Roots = o.Roots
		t.event(EventStageFailed, "the current certificate stays in place", o.Err)
		return
	case o.Missing == MissingKey:
		t.Record.KeyLost = true
		t.fail(o.Err)
		t.event(EventStageFailed, "a new certificate is needed", o.Err)
		t.close(PhaseSuperseded, o.Err.Error())
		return
	case o.End == EndRefused: // by the preflight: it must not go live
		t.fail(o.Err)
		t.enter(StepBlocked)
		s.Roots = o.Roots // tried, see newRoots
		t.p.State, t.p.Error, t.p.Hint = HostBlocked, o.Err.Error(), Hint(o.Err)
		t.event(EventStageFailed, "nothing was changed on the host", o.Err)
		return
	case o.Err != nil:
		t.again(EventStageFailed)
		return
	}
	t.enter(StepStaged)
	s.Error, s.Hint = "", ""
	begun := s.Revision // made live before, and never proven: no way back
	s.Revision, s.Layout, s.Roots, s.Foreign = o.Revision, o.Layout, o.Roots, o.Foreign
	if s.Generation = t.r.Generation; s.Pass == PassRoots {
		s.Generation = t.p.Generation
	}
	if o.Previous != o.Revision && (s.Previous == "" || o.Previous != begun) {
		s.Previous, s.WasForeign = o.Previous, o.WasForeign
	}
	t.event(EventStaged, s.Revision, nil)
}

// place records that the live names lead to the step's revision.
func (t *transition) place() {
	s := t.s
	if t.o.Settle > 0 && t.p.Loaded != nil && !t.o.At.Before(t.p.PlacedAt.Add(t.o.Settle)) {
		t.p.loaded() // what was in place until now
	}
	if same := t.p.Generation == s.Generation && t.p.Revision == s.Revision && t.p.Layout == s.Layout && t.p.Roots.Same(s.Roots); same && t.r.Kind == KindPlace && !t.r.Requested && !s.Again {
		t.p.Same++
	} else if !same {
		t.p.Same = 0
	}
	t.p.State, t.p.Generation, t.p.Revision, t.p.Unseen = HostActivated, s.Generation, s.Revision, ""
	t.p.Layout, t.p.Roots, t.p.Digest, t.p.Foreign = s.Layout, s.Roots, "", s.Foreign
	t.p.PlacedAt, t.p.Interrupted = t.o.At, nil
	t.p.under(t.Certificate.Name)
	t.p.in(t.o.Dir)
	p, _ := t.Certificate.Placement(s.Host)
	if t.p.Machine, t.p.Files = p.Machine, nil; p.Layout() == s.Layout {
		t.p.Files = p.Names()
	}
	if t.p.Seen != nil && t.p.Origin == OriginForeign && s.Pass == PassRoots { // somebody's leaf, with roots added
		seen := *t.p.Seen
		seen.Roots, t.p.Seen = s.Roots, &seen
	} else {
		t.p.Origin, t.p.Seen = OriginIssued, nil
	}
	t.p.keep(Revision{Name: s.Revision, Generation: s.Generation, Layout: s.Layout, Roots: s.Roots, Origin: t.p.Origin}, s.Previous)
}

// held goes back to waiting: what a guard holds up has not begun, unless an
// earlier try was cut off. What goes back stays where it is: its files are back, and its
// service is as it was.
func (t *transition) held() {
	s, h := t.s, t.o.Held
	kind := map[bool]WaitKind{false: WaitGuard, true: WaitPerson}[h.Blocked]
	news := !s.Wait.For(kind)
	switch {
	case s.State == StepRestoring:
		s.Attempts = max(s.Attempts, 1) // a setup of the host may end it
	case !s.Again:
		s.State = StepStaged
	}
	wait := Wait{Kind: kind, Why: h.Why, Since: t.o.At, Until: h.Deadline, Hint: h.Hint}
	if !news {
		wait.Since = s.Wait.Since
	}
	s.Wait, s.NextAt = &wait, t.o.At.Add(GuardInterval)
	if news {
		if ev := t.event(EventRolloutWaiting, h.Why, nil); h.Blocked { // operators are notified
			ev.Error, ev.Hint = h.Why, h.Hint
		}
	}
}

func (t *transition) activated() {
	if t.o.End == EndHeld {
		t.held()
		return
	}
	t.s.Wait = nil
	if t.o.Missing == MissingRevision { // what was staged is to be staged again
		t.again(EventActivateFailed)
		t.s.State = StepPending
		return
	}
	if !t.o.Began.IsZero() && t.s.Down.IsZero() {
		t.s.Down, t.s.Budget = t.o.Began, t.o.Budget
	}
	if t.o.End == EndLost || t.o.NotBegun {
		if t.o.NotBegun && !t.s.Again {
			t.s.State = StepStaged
		}
		t.again(EventActivateFailed)
		return
	}
	t.place()
	if t.o.Err != nil {
		t.event(EventActivateFailed, "", t.o.Err)
		t.back(t.o.Err)
		return
	}
	if t.r.Quiet {
		t.placed()
		return
	}
	t.enter(StepActivated)
	t.s.Rereads, t.s.Settles, t.s.Workers = t.o.Rereads, t.o.Settle > 0, t.o.Workers
	if t.s.Rereads && !t.s.Settles {
		t.p.loaded()
	}
	message := t.o.Stopped
	if t.s.Rereads {
		message = "no restart is needed: the service reloads its files"
	}
	t.event(EventActivated, message, nil)
}

// placed ends the step of a host that is being set up: the files are in place,
// and what is served is proven when its service has been restarted.
func (t *transition) placed() {
	t.enter(StepUnproven)
	t.p.Matches, t.p.Unactivated, t.p.Error, t.p.Hint = false, true, "", ""
	t.p.Reprobe = t.o.At.Add(Backoff(1, t.p.Revision))
	t.event(EventActivated, "the files are in place; host setup restarts the service", nil)
}

// back goes to the previous revision or, where there is none, stops.
func (t *transition) back(err error) {
	t.fail(err)
	if t.canGoBack() {
		t.enter(StepRestoring)
		return
	}
	t.p.Unactivated = t.s.State == StepActivating
	t.s.Previous = "" // what was never proven is nothing to restore
	t.enter(StepBlocked)
	t.p.State, t.p.Error, t.p.Hint, t.p.Matches = HostBlocked, err.Error()+"; there is no previous certificate to restore", Hint(err), false
}

// canGoBack reports whether something that may have worked was in place before: not
// a revision of renewer whose activation never succeeded.
func (t *transition) canGoBack() bool {
	known := t.s.WasForeign || !t.p.Unactivated || !t.p.VerifiedAt.IsZero()
	return known && t.s.Previous != "" && t.s.Previous != t.s.Revision
}

func (t *transition) unproven() {
	t.saw()
	t.fail(t.o.Err)
	t.enter(StepUnproven)
	t.p.unproven(t.o.Err, t.o.At)
	t.event(EventUnreachable, t.o.Err.Error(), nil)
}

func (t *transition) saw() {
	t.p.ProbedAt, t.p.Served, t.p.ServedEnd = t.o.At, t.o.Served, t.o.ServedEnd
}

// proven: what is in place is what is served.
func (t *transition) proven(state HostState) {
	t.saw()
	if t.s.Settles && t.p.Loaded != nil { // of the roots time alone tells: see LoadedRoots
		t.p.Loaded = &Loaded{Generation: t.p.Generation, Roots: t.p.Loaded.Roots}
	} else {
		t.p.loaded()
	}
	t.p.State, t.p.Matches, t.p.VerifiedAt = state, true, t.o.At
	t.p.Error, t.p.Hint, t.p.Failures, t.p.Reprobe, t.p.Unactivated = "", "", 0, time.Time{}, false
}

func (t *transition) probed() {
	kind := ProbeErrorKindOf(t.o.Err)
	switch {
	case t.o.End == EndLost && (!t.s.halfSpent(t.o.At) || !t.canGoBack()):
		t.again(EventProbeFailed)
	case kind == ProbeStopped:
		if t.p.stopped(!t.o.Idle); t.s.Pass == PassRoots { // what does not run loads them when it starts
			t.rooted()
			return
		}
		t.unproven()
	case kind == ProbeHidden, kind == ProbeDeserted, kind == ProbeUnreachable && !t.canGoBack():
		// Going back would change nothing, or cost more than it gives; or it is the
		// first placement, and no one serves yet: that takes nothing down.
		t.unproven()
	case t.o.Err != nil:
		t.saw()
		t.event(EventProbeFailed, "", t.o.Err)
		t.back(t.o.Err)
	case t.s.Pass == PassRoots:
		if t.proven(HostVerified); t.p.Origin == OriginForeign {
			t.p.State, t.p.Matches = HostPending, false
		}
		t.rooted()
	default:
		t.proven(HostVerified)
		t.enter(StepVerified)
		t.s.Error, t.s.Hint, t.s.Workers = "", "", nil
		t.event(EventVerified, t.o.Served+t.away(), nil)
		for _, w := range t.o.Warnings {
			t.event(EventNotChecked, w, nil)
		}
	}
}

// rooted ends the pass of the added roots: the leaf follows when every verifier
// has them.
func (t *transition) rooted() {
	t.event(EventVerified, "the added roots are in place; the certificate comes next"+t.away(), nil)
	*t.s = Step{Host: t.s.Host, State: StepPending, Pass: PassRooted}
}

func (t *transition) restored() {
	if t.o.End == EndHeld {
		t.held()
		return
	}
	if t.o.Missing == MissingRevision {
		t.s.Error += "; the previous certificate cannot be restored: " + t.o.Err.Error()
		t.enter(StepBlocked)
		t.p.State, t.p.Matches, t.p.Error, t.p.Hint = HostBlocked, false, t.s.Error, Hint(t.o.Err)
		t.event(EventRestoreFailed, "", t.o.Err)
		return
	}
	if t.o.Err != nil {
		t.again(EventRestoreFailed)
		return
	}
	prev := t.p.drop(t.s.Revision, t.s.Previous)
	if prev.Layout != t.p.Layout {
		t.p.Files = nil
	}
	if t.s.WasForeign {
		prev.Origin = OriginForeign
	}
	t.p.Revision, t.p.Generation, t.p.Layout, t.p.Roots, t.p.Origin = t.s.Previous, prev.Generation, prev.Layout, prev.Roots, prev.Origin
	t.p.PlacedAt = t.o.At
	why := t.s.Error
	t.enter(StepRestored)
	t.event(EventRestored, t.s.Previous+": "+why, nil)
}

func (t *transition) reprobed() {
	if t.o.End == EndLost {
		t.again(EventProbeFailed)
		return
	}
	why, stopped := t.s.Error, ProbeErrorKindOf(t.o.Err) == ProbeStopped
	if t.o.Err != nil && !stopped {
		t.saw()
		t.s.Error = fmt.Sprintf("%s; %s was restored, but is not served either: %v%s", why, t.s.Previous, t.o.Err, t.away())
		t.enter(StepBlocked)
		t.p.State, t.p.Matches, t.p.Error, t.p.Hint = HostBlocked, false, t.s.Error, Hint(t.o.Err)
		t.event(EventRestoreFailed, "the restored revision "+t.s.Previous+" is not served either", t.o.Err)
		return
	}
	if stopped {
		t.saw()
		t.p.stopped(!t.o.Idle)
		t.p.unproven(fmt.Errorf("%s; the previous certificate was restored, but %w", why, t.o.Err), t.o.At)
	} else {
		t.proven(HostRolledBack)
		t.p.Error, t.p.Hint = why, t.s.Hint
	}
	t.enter(StepRolledBack)
	if t.p.Origin == OriginForeign { // it is served again, and is no match of anything that renewer knows
		t.p.Matches, t.p.Error = false, why+"; renewer did not write the files that were restored"
	}
	t.event(EventRolledBack, why+t.away(), nil)
}

// away notes how long the service was away, and says it where there is a
// budget for it.
func (t *transition) away() string {
	s := t.s
	if s.Down.IsZero() {
		return ""
	}
	s.Away = t.o.At.Sub(s.Down)
	if s.Budget <= 0 {
		return ""
	}
	text := fmt.Sprintf("down for %s of a restart budget of %s", s.Away.Round(time.Millisecond), s.Budget)
	if s.Away > s.Budget {
		t.p.OverBudgetAt = t.o.At
		t.event(EventBudgetExceeded, text, nil)
	}
	return "; " + text
}

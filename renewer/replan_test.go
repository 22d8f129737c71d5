package renewer

import (
	"errors"
	"slices"
	"testing"
	"time"

	"renewer/renewer/problems"
)

// A time that a clock which was years ahead gave is not waited for.
func TestABackoffOfAClockThatWasAheadHasEnded(t *testing.T) {
	c := entry("web", "a")
	ahead := t0.AddDate(5, 0, 0)
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	rec.apply(Outcome{Action: rec.Rollout.action(ActOrder, ""), At: ahead, Err: errors.New("away")})
	if n := rec.Rollout.Next(c, Conditions{Now: t0, WindowOpen: true}); len(n.Actions) != 1 {
		t.Fatalf("the order waits: %+v", n)
	}
	rec.apply(Outcome{Action: rec.Rollout.action(ActOrder, ""), At: t0, Generation: generation(c, 2, t0)})
	rec.apply(Outcome{Action: rec.Rollout.action(ActStage, "a"), At: ahead, Err: errors.New("away")})
	if n := rec.Rollout.Next(c, Conditions{Now: t0, WindowOpen: true}); len(n.Actions) != 1 {
		t.Fatalf("the step waits: %+v", n)
	}
}

// What no one serves is not called right, put back or not.
func TestARestoredServiceThatDoesNotRunIsNotProven(t *testing.T) {
	c := entry("web", "a")
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	for _, o := range []Outcome{
		{Action: Action{Kind: ActOrder}, Generation: generation(c, 2, t0)},
		{Action: Action{Kind: ActStage, Host: "a"}, Revision: "r2", Previous: "r1"},
		{Action: Action{Kind: ActActivate, Host: "a"}, Stopped: "web.service"},
		{Action: Action{Kind: ActProbe, Host: "a"}, Err: errProbe},
		{Action: Action{Kind: ActRestore, Host: "a"}, Stopped: "web.service"},
		{Action: Action{Kind: ActReprobe, Host: "a"}, Err: Stopped("web", "web.service", nil)},
	} {
		o.Certificate, o.Rollout, o.At = "web", rec.Rollout.ID, t0
		rec.Begin(o.Action)
		if ev := rec.apply(o); len(ev) == 0 {
			t.Fatalf("%+v was not taken", o)
		}
	}
	p := rec.Placements["a"]
	if rec.Rollout.Phase != PhaseBlocked || p.State != HostBlocked || p.Matches || p.Reprobe.IsZero() || p.Revision != "r1" {
		t.Errorf("%s, %+v", rec.Rollout.Phase, p)
	}
}

// A guard that holds an activation up after a crash does not take back that a
// flip may have been made before it.
func TestAGuardAfterACrashDoesNotUndoWhatMayHaveBegun(t *testing.T) {
	c := entry("web", "a")
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	id := rec.Rollout.ID
	act := Action{Certificate: "web", Rollout: id, Host: "a", Kind: ActActivate}
	rec.apply(Outcome{Action: Action{Certificate: "web", Rollout: id, Kind: ActOrder}, At: t0, Generation: generation(c, 2, t0)})
	rec.apply(Outcome{Action: Action{Certificate: "web", Rollout: id, Host: "a", Kind: ActStage}, At: t0, Revision: "r2", Previous: "r1"})
	held := Outcome{Action: act, At: t0, End: EndHeld, Held: Held{Why: "containers run"}}
	rec.Begin(act)
	rec.apply(held)
	if !rec.Rollout.Settled() {
		t.Fatal("nothing has begun, but it is not settled")
	}
	rec.Begin(act)
	// the process dies here, perhaps after the flip, and starts again
	if !rec.Begin(act) || rec.Begin(act) {
		t.Error("going on with it was not noted, or more than once")
	}
	rec.apply(held)
	if rec.Rollout.Settled() {
		t.Error("settled, although its files may be live")
	}
	if n := rec.Rollout.Next(c, Conditions{Now: t0.Add(time.Hour), WindowOpen: true}); len(n.Actions) != 1 || n.Actions[0].Kind != ActActivate {
		t.Errorf("it does not go on: %+v", n)
	}
}

// A canary that went away in the middle holds the others, until what they have
// is about to end.
func TestACanaryThatIsAwayHoldsTheOthersUntilTheEndIsNear(t *testing.T) {
	c := entry("web", "a", "b")
	c.OverrideBefore = 48 * time.Hour
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	end := t0.Add(10 * 24 * time.Hour)
	for _, o := range []Outcome{
		{Action: Action{Kind: ActOrder}, Generation: generation(c, 2, t0)},
		{Action: Action{Kind: ActStage, Host: "a"}, Revision: "r2", Previous: "r1"},
		{Action: Action{Kind: ActActivate, Host: "a"}},
	} {
		o.Certificate, o.Rollout, o.At = "web", rec.Rollout.ID, t0
		rec.Begin(o.Action)
		rec.apply(o)
	}
	next := func(now time.Time) Next {
		rec.apply(Outcome{Action: rec.Rollout.action(ActProbe, "a"), At: now, Err: errors.New("no route to host"), End: EndLost})
		return rec.Rollout.Next(c, Conditions{Now: now, WindowOpen: true, Deadline: c.Deadline(&Generation{NotAfter: end})})
	}
	if n := next(t0); len(n.Actions) != 0 {
		t.Errorf("%+v", n)
	}
	if n := next(end.Add(-47 * time.Hour)); len(n.Actions) != 1 || n.Actions[0].Kind != ActStage || n.Actions[0].Host != "b" {
		t.Errorf("near the end: %+v", n)
	}
}

func TestTheBudgetIsKeptInHalves(t *testing.T) {
	for name, last := range map[string]Outcome{"restored": {}, "never back": {Err: errors.New("connection refused")}} {
		t.Run(name, func(t *testing.T) { budgetInHalves(t, last) })
	}
}

func budgetInHalves(t *testing.T, last Outcome) {
	c := entry("web", "a")
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	do := func(kind ActionKind, after time.Duration, o Outcome) []Event {
		t.Helper()
		o.Action, o.At = Action{Certificate: "web", Rollout: rec.Rollout.ID, Kind: kind}, t0.Add(after)
		if kind != ActOrder {
			o.Host = "a"
		}
		rec.Begin(o.Action)
		return rec.apply(o)
	}
	do(ActOrder, 0, Outcome{Generation: generation(c, 2, t0)})
	do(ActStage, 0, Outcome{Revision: "r2", Previous: "r1"})
	do(ActActivate, time.Second, Outcome{Began: t0, Budget: 20 * time.Second})
	s, _ := rec.Rollout.Step("a")
	if !s.Half().Equal(t0.Add(10 * time.Second)) {
		t.Fatalf("half of the budget has passed at %s", s.Half())
	}
	away := errors.New("the host cannot be looked at")
	do(ActProbe, 5*time.Second, Outcome{Err: away, End: EndLost})
	if s.State != StepActivated {
		t.Fatalf("in the first half it is %s", s.State)
	}
	do(ActProbe, 11*time.Second, Outcome{Err: away, End: EndLost})
	if s.State != StepRestoring {
		t.Fatalf("after the first half it is %s", s.State)
	}
	do(ActRestore, 15*time.Second, Outcome{})
	events := do(ActReprobe, 21*time.Second, last)
	if s.Away != 21*time.Second || events[0].Type != EventBudgetExceeded || events[0].Message != "down for 21s of a restart budget of 20s" {
		t.Errorf("away %s, events %+v", s.Away, events)
	}
	want, problem := EventRolledBack, problems.RolledBack
	if last.Err != nil {
		want, problem = EventRestoreFailed, problems.RestoreFailed
	}
	row := NewRow(c, rec, nil)
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Type == want }) || row.RolloutProblem != problem || !row.Hosts[0].OverBudgetAt.Equal(t0.Add(21*time.Second)) {
		t.Errorf("problem %s, over budget at %s, events %+v", row.RolloutProblem, row.Hosts[0].OverBudgetAt, events)
	}
}

// A renewal that the operator requests is begun by the planner: at once, in what
// is under way, or when no host is between two generations.
func TestARequestIsAReasonToPlan(t *testing.T) {
	c := entry("web", "a", "b")
	open := func(kind Kind, states ...StepState) *Rollout {
		r := Issue(c, Reason{ReasonRenewTime, "a test"})
		r.ID, r.Kind = "web#1", kind
		if len(states) > 0 {
			r.Phase, r.Generation = PhaseRolling, 1
		}
		for i, s := range states {
			r.Steps[i].State, r.Steps[i].Layout = s, c.Placements[i].Layout()
		}
		return r
	}
	blocked := open(KindIssue, StepBlocked, StepPending)
	blocked.Phase, blocked.EndedAt = PhaseBlocked, t0
	changed := open(KindIssue, StepPending, StepPending)
	changed.Entry = "another"
	for name, tc := range map[string]struct {
		rollout     *Rollout
		begun, with bool // a new rollout; or the one under way takes it in
	}{
		"nothing is under way":              {nil, true, false},
		"it is ordered":                     {open(KindIssue), false, true},
		"it is rolled out":                  {open(KindIssue, StepActivated, StepPending), false, true},
		"one of another entry is":           {changed, true, false},
		"it goes back":                      {open(KindIssue, StepRestoring, StepPending), false, false},
		"it is blocked":                     {blocked, true, false},
		"roots are pushed":                  {open(KindPlace, StepActivating, StepPending), false, false},
		"roots are pushed, between hosts":   {open(KindPlace, StepVerified, StepStaged), true, false},
		"a rollback is at work":             {open(KindRollback, StepActivated, StepPending), false, false},
		"a rollback is not begun on a host": {open(KindRollback, StepPending, StepPending), true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := State{Certificate: c, Record: inPlace(c, 1), Current: generation(c, 1, t0)}
			if s.Record.Rollout = tc.rollout; tc.rollout != nil {
				s.Record.Rollouts = 1
			}
			s, ch := Apply(s, t0, Requested{Overrides{Force: true, Without: []string{"b"}}})
			if ch.Record == nil || !s.Record.Asked.Since.Equal(t0) {
				t.Fatalf("it is not noted: %+v", s.Record.Asked)
			}
			none := func(int) *Generation { return nil }
			plan := Planned{Room: true, Generation: none, Retired: func(string) bool { return false }, Waits: func(State) Waits { return nil }}
			plan.Decision = Plan(c, Observed{Record: s.Record, Current: s.Current}, t0)
			s, _ = Apply(s, t0, plan)
			r := s.Record.Rollout
			taken := s.Record.Asked == nil
			if taken != (tc.begun || tc.with) || taken && (!r.Force || !r.Requested || len(r.Without) != 1) {
				t.Errorf("asked %+v, rollout %+v", s.Record.Asked, r)
			}
			if begun := r != nil && r.ID != "web#1"; tc.rollout != nil && begun != tc.begun {
				t.Errorf("begun %t: %+v", begun, r)
			}
			if !taken && len(s.Record.Waits()) != 1 {
				t.Errorf("nothing says that it waits: %+v", s.Record.Waits())
			}
		})
	}
	s := State{Certificate: c, Record: inPlace(c, 1), Current: generation(c, 1, t0)}
	s, _ = Apply(s, t0, Requested{})
	full := Planned{Decision: Plan(c, Observed{Record: s.Record, Current: s.Current}, t0), Retired: func(string) bool { return false }}
	if s, ch := Apply(s, t0, full); s.Record.Asked == nil || s.Record.Rollout != nil || !s.Record.NextAt.Equal(t0) || len(ch.Events) != 0 {
		t.Errorf("without room: %+v, %+v", s.Record, ch.Events)
	}
}

// An order that is refused holds up nothing but the certificate: roots are placed all the
// same, and another CA of its issuer is asked again.
func TestARefusedOrderHoldsUpNoRootsAndIsAskedOfAnotherCA(t *testing.T) {
	c := entry("web", "a", "b")
	r := Issue(c, Reason{ReasonRoot, "a test"})
	r.Phase, r.EndedAt = PhaseBlocked, t0
	rec := inPlace(c, 1)
	for host, st := range rec.Placements {
		st.Roots = NewRootSet("old")
		rec.Placements[host] = st
	}
	rec.Rollout = r
	roots := NewRootSet("old")
	o := Observed{
		Record: rec, Current: generation(c, 1, t0), Under: NewRootSet("old"), Trusted: NewRootSet("narrow"),
		Roots: func(string) RootSet { return roots },
	}
	if d := Plan(c, o, t0); d.Open != nil || d.Close {
		t.Errorf("blocked, and nothing has changed: %+v", d)
	}
	roots = NewRootSet("old", "next")
	if d := Plan(c, o, t0); d.Open == nil || !d.Close || d.Open.Kind != KindPlace || d.Open.Generation != 1 || len(d.Open.Steps) != 2 {
		t.Errorf("other roots: %+v", d)
	}
	if d := Plan(c, o, t0.AddDate(1, 0, 0)); d.Open == nil || d.Open.Kind != KindIssue {
		t.Errorf("other roots, and what is in place has expired: %+v", d)
	}
	roots, o.SignsSince = NewRootSet("old"), t0.Add(-1)
	if d := Plan(c, o, t0); d.Open != nil {
		t.Errorf("it is the CA that refused: %+v", d)
	}
	o.SignsSince = t0.Add(1)
	if d := Plan(c, o, t0); d.Open == nil || d.Open.Kind != KindIssue {
		t.Errorf("another CA: %+v", d)
	}
}

package renewer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// waitsFor decides for one rollout alone.
func waitsFor(c Certificate, r *Rollout, k Conditions) string {
	var out []string
	for _, w := range r.Next(c, k).Waiting {
		out = append(out, fmt.Sprintf("%s %s", w.Kind, w))
	}
	return strings.Join(out, " | ")
}

func TestEveryReasonToWaitIsSaid(t *testing.T) {
	t.Parallel()
	open := Conditions{Now: t0, WindowOpen: true}
	for name, c := range map[string]struct {
		change func(*Certificate, *Rollout, *Conditions)
		want   string
	}{
		"nothing":                {func(*Certificate, *Rollout, *Conditions) {}, "pace waits for its canary host to be verified"},
		"its pace is one by one": {func(c *Certificate, _ *Rollout, _ *Conditions) { c.Pace = Pace{MaxParallel: 1} }, "pace max_parallel reached (1)"},
		"it can do everything":   {func(c *Certificate, _ *Rollout, _ *Conditions) { c.Pace = Pace{} }, ""},
		"the issuer's rate": {func(_ *Certificate, r *Rollout, _ *Conditions) {
			r.Phase, r.NextAt, r.Wait, r.Error = PhaseOrdering, t0.Add(time.Minute), &Wait{Kind: WaitRate}, "was down"
		}, "rate rate limited until 2026-01-01T00:01:00Z"},
		"the issuer's rate, as once": {func(_ *Certificate, r *Rollout, _ *Conditions) {
			r.Phase, r.NextAt = PhaseOrdering, t0.Add(time.Minute)
		}, "rate rate limited until 2026-01-01T00:01:00Z"},
		"an issuer that takes its time": {func(_ *Certificate, r *Rollout, _ *Conditions) {
			r.Phase, r.NextAt, r.Wait = PhaseOrdering, t0.Add(time.Minute), &Wait{Kind: WaitIssuer, Why: "waits for web.crt"}
		}, "issuer waits for web.crt"},
		"an order that failed": {
			func(_ *Certificate, r *Rollout, _ *Conditions) {
				r.Phase, r.NextAt, r.Attempts, r.Error = PhaseOrdering, t0.Add(time.Minute), 3, "down"
			},
			"backoff 3 attempts failed; next retry at 2026-01-01T00:01:00Z",
		},
		"a window": {
			func(c *Certificate, r *Rollout, k *Conditions) {
				c.Window, k.WindowOpen, k.WindowNext = "nightly", false, t0.Add(2*time.Hour)
				r.Steps[0].State = StepStaged
			},
			"window window nightly opens 2026-01-01T02:00:00Z",
		},
		"a window that opens too late": {
			func(c *Certificate, r *Rollout, k *Conditions) {
				c.Window, k.WindowOpen, k.WindowNext, k.Deadline = "nightly", false, t0.Add(2*time.Hour), Deadline{About: t0.Add(time.Hour), Last: t0.Add(90 * time.Minute)}
				r.Steps[0].State = StepStaged
			},
			"window window nightly opens 2026-01-01T02:00:00Z; waiting at most until 2026-01-01T01:00:00Z",
		},
		"a pause": {
			func(c *Certificate, r *Rollout, _ *Conditions) {
				c.Pace.Pause = time.Minute
				r.Steps[0].State, r.Steps[0].EndedAt = StepVerified, t0.Add(-time.Second)
			},
			"pause pause between hosts until 2026-01-01T00:00:59Z",
		},
		"a host that is away, and no one waits for it": {
			func(_ *Certificate, r *Rollout, _ *Conditions) {
				r.Steps[0].NextAt, r.Steps[0].Wait, r.Steps[0].Attempts = t0.Add(time.Minute), &Wait{Kind: WaitUnreachable}, 1
			},
			"unreachable a: cannot be reached; next retry at 2026-01-01T00:01:00Z | pace waits for its canary host to be verified",
		},
		"a first failure": {
			func(c *Certificate, r *Rollout, _ *Conditions) {
				c.Pace = Pace{}
				r.Steps[1].State, r.Steps[1].NextAt, r.Steps[1].Attempts = StepActivated, t0.Add(time.Minute), 1
			},
			"backoff b: the first attempt failed; next retry at 2026-01-01T00:01:00Z",
		},
		"a guard, though it is asked again now": {
			func(c *Certificate, r *Rollout, _ *Conditions) {
				c.Pace = Pace{}
				r.Steps[0].State, r.Steps[0].Wait = StepStaged, &Wait{Kind: WaitGuard, Why: "waiting until no runs are left (2 now)", Until: t0.Add(time.Hour)}
			},
			"guard a: waiting until no runs are left (2 now)",
		},
		"one that is put back": {
			func(_ *Certificate, r *Rollout, _ *Conditions) { r.Steps[0].State = StepRestoring },
			"pace rollout stopped: a failed",
		},
	} {
		cert := entry("web", "a", "b", "c")
		k := open
		r := Issue(cert, Reason{ReasonRequested, "a test"})
		r.ID, r.Phase, r.StartedAt = "web#1", PhaseRolling, t0
		c.change(&cert, r, &k)
		if got := waitsFor(cert, r, k); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

// What an outcome says of a wait is in the record, and gone when it has ended.
func TestAWaitIsRecordedWithItsOutcome(t *testing.T) {
	t.Parallel()
	c := entry("web", "a")
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
	r := rec.Rollout
	at := func(kind ActionKind, o Outcome) {
		o.Action, o.At = Action{Certificate: "web", Rollout: r.ID, Kind: kind, Host: "a"}, t0
		rec.Begin(o.Action)
		if rec.apply(o) == nil {
			t.Fatalf("%s changed nothing in %+v", kind, r)
		}
	}
	at(ActOrder, Outcome{Err: errors.New("down")})
	rec.apply(Outcome{Action: Action{Certificate: "web", Rollout: r.ID, Kind: ActOrder}, At: t0, Err: &Error{Err: ErrRate, After: time.Minute}})
	if w := waitsFor(c, r, Conditions{Now: t0, WindowOpen: true}); !strings.HasPrefix(w, "rate ") {
		t.Errorf("an order that failed and then waits for the rate: %s", w)
	}
	at(ActOrder, Outcome{Generation: generation(c, 2, t0)})
	at(ActStage, Outcome{Err: fmt.Errorf("dial: %w", ErrUnreachable)})
	if w := waitsFor(c, r, Conditions{Now: t0, WindowOpen: true}); !strings.HasPrefix(w, "unreachable a: ") {
		t.Errorf("a host that is away: %s", w)
	}
	at(ActStage, Outcome{Revision: "r2", Previous: "r1"})
	until := t0.Add(time.Hour)
	at(ActActivate, Outcome{End: EndHeld, Held: Held{Why: "waiting until no containers run", Deadline: until}})
	w, ok := r.Next(c, Conditions{Now: t0, WindowOpen: true}).Waiting.On(r.Steps[0])
	if !ok || w.Kind != WaitGuard || !w.Since.Equal(t0) || !w.Until.Equal(until) {
		t.Errorf("a guard: %+v", w)
	}
	at(ActActivate, Outcome{})
	if w := waitsFor(c, r, Conditions{Now: t0, WindowOpen: true}); w != "" || r.Steps[0].Wait != nil {
		t.Errorf("after all that: %s, %+v", w, r.Steps[0])
	}
}

func TestAPlanSaysWhatABlockedRolloutWaitsFor(t *testing.T) {
	t.Parallel()
	c := entry("web", "a")
	rec := inPlace(c, 1)
	rec.begin(Issue(c, Reason{ReasonRenewTime, "renew time has come"}))
	rec.apply(Outcome{Action: Action{Certificate: "web", Rollout: rec.Rollout.ID, Kind: ActOrder}, At: t0, Err: &Error{Class: ClassRefused, Err: ErrTooShort}})
	current := generation(c, 1, t0.Add(-70*24*time.Hour))
	steps := PlanSteps(c, Observed{Record: rec, Current: current}, Conditions{Now: t0, WindowOpen: true}, nil)
	if len(steps) != 1 || steps[0].Action != "wait" || !strings.Contains(steps[0].Reason, "rollout web#1 is blocked: needs manual action") ||
		!strings.Contains(steps[0].Reason, "automatic retry at 2026-01-11T") || !strings.Contains(steps[0].Reason, ErrTooShort.Error()) {
		t.Errorf("%+v", steps)
	}
	v := rec.View(current, nil)
	if len(v.Waiting) != 1 || v.Waiting[0].Kind != WaitPerson || !v.Waiting[0].Until.Equal(RetryBlocked(*rec.Rollout, current)) {
		t.Errorf("%+v", v)
	}
}

package renewer

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// Each trajectory is one way in which a rollout can go: what fails, and in
// testdata/trajectories the states that follow from it.
func TestTrajectories(t *testing.T) {
	refused := &Error{Class: ClassRefused, Err: errors.New("the role does not allow web")}
	for _, tc := range []struct {
		name  string
		hosts []string
		first bool // nothing is in place yet
		kind  Kind
		fail  func(a Action, nth int) *Outcome // nth time of this action, from 1; nil: it is done
	}{
		{name: "good", hosts: []string{"a", "b", "c"}},
		{name: "first", hosts: []string{"a"}, first: true},
		{name: "order_fails_twice", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActOrder && nth <= 2 {
				return &Outcome{Err: errors.New("issuer is away")}
			}
			return nil
		}},
		{name: "order_refused", hosts: []string{"a"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActOrder {
				return &Outcome{Err: refused}
			}
			return nil
		}},
		{name: "order_misconfigured_once", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActOrder && nth == 1 {
				return &Outcome{Err: &Error{Class: ClassMisconfigured, Err: errors.New("the password does not open the provisioner")}}
			}
			return nil
		}},
		{name: "order_told_to_come_later", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActOrder && nth <= 2 { // an hour, and then a year: capped
				return &Outcome{Err: &Error{Class: ClassRetry, After: []time.Duration{time.Hour, 8760 * time.Hour}[nth-1], Err: errors.New("503 Service Unavailable")}}
			}
			return nil
		}},
		{name: "order_held_by_the_rate", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActOrder && nth <= 3 {
				return &Outcome{Err: &Error{Class: ClassRetry, After: 36 * time.Second, Err: fmt.Errorf("issuer ca: %w", ErrRate)}}
			}
			return nil
		}},
		{name: "order_signed_days_later", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind != ActOrder || nth > 5 {
				return nil
			}
			later := fmt.Errorf("issuer offline: %w", ErrLater)
			return map[int]*Outcome{
				1: {Key: &SealedKey{Certificate: "web", Generation: 2}}, 2: {Err: later}, 3: {Err: later},
				4: {Err: &Error{Class: ClassMisconfigured, Err: fmt.Errorf("half-written: %w", ErrLater)}}, 5: {Err: later},
			}[nth]
		}},
		{name: "order_too_short", hosts: []string{"a"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActOrder {
				return &Outcome{Err: &Error{Class: ClassRefused, Err: tooShort{errors.New("it ends in an hour")}}}
			}
			return nil
		}},
		{name: "host_unreachable_at_first", hosts: []string{"a", "b", "c"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActStage && a.Host == "b" && nth <= 3 {
				return &Outcome{Err: errors.New("no route to host")}
			}
			return nil
		}},
		{name: "canary_unreachable", hosts: []string{"a", "b"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActStage && a.Host == "a" && nth <= 2 {
				return &Outcome{Err: errors.New("no route to host")}
			}
			return nil
		}},
		{name: "canary_probe_fails", hosts: []string{"a", "b", "c"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActProbe {
				return &Outcome{Err: errProbe}
			}
			return nil
		}},
		{name: "second_wave_probe_fails", hosts: []string{"a", "b", "c"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActProbe && a.Host == "c" {
				return &Outcome{Err: errProbe}
			}
			return nil
		}},
		{name: "activation_fails", hosts: []string{"a"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActActivate {
				return &Outcome{Err: errors.New("exit status 1")}
			}
			return nil
		}},
		{name: "restore_fails_once", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActProbe || a.Kind == ActRestore && nth == 1 {
				return &Outcome{Err: errProbe}
			}
			return nil
		}},
		{name: "nothing_can_be_proven", hosts: []string{"a"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActProbe || a.Kind == ActReprobe {
				return &Outcome{Err: errProbe}
			}
			return nil
		}},
		{name: "first_probe_fails", hosts: []string{"a"}, first: true, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActProbe {
				return &Outcome{Err: errProbe}
			}
			return nil
		}},
		{name: "first_probe_sees_another", hosts: []string{"a"}, first: true, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActProbe {
				return &Outcome{Err: &ProbeError{Kind: ProbeMismatch, Err: errors.New("another certificate is served")}}
			}
			return nil
		}},
		{name: "canary_stopped", hosts: []string{"a", "b", "c"}, fail: func(a Action, _ int) *Outcome {
			if a.Host == "a" {
				return stopped(a)
			}
			return nil
		}},
		{name: "guard_waits_twice", hosts: []string{"a", "b"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActActivate && a.Host == "a" && nth <= 2 {
				return &Outcome{End: EndHeld, Held: Held{Why: "waiting until no containers run"}}
			}
			return nil
		}},
		{name: "preflight_refuses", hosts: []string{"a", "b"}, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActStage {
				return &Outcome{Err: &Error{Class: ClassRefused, Err: errors.New("peers dial 10.0.0.1, but it covers only web")}}
			}
			return nil
		}},
		{name: "service_stopped", hosts: []string{"a"}, fail: func(a Action, _ int) *Outcome {
			return stopped(a)
		}},
		{name: "probe_inconclusive_once", hosts: []string{"a"}, fail: func(a Action, nth int) *Outcome {
			if a.Kind == ActProbe && nth == 1 {
				return &Outcome{Err: errors.New("no client certificate"), End: EndLost}
			}
			return nil
		}},
		{name: "key_lost", hosts: []string{"a", "b"}, kind: KindPlace, fail: func(a Action, _ int) *Outcome {
			if a.Kind == ActStage {
				return &Outcome{Err: errors.New("no host has its key any more"), Missing: MissingKey}
			}
			return nil
		}},
		{name: "rollback", hosts: []string{"a", "b"}, kind: KindRollback},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := entry("web", tc.hosts...)
			rec := inPlace(c, 1)
			if tc.first {
				rec = Record{Name: c.Name}
			}
			switch tc.kind {
			case KindPlace:
				r := Renewed(c, Overrides{})
				r.Kind, r.Phase, r.Generation = KindPlace, PhaseRolling, 1
				rec.begin(r)
			case KindRollback:
				rec = inPlace(c, 2)
				rec.begin(Rollback(c, 1))
			default:
				rec.begin(Issue(c, Reason{ReasonRequested, "a test"}))
			}
			golden(t, tc.name, trace(c, &rec, tc.fail))
		})
	}
}

// trace drives a rollout with outcomes until only an operator or nothing can go
// on, and writes down what happened.
func trace(c Certificate, rec *Record, fail func(Action, int) *Outcome) string {
	var b strings.Builder
	now, nth := t0, map[string]int{}
	for range 100 {
		r := rec.Rollout
		if r.Phase.Over() {
			break
		}
		next := r.Next(c, Conditions{Now: now, WindowOpen: true})
		if len(next.Actions) == 0 {
			if next.Until.IsZero() {
				b.WriteString("stuck\n")
				break
			}
			fmt.Fprintf(&b, "wait %s\n", next.Until.Sub(now).Round(time.Second))
			now = next.Until
			continue
		}
		for _, a := range next.Actions {
			nth[string(a.Kind)+a.Host]++
			o := Outcome{Revision: "r2", Previous: rec.Placements[a.Host].Revision}
			if r.Kind == KindRollback {
				o.Revision = "r1"
			}
			if a.Kind == ActOrder {
				o.Generation = generation(c, rec.Latest+1, now)
			}
			if fail != nil {
				if f := fail(a, nth[string(a.Kind)+a.Host]); f != nil {
					o = *f
				}
			}
			o.Action, o.At = a, now
			rec.Begin(a)
			fmt.Fprintf(&b, "%s %s\n", a.Kind, a.Host)
			for _, ev := range rec.apply(o) {
				fmt.Fprintf(&b, "  %s %s %s\n", ev.Type, ev.Host, ev.Error)
			}
		}
		now = now.Add(time.Second)
	}
	fmt.Fprintf(&b, "end %s current %d", rec.Rollout.Phase, rec.Current)
	for _, s := range rec.Rollout.Steps {
		p := rec.Placements[s.Host]
		fmt.Fprintf(&b, "\n%s %s: %s %s generation %d", s.Host, s.State, p.State, p.Revision, p.Generation)
	}
	return b.String() + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "trajectories", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
	}
}

// tooShort is an error as pki.CheckIssued makes it.
type tooShort struct{ error }

func (tooShort) Is(target error) bool { return target == ErrUnusable || target == ErrTooShort }

// stopped is what a host answers whose service does not run.
func stopped(a Action) *Outcome {
	switch a.Kind {
	case ActActivate, ActRestore:
		return &Outcome{Stopped: "web.service"}
	case ActProbe, ActReprobe:
		return &Outcome{Err: Stopped("web", "web.service", nil)}
	default:
		return nil
	}
}

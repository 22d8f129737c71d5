package renewer_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"renewer/renewer"
)

// Whatever the outcome of the steps, planning it again and again while nothing
// changes and no time goes by comes to rest: nothing is ordered for ever, and no
// rollout that brought nothing is planned again at once.
func TestNoPassIsWithoutEnd(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.IntRange(1, 3).Draw(t, "hosts")
		cert := renewer.Certificate{Name: "web", Usages: []renewer.Usage{renewer.UsageServer, renewer.UsageClient}, Issuer: "b", Trust: []string{"b"}, Lifetime: time.Hour, Pace: renewer.Pace{Canary: rapid.IntRange(0, 1).Draw(t, "canary"), MaxParallel: 1}}
		old, next := renewer.NewRootSet("aa"), renewer.NewRootSet("aa", "bb")
		var foreign renewer.RootSet
		if rapid.Bool().Draw(t, "a root that was there before") {
			foreign = renewer.NewRootSet("ff")
		}
		rec := renewer.Record{Name: "web", Current: 1, Latest: 1, Placements: map[string]renewer.PlacementState{}}
		for i := range hosts {
			p := renewer.Placement{Certificate: "web", Host: fmt.Sprintf("h%d", i), Dir: "/d", Files: map[renewer.FileKind]string{renewer.FileCA: "ca.crt"}}
			cert.Placements = append(cert.Placements, p)
			rec.Placements[p.Host] = renewer.PlacementState{Generation: 1, Revision: "r1-aa", Layout: p.Layout(), Origin: renewer.OriginIssued, Roots: rapid.SampledFrom([]renewer.RootSet{old, next}).Draw(t, "roots").With(foreign), Foreign: foreign, State: renewer.HostVerified, Matches: true}
		}
		if rapid.Bool().Draw(t, "restored") {
			rec.Restored()
		}
		request := cert.Request()
		if rapid.Bool().Draw(t, "another issuer") {
			request.Issuer = "a"
		}
		current := &renewer.Generation{Certificate: "web", Number: 1, Request: request, NotBefore: start, IssuedAt: start, NotAfter: start.Add(time.Hour), RenewAt: start.Add(40 * time.Minute)}
		rootsFirst := rapid.Bool().Draw(t, "roots first")
		ends := map[string]renewer.Outcome{
			"done":         {},
			"refused":      {Err: &renewer.Error{Class: renewer.ClassRefused, Err: errors.New("too long")}, Roots: next},
			"kept":         {Err: &renewer.KeptError{Host: "h0", Dir: "/d"}},
			"unreachable":  {Err: fmt.Errorf("no route: %w", renewer.ErrUnreachable)},
			"no key":       {Err: errors.New("no key"), Missing: renewer.MissingKey, Roots: next},
			"no revision":  {Err: errors.New("gone"), Missing: renewer.MissingRevision},
			"failed":       {Err: errors.New("disk full")},
			"out of files": {Err: fmt.Errorf("open: %w", renewer.ErrLocal)},
		}
		pick := func(label string, of ...string) renewer.Outcome {
			return ends[rapid.SampledFrom(of).Draw(t, label)]
		}
		how := map[renewer.ActionKind]renewer.Outcome{
			renewer.ActOrder:    pick("order", "done", "done", "refused", "failed"),
			renewer.ActStage:    pick("stage", "done", "refused", "kept", "unreachable", "no key", "failed", "out of files"),
			renewer.ActActivate: pick("activate", "done", "failed", "unreachable", "no revision"),
			renewer.ActProbe:    pick("probe", "done", "failed"),
			renewer.ActRestore:  pick("restore", "done", "failed", "no revision"),
			renewer.ActReprobe:  pick("reprobe", "done", "failed"),
		}
		look := rapid.SampledFrom([]renewer.Look{
			{Seen: renewer.Observation{Disk: renewer.OnDisk{Leaf: "9f"}}},
			{Err: &renewer.KeptError{Host: "h0", Dir: "/d"}},
			{Err: fmt.Errorf("no route: %w", renewer.ErrUnreachable)},
			{Err: fmt.Errorf("open: %w", renewer.ErrLocal)},
			{Err: &renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: errors.New("another leaf")}},
			{Err: errors.New("others may write there")},
		}).Draw(t, "look")
		look.Kind = renewer.ProbeFile
		var lacks renewer.RootSet // that no rollout brings
		if !rootsFirst && how[renewer.ActStage].Missing == "" && rapid.Bool().Draw(t, "never right") {
			lacks = renewer.NewRootSet("ee")
		}
		own := rapid.Bool().Draw(t, "the new key is lost as well")
		state := renewer.State{Certificate: cert, Record: rec, Current: current}
		var events []renewer.Event
		now, orders, done, same := start.Add(time.Minute), 0, 0, map[string]int{}
		wanted := func(host string) renewer.RootSet { // as the graph has it: what was not seen is unknown
			if state.Record.Placements[host].Undiscovered() {
				return next
			}
			if state.Open() {
				if s, ok := state.Record.Rollout.Step(host); ok && s.State == renewer.StepStaged {
					return s.Roots
				}
			}
			return next.With(foreign).With(lacks)
		}
		for n := 0; ; n++ {
			if n > 300 {
				t.Fatalf("no end after %d orders and %d actions: %+v\n%+v", orders, done, state.Record, events[:20])
			}
			o := renewer.Observed{
				Record: state.Record, Current: state.Current, Rolling: state.Rolling, Trusted: renewer.NewRootSet("bb"),
				Roots:      wanted,
				RootsFirst: func() bool { return rootsFirst },
			}
			before := state.Record.Rollouts
			var acted bool
			for _, p := range cert.Placements {
				if st := state.Record.Placements[p.Host]; !state.Open() && st.LookDue(now) {
					look.At, acted = now, true
					state, _ = renewer.Apply(state, now, renewer.Looked{Host: p.Host, Look: look})
				}
			}
			o.Record = state.Record
			var planned renewer.Change
			state, planned = renewer.Apply(state, now, renewer.Planned{Decision: renewer.Plan(cert, o, now), Room: true, Base: next, Generation: func(int) *renewer.Generation { return state.Current }, Retired: func(string) bool { return false }, Waits: func(renewer.State) renewer.Waits { return nil }})
			events = append(events, planned.Events...)
			if state.Open() {
				for _, a := range state.Record.Rollout.Next(cert, renewer.Conditions{Now: now, WindowOpen: true}).Actions {
					out := how[a.Kind]
					out.Action, out.At = a, now
					step, _ := state.Record.Rollout.Step(a.Host)
					switch {
					case a.Kind == renewer.ActOrder:
						orders++
						if out.Err == nil {
							g := *current
							g.Number, g.Request, g.Under = state.Record.Latest+1, cert.Request(), renewer.NewRootSet("bb")
							out.Generation, out.Key = &g, &renewer.SealedKey{}
						}
					case a.Kind == renewer.ActStage && out.Missing != "" && !own && step.Pass != renewer.PassRoots && state.Record.Rollout.Kind == renewer.KindIssue:
						out.Err, out.Missing = nil, ""
						fallthrough
					case a.Kind == renewer.ActStage && out.Err == nil:
						out.Roots, out.Foreign, out.Layout, out.Previous = next.With(foreign), foreign, cert.Placements[0].Layout(), state.Record.Placements[a.Host].Revision
						number := step.Delivers(*state.Record.Rollout, state.Record.Placements[a.Host])
						if out.Revision = fmt.Sprintf("r%d-%s", number, out.Roots); out.Revision == out.Previous {
							same[a.Host]++
						}
					}
					if a.Kind == renewer.ActActivate {
						state, _ = renewer.Apply(state, now, renewer.Begun{Action: a})
					}
					var ch renewer.Change
					state, ch = renewer.Apply(state, now, out)
					events = append(events, ch.Events...)
					acted, done = true, done+1
					if !state.Open() {
						break
					}
				}
			}
			if !acted && state.Record.Rollouts == before {
				break
			}
		}
		for host, n := range same {
			if n > 2 { // once more is for what a look says of it
				t.Fatalf("%s was given what it has %d times in one moment", host, n)
			}
		}
		if orders > 3 {
			t.Fatalf("%d orders in one moment", orders)
		}
	})
}

// What leads to where it came from is repeated ever more seldom; what an operator asks
// for, or follows from something that was found wrong, is not held up by that.
func TestARolloutThatLeavesWhatItFoundIsNotRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	p := renewer.Placement{Certificate: "web", Host: "h", Dir: "/d", Files: map[renewer.FileKind]string{renewer.FileCA: "ca.crt"}}
	cert := renewer.Certificate{Name: "web", Placements: []renewer.Placement{p}, Pace: renewer.Pace{MaxParallel: 1}}
	has, wants := renewer.NewRootSet("aa"), renewer.NewRootSet("aa", "bb")
	state := renewer.State{Certificate: cert, Record: renewer.Record{Name: "web", Placements: map[string]renewer.PlacementState{
		"h": {Revision: "r1-aa", Layout: p.Layout(), Origin: renewer.OriginIssued, Roots: has, State: renewer.HostVerified, Matches: true},
	}}}
	place := func() bool {
		o := renewer.Observed{Record: state.Record, Roots: func(string) renewer.RootSet { return wants }}
		d := renewer.Plan(cert, o, now)
		if d.Open == nil {
			return false
		}
		state, _ = renewer.Apply(state, now, renewer.Planned{Decision: d, Room: true, Generation: func(int) *renewer.Generation { return nil }, Retired: func(string) bool { return false }, Waits: func(renewer.State) renewer.Waits { return nil }})
		for state.Open() {
			for _, a := range state.Record.Rollout.Next(cert, renewer.Conditions{Now: now, WindowOpen: true}).Actions {
				out := renewer.Outcome{Action: a, At: now, Revision: "r1-aa", Previous: "r1-aa", Layout: p.Layout(), Roots: has}
				if a.Kind == renewer.ActActivate {
					state, _ = renewer.Apply(state, now, renewer.Begun{Action: a})
				}
				state, _ = renewer.Apply(state, now, out)
			}
		}
		return true
	}
	var pauses []time.Duration
	for last := now; len(pauses) < 4; last = now {
		for !place() {
			if next := state.Record.NextAt; next.IsZero() || !next.After(now) {
				t.Fatalf("not looked at again: %s", next)
			}
			now = state.Record.NextAt
		}
		pauses = append(pauses, now.Sub(last))
	}
	for i, least := range []time.Duration{0, 45 * time.Second, 90 * time.Second, 3 * time.Minute} {
		if pauses[i] < least || pauses[i] > 2*least {
			t.Errorf("placed after pauses of %s", pauses)
		}
	}
	state, _ = renewer.Apply(state, now, renewer.Looked{Host: "h", Look: renewer.Look{At: now, Kind: renewer.ProbeFile, Err: &renewer.ProbeError{Kind: renewer.ProbeMismatch, Err: errors.New("another leaf")}}})
	if !place() {
		t.Error("what was found wrong is not fixed")
	}
	if place() {
		t.Error("repeated at once")
	}
	state, _ = renewer.Apply(state, now, renewer.Requested{})
	for range 3 {
		if !place() {
			t.Error("what was requested waits")
		}
		state, _ = renewer.Apply(state, now, renewer.Requested{})
	}
	if n := state.Record.Placements["h"].Same; n != 1 {
		t.Errorf("counted %d", n)
	}
}

package traffic

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"renewer/renewer"

	"pgregory.net/rapid"
)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// decide is the reference's decision, compared with that of a Traffic which gets
// all of it at once.
func decide(t fataler, entries []refEntry, busy func(renewer.Action) bool) Turn {
	t.Helper()
	traffic := New()
	var now time.Time
	for i, e := range entries {
		e.Order, now = i, e.Conditions.Now
		traffic.Put(e.Entry)
		for _, a := range e.Rollout.Next(e.Certificate, e.Conditions).Actions {
			if busy(a) {
				traffic.busy[a] = true
				traffic.Put(e.Entry)
			}
		}
	}
	for _, e := range entries {
		traffic.Learn(e.Certificate.Entry, e.Family)
	}
	traffic.Decide(now)
	want := reference(entries, busy)
	same(t, traffic, want, entries)
	return want
}

// same holds a decision against the reference's.
func same(t fataler, traffic *Control, want Turn, entries []refEntry) {
	t.Helper()
	var tasks []Task
	for _, o := range traffic.ready {
		tasks = append(tasks, o.task)
	}
	if !reflect.DeepEqual(tasks, want.Tasks) {
		t.Fatalf("tasks\n%v\nwant\n%v", tasks, want.Tasks)
	}
	if got := traffic.Waiting(); !reflect.DeepEqual(got, want.Waiting) {
		for name := range got {
			if !reflect.DeepEqual(got[name], want.Waiting[name]) {
				t.Fatalf("%s waits for %v, want %v", name, got[name], want.Waiting[name])
			}
		}
		t.Fatalf("waiting\n%v\nwant\n%v", got, want.Waiting)
	}
	atWork := 0
	for _, e := range entries {
		name := e.Certificate.Name
		m := refMove{e, e.Rollout.Next(e.Certificate, e.Conditions)}
		if e.Gate.Kind != "" {
			m.close()
		}
		if _, held := want.Held[name]; len(m.next.Actions) > 0 && !held {
			atWork++
		}
		if got := traffic.Moving(name); got != want.Moving[name] {
			t.Fatalf("%s moves: %v, want %v", name, got, want.Moving[name])
		}
		if by := want.Held[name].By; len(by) > 0 {
			if got := traffic.HeldByAny(name, func(n string) bool { return slices.Contains(by, n) }); !got {
				t.Fatalf("%s is held by %v, and that is not known", name, by)
			}
		}
	}
	if got := traffic.AtWork(); got != atWork {
		t.Fatalf("%d are at work, want %d", got, atWork)
	}
	if wake := traffic.Wake(); want.Wake.After(traffic.now) && (wake.IsZero() || wake.After(want.Wake)) {
		t.Fatalf("wakes at %s, want %s", wake, want.Wake)
	}
}

// Whatever happens, and in whatever order: what Traffic makes of the changes
// alone is what looking at everything gives.
func TestTrafficFollowsTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newStreet(t)
		for range rapid.IntRange(5, 60).Draw(t, "events") {
			s.event(t)
			s.check(t)
		}
	})
}

// street is a fleet to which anything may happen.
type street struct {
	traffic *Control
	now     time.Time
	certs   []renewer.Certificate
	open    map[string]*renewer.Rollout
	gates   map[string]renewer.Waiting
	ends    map[string]Ended
	said    map[string]renewer.Conditions // as of the last Put
	busy    map[renewer.Action]bool
	window  bool
}

func newStreet(t *rapid.T) *street {
	s := &street{
		traffic: New(), now: t0, open: map[string]*renewer.Rollout{}, gates: map[string]renewer.Waiting{}, ends: map[string]Ended{},
		said: map[string]renewer.Conditions{}, busy: map[renewer.Action]bool{},
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "entries") {
		pace := renewer.Pace{Canary: rapid.IntRange(0, 2).Draw(t, "canary"), MaxParallel: rapid.IntRange(0, 3).Draw(t, "parallel")}
		if rapid.Bool().Draw(t, "pauses") {
			pace.Pause = 20 * time.Second
		}
		usages := rapid.SampledFrom([][]renewer.Usage{{renewer.UsageServer}, {renewer.UsageClient}}).Draw(t, "usages")
		group := rapid.SampledFrom([]string{"", "", "g", "h"}).Draw(t, "group")
		window := rapid.SampledFrom([]string{"", "w"}).Draw(t, "window")
		for j := range rapid.IntRange(1, 5).Draw(t, "certificates") {
			hosts := []string{fmt.Sprintf("h%d", j)}
			if rapid.IntRange(0, 3).Draw(t, "wide") == 0 {
				hosts = append(hosts, "shared", "other")
			}
			c := entry(fmt.Sprintf("e%d@%d", i, j), hosts...)
			c.Entry, c.Pace, c.Usages, c.PeerGroup, c.Window = fmt.Sprintf("e%d", i), pace, usages, group, window
			c.OverrideBefore = time.Minute
			for k := range c.Placements {
				c.Placements[k].Activate.Units = []string{rapid.SampledFrom([]string{"one", "two"}).Draw(t, "unit")}
				if rapid.IntRange(0, 2).Draw(t, "inert") == 0 {
					c.Placements[k].Activate = renewer.Activation{Kind: renewer.ActivateNone}
				}
			}
			s.certs = append(s.certs, c)
		}
	}
	return s
}

func (s *street) entry(i int) refEntry {
	c := s.certs[i]
	k := renewer.Conditions{Now: s.now, WindowOpen: c.Window == "" || s.window, WindowNext: s.now.Truncate(time.Hour).Add(time.Hour)}
	if i%2 == 0 {
		k.Deadline = c.Deadline(&renewer.Generation{NotAfter: t0.Add(time.Duration(1+i) * 40 * time.Second)})
	}
	e := refEntry{Entry: Entry{Certificate: c, Rollout: s.open[c.Name], Conditions: k, Order: i, Gate: s.gates[c.Name]}}
	for _, other := range s.certs {
		if other.Entry == c.Entry {
			e.Size++
			if end, ok := s.ends[other.Name]; ok {
				e.Family = append(e.Family, end)
			}
		}
	}
	return e
}

func (s *street) put(i int) {
	e := s.entry(i)
	s.traffic.Put(e.Entry)
	if !s.traffic.Knows(e.Certificate.Entry) {
		s.traffic.Learn(e.Certificate.Entry, e.Family)
	}
	s.said[e.Certificate.Name] = e.Conditions
}

// event lets something happen.
func (s *street) event(t *rapid.T) {
	i := rapid.IntRange(0, len(s.certs)-1).Draw(t, "certificate")
	c := s.certs[i]
	r, open := s.open[c.Name]
	at := func(label string) time.Time {
		return s.now.Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, label)) * time.Second)
	}
	switch what := rapid.IntRange(0, 14).Draw(t, "event"); {
	case what == 0:
		s.now = s.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
	case what == 1:
		if wake := s.traffic.Wake(); wake.After(s.now) {
			s.now = wake
		}
	case what == 2 && rapid.IntRange(0, 3).Draw(t, "back") == 0:
		s.now = s.now.Add(-time.Duration(rapid.IntRange(1, 8*3600).Draw(t, "seconds")) * time.Second)
	case what == 2:
		s.window = !s.window
	case what == 3:
		if task, ok := s.traffic.Take(); ok {
			for _, a := range task {
				s.busy[a] = true
			}
		}
	case what == 4:
		for a := range s.busy {
			if a.Certificate == c.Name {
				delete(s.busy, a)
				s.traffic.Free(a)
			}
		}
	case what <= 6 && open:
		phase := rapid.SampledFrom([]renewer.Phase{renewer.PhaseDone, renewer.PhaseDone, renewer.PhaseBlocked, renewer.PhaseSuperseded, ""}).Draw(t, "phase")
		delete(s.open, c.Name)
		delete(s.said, c.Name)
		s.traffic.Remove(c.Name)
		if phase != "" { // else no one knows, as of one that left the fleet file
			s.ends[c.Name] = Ended{Certificate: c.Name, Phase: phase, At: at("end"), Why: "a test"}
			s.traffic.End(c.Entry, s.ends[c.Name])
		}
		same := func(o renewer.Certificate) bool { return o.Entry == c.Entry && s.open[o.Name] != nil }
		if !slices.ContainsFunc(s.certs, same) { // what begins later does not look back
			for _, o := range s.certs {
				if o.Entry == c.Entry {
					delete(s.ends, o.Name)
				}
			}
		}
	case what == 7 && open:
		s.gates[c.Name] = renewer.Waiting{}
		if rapid.Bool().Draw(t, "gate") {
			s.gates[c.Name] = renewer.Waiting{Kind: renewer.WaitGate, Text: "a verifier has no root", Until: at("until")}
		}
		s.put(i)
	case what > 7 || !open:
		next := renewer.Issue(c, renewer.Reason{Code: renewer.ReasonRequested, Text: "a test"})
		next.ID, next.StartedAt = c.Name+"#1", at("started")
		if open {
			next.StartedAt = r.StartedAt
		}
		if rapid.IntRange(0, 4).Draw(t, "phase") > 0 {
			next.Phase = renewer.PhaseRolling
		}
		next.Requested = rapid.IntRange(0, 2).Draw(t, "requested") == 0
		if next.Requested && rapid.Bool().Draw(t, "hurried") {
			next.AskedAt = at("asked")
		}
		if rapid.IntRange(0, 4).Draw(t, "backoff") == 0 {
			next.NextAt = at("next")
		}
		for k := range next.Steps {
			if next.Phase == renewer.PhaseOrdering {
				break
			}
			next.Steps[k].State = rapid.SampledFrom([]renewer.StepState{
				renewer.StepPending, renewer.StepPending, renewer.StepStaged, renewer.StepStaged, renewer.StepStaged, renewer.StepStaged, renewer.StepActivating, renewer.StepActivated, renewer.StepVerified,
				renewer.StepRestoring, renewer.StepRestored, renewer.StepRolledBack,
			}).Draw(t, "state")
			if rapid.IntRange(0, 4).Draw(t, "backoff") == 0 {
				next.Steps[k].NextAt = at("next")
			}
			next.Steps[k].Pass = rapid.SampledFrom([]renewer.Pass{"", "", renewer.PassRoots, renewer.PassRooted}).Draw(t, "pass")
			next.Steps[k].EndedAt = at("ended")
		}
		s.open[c.Name] = next
		s.put(i)
	}
}

// check decides both ways.
func (s *street) check(t *rapid.T) {
	due := s.traffic.Due(s.now)
	var entries []refEntry
	for i, c := range s.certs {
		if s.open[c.Name] == nil {
			continue
		}
		e := s.entry(i)
		k, was := e.Conditions, s.said[c.Name]
		if k.Now = was.Now; slices.Contains(due, c.Name) || k != was { // its window opened or closed, and the engine sees that
			s.put(i)
		}
		entries = append(entries, e)
	}
	s.traffic.Decide(s.now)
	same(t, s.traffic, reference(entries, func(a renewer.Action) bool { return s.busy[a] }), entries)
	if again := s.traffic.Due(s.now); len(again) > 0 {
		t.Fatalf("%v are due and have just been put", again)
	}
	if wake := s.traffic.Wake(); !wake.IsZero() && !wake.After(s.now) {
		t.Fatalf("wakes at %s, which ended at %s", wake, s.now)
	}
}

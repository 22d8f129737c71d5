package traffic

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/renewer"

	"pgregory.net/rapid"
)

// What holds of certificates that are tied together, whatever fails: the two
// sides of a group are never between two generations together, and those of
// one entry keep to its canary and max_parallel like the hosts of one rollout.
func TestTrafficProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newGroup(t)
		for range 600 {
			if !w.step(t) {
				break
			}
			w.checkSides(t)
			w.checkFamilies(t)
		}
		w.checkRest(t)
	})
}

// newGroup is a group of a few servers and clients, some of them several
// certificates of one entry.
func newGroup(t *rapid.T) *world {
	w := &world{t: t, busy: map[renewer.Action]bool{}, now: t0}
	add := func(entryName string, usage renewer.Usage) {
		n := rapid.IntRange(1, 4).Draw(t, "hosts")
		pace := renewer.Pace{Canary: rapid.IntRange(0, 2).Draw(t, "canary"), MaxParallel: rapid.IntRange(1, 3).Draw(t, "parallel")}
		for i := range n {
			host := fmt.Sprintf("%s%d", entryName, i)
			c := entry(entryName+"@"+host, host)
			c.Entry, c.Usages, c.PeerGroup, c.Pace = entryName, []renewer.Usage{usage}, "g", pace
			e := &worldEntry{c: c, rec: inPlace(c, 1)}
			e.before = e.rec.Clone()
			begin(&e.rec, renewer.Issue(c, renewer.Reason{Code: renewer.ReasonRequested, Text: "a test"}))
			w.entries = append(w.entries, e)
		}
	}
	add("client", renewer.UsageClient)
	add("server", renewer.UsageServer)
	if rapid.Bool().Draw(t, "second client") {
		add("other", renewer.UsageClient)
	}
	return w
}

func (e *worldEntry) live() int {
	n := 0
	for _, s := range e.rec.Rollout.Steps {
		if s.State.Live() {
			n++
		}
	}
	return n
}

func (w *world) checkSides(t *rapid.T) {
	var live [2][]string
	for _, e := range w.entries {
		if e.live() > 0 {
			live[sideOf(e.c)] = append(live[sideOf(e.c)], e.c.Name)
		}
	}
	if len(live[servers]) > 0 && len(live[clients]) > 0 {
		t.Fatalf("servers %v and clients %v are between two generations together", live[servers], live[clients])
	}
}

func (w *world) checkFamilies(t *rapid.T) {
	for _, e := range w.entries {
		live, proven, failed := 0, 0, 0
		family := w.family(e)
		for _, f := range family {
			live += f.live()
			switch f.rec.Rollout.Phase {
			case renewer.PhaseDone:
				proven++
			case renewer.PhaseBlocked:
				failed++
			}
		}
		p := e.c.Pace
		limit := p.MaxParallel
		if canary := min(p.Canary, len(family)); proven < canary {
			limit = max(canary, p.MaxParallel*min(proven, 1))
		}
		if len(family) > 1 && live > limit {
			t.Fatalf("entry %s has %d certificates under way, limit %d (%d proven)", e.c.Entry, live, limit, proven)
		}
		if canary := min(max(p.Canary, p.MaxParallel), len(family)); failed > canary {
			t.Fatalf("%d of entry %s failed: more than were under way when the first did", failed, e.c.Entry)
		}
	}
}

// checkRest: when nothing can be done, everything has ended, or is held back by a
// failure of its own entry.
func (w *world) checkRest(t *rapid.T) {
	turn := w.decide()
	for _, e := range w.entries {
		if e.rec.Rollout.Phase.Over() {
			continue
		}
		h, held := turn.Held[e.c.Name]
		failed := slices.ContainsFunc(w.family(e), func(f *worldEntry) bool { return f.rec.Rollout.Phase == renewer.PhaseBlocked })
		if !held || !failed || !strings.Contains(h.Text, "failed") {
			t.Fatalf("%s rests without a reason: %+v %+v", e.c.Name, h, e.rec.Rollout)
		}
	}
}

// staged is an entry whose rollout has staged everywhere and could activate.
func staged(c renewer.Certificate, at time.Time) refEntry {
	rec := inPlace(c, 1)
	begin(&rec, renewer.Issue(c, renewer.Reason{Code: renewer.ReasonRenewTime, Text: "a test"}))
	r := rec.Rollout
	r.Phase, r.Generation, r.StartedAt = renewer.PhaseRolling, 2, at
	for i := range r.Steps {
		r.Steps[i].State, r.Steps[i].Revision, r.Steps[i].Previous = renewer.StepStaged, "r2", "r1"
	}
	return refEntry{Entry: Entry{Certificate: c, Rollout: r, Conditions: renewer.Conditions{Now: at.Add(time.Minute), WindowOpen: true}, Size: 1}}
}

func perHost(name string, usage renewer.Usage, hosts ...string) (out []refEntry) {
	for _, h := range hosts {
		c := entry(name+"@"+h, h)
		c.Entry, c.Usages, c.PeerGroup = name, []renewer.Usage{usage}, "g"
		c.OverrideBefore = 24 * time.Hour
		e := staged(c, t0)
		e.Size = len(hosts)
		out = append(out, e)
	}
	return out
}

// starts lists the certificates that a decision lets activate.
func starts(turn Turn) (out []string) {
	for _, task := range turn.Tasks {
		for _, a := range task {
			if a.Kind == renewer.ActActivate {
				out = append(out, a.Certificate)
			}
		}
	}
	return out
}

func idle(renewer.Action) bool { return false }

func TestTheFirstOfAnEntryGoesAloneAndInItsOrder(t *testing.T) {
	entries := perHost("docker", renewer.UsageServer, "c", "a", "b") // the order of the file
	if got := starts(decide(t, entries, idle)); !slices.Equal(got, []string{"docker@c"}) {
		t.Fatalf("%v", got)
	}
	entries[0].Rollout.Steps[0].State = renewer.StepPending
	if got := starts(decide(t, entries, idle)); got != nil {
		t.Fatalf("while the first is being staged: %v", got)
	}
	entries[0].Rollout.Steps[0].NextAt = t0.Add(time.Hour)
	if got := starts(decide(t, entries, idle)); !slices.Equal(got, []string{"docker@a"}) {
		t.Fatalf("while the first cannot be reached: %v", got)
	}
	proven := Ended{Certificate: "docker@c", Phase: renewer.PhaseDone, At: t0.Add(30 * time.Second)}
	rest := entries[1:]
	for i := range rest {
		rest[i].Family = []Ended{proven}
	}
	if got := starts(decide(t, rest, idle)); !slices.Equal(got, []string{"docker@a", "docker@b"}) {
		t.Fatalf("after the canary: %v", got)
	}
	for i := range rest {
		rest[i].Certificate.Pace.Pause = time.Hour
	}
	turn := decide(t, rest, idle)
	if got := starts(turn); got != nil || !turn.Wake.Equal(proven.At.Add(time.Hour)) {
		t.Fatalf("in the pause: %v, wake %s", got, turn.Wake)
	}
}

func TestAFailureStopsTheOthersOfItsEntryUntilAnOperatorOrTheEnd(t *testing.T) {
	entries := perHost("docker", renewer.UsageServer, "a", "b")
	rest := entries[1:]
	rest[0].Family = []Ended{{Certificate: "docker@a", Phase: renewer.PhaseBlocked, At: t0.Add(10 * time.Second), Why: "a: connection refused"}}
	turn := decide(t, rest, idle)
	if got := starts(turn); got != nil {
		t.Fatalf("%v", got)
	}
	if h := turn.Held["docker@b"]; !strings.Contains(h.Text, "docker@a failed: a: connection refused") {
		t.Errorf("%+v", h)
	}
	rest[0].Conditions.Deadline = rest[0].Certificate.Deadline(&renewer.Generation{NotAfter: t0.Add(23 * time.Hour)})
	if got := starts(decide(t, rest, idle)); len(got) != 1 {
		t.Error("what is in place ends, and it is still held")
	}
	rest[0].Conditions.Deadline = renewer.Deadline{}
	rest[0].Rollout.Hurry(renewer.Overrides{}, t0.Add(20*time.Second))
	if got := starts(decide(t, rest, idle)); len(got) != 1 {
		t.Error("an operator asked after the failure, and it is still held")
	}
	rest[0].Rollout.AskedAt = t0.Add(5 * time.Second)
	if got := starts(decide(t, rest, idle)); got != nil {
		t.Error("an operator asked before the failure, and it goes on")
	}
}

func TestServersGoFirstAndNeverTogetherWithClients(t *testing.T) {
	both := slices.Concat(perHost("worker", renewer.UsageClient, "w"), perHost("coordinator", renewer.UsageServer, "c"))
	turn := decide(t, both, idle)
	if got := starts(turn); !slices.Equal(got, []string{"coordinator@c"}) {
		t.Fatalf("%v", got)
	}
	if h := turn.Held["worker@w"]; !slices.Equal(h.By, []string{"coordinator@c"}) {
		t.Errorf("%+v", h)
	}
	both[1].Rollout.Steps[0].State = renewer.StepPending
	if got := starts(decide(t, both, idle)); got != nil {
		t.Fatalf("while the server is being staged: %v", got)
	}
	both[1].Rollout.Steps[0].State = renewer.StepActivated
	if got := starts(decide(t, both, idle)); got != nil {
		t.Fatalf("while the server is being proven: %v", got)
	}
	both[1].Rollout.Steps[0].State, both[1].Rollout.Steps[0].NextAt = renewer.StepPending, t0.Add(time.Hour)
	if got := starts(decide(t, both, idle)); !slices.Equal(got, []string{"worker@w"}) {
		t.Fatalf("while the server cannot be reached: %v", got)
	}
	both[0].Rollout.Steps[0].State = renewer.StepRestoring
	both[1].Rollout.Steps[0].State, both[1].Rollout.Steps[0].NextAt = renewer.StepStaged, time.Time{}
	if got := starts(decide(t, both, idle)); got != nil {
		t.Fatalf("while a client goes back: %v", got)
	}
}

func TestOthersDoNotHoldEachOtherUp(t *testing.T) {
	a, b := entry("a", "h1"), entry("b", "h2")
	if got := starts(decide(t, []refEntry{staged(a, t0), staged(b, t0)}, idle)); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestTheUrgentGoFirst(t *testing.T) {
	var list []refEntry
	for i, state := range []renewer.StepState{renewer.StepPending, renewer.StepStaged, renewer.StepActivated, renewer.StepRestoring} {
		e := staged(entry(fmt.Sprintf("c%d", i), fmt.Sprintf("h%d", i)), t0)
		e.Rollout.Steps[0].State = state
		list = append(list, e)
	}
	var kinds []renewer.ActionKind
	for _, task := range decide(t, list, idle).Tasks {
		kinds = append(kinds, task[0].Kind)
	}
	if want := []renewer.ActionKind{renewer.ActRestore, renewer.ActProbe, renewer.ActActivate, renewer.ActStage}; !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
}

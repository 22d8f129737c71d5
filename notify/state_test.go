package notify

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"renewer/configs"
	"renewer/renewer"
)

var start = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

func all() map[renewer.EventType]bool {
	wanted := map[renewer.EventType]bool{}
	for _, e := range Usual {
		wanted[e] = true
	}
	return wanted
}

// story reads events, one a second.
func story(t *testing.T, events ...renewer.Event) *state {
	t.Helper()
	s := newState(0)
	for i, e := range events {
		e.Seq, e.Time = uint64(i)+1, start.Add(time.Duration(i)*time.Second)
		s.take(e, all(), start.Add(time.Hour))
	}
	return s
}

func (s *state) said() (out []string) {
	for _, t := range s.sorted() {
		out = append(out, fmt.Sprintf("open %s %s", t.Kind, name(*t)))
	}
	for _, t := range s.ended() {
		out = append(out, fmt.Sprintf("over %s %s", t.Kind, name(t)))
	}
	return out
}

func TestWhatOpensAndWhatEnds(t *testing.T) {
	t.Parallel()
	ev := func(typ renewer.EventType, host string) renewer.Event { return event(typ, "a", host) }
	gen := func(e renewer.Event, n int) renewer.Event { e.Generation = n; return e }
	clean := func(e renewer.Event) renewer.Event { e.Error, e.Hint = "", ""; return e }
	issuer := func(typ renewer.EventType) renewer.Event { return renewer.Event{Type: typ, Issuer: "ca"} }
	for _, c := range []struct {
		name   string
		events []renewer.Event
		want   []string
	}{
		{"a failed order that is repeated", []renewer.Event{ev(renewer.EventRenewalFailed, ""), ev(renewer.EventRenewalFailed, "")}, []string{"open renewal_failed a"}},
		{"issued before a message was sent", []renewer.Event{ev(renewer.EventRenewalFailed, ""), ev(renewer.EventIssued, "")}, nil},
		{"an order that waits at the issuer", []renewer.Event{ev(renewer.EventRenewalFailed, ""), clean(ev(renewer.EventOrderWaiting, ""))}, nil},
		{"a host on which staging fails", []renewer.Event{ev(renewer.EventStageFailed, "h"), ev(renewer.EventIssued, "")}, []string{"open renewal_failed a on h"}},
		{"and then succeeds", []renewer.Event{ev(renewer.EventStageFailed, "h"), ev(renewer.EventStaged, "h")}, nil},
		{
			"rolled back, blocked, done",
			[]renewer.Event{ev(renewer.EventRolledBack, "h"), ev(renewer.EventRolloutBlocked, ""), ev(renewer.EventVerified, "h"), ev(renewer.EventRolloutDone, "")},
			[]string{"over rolled_back a on h", "over rollout_blocked a"},
		},
		{"verified elsewhere", []renewer.Event{ev(renewer.EventRolledBack, "h"), ev(renewer.EventVerified, "i")}, []string{"open rolled_back a on h"}},
		{"another certificate", []renewer.Event{ev(renewer.EventRolloutBlocked, ""), event(renewer.EventRolloutDone, "b", "")}, []string{"open rollout_blocked a"}},
		{"the previous one served again", []renewer.Event{ev(renewer.EventRolledBack, "h"), ev(renewer.EventRecovered, "h")}, []string{"open rolled_back a on h"}},
		{"drift that is repaired is reported", []renewer.Event{ev(renewer.EventDrifted, "h"), ev(renewer.EventVerified, "h")}, []string{"over drifted a on h"}},
		{"a host that is unreachable, then reachable", []renewer.Event{ev(renewer.EventUnreachable, "h"), ev(renewer.EventRecovered, "h")}, nil},
		{"unreachable, then drifted", []renewer.Event{ev(renewer.EventUnreachable, "h"), ev(renewer.EventDrifted, "h")}, []string{"open drifted a on h"}},
		{"in place but not running", []renewer.Event{ev(renewer.EventUnreachable, "h"), ev(renewer.EventRolloutDone, "")}, []string{"open unreachable a on h"}},
		{"expiring becomes expired", []renewer.Event{ev(renewer.EventExpiring, ""), ev(renewer.EventExpired, "")}, []string{"open expired a"}},
		{"a repair does not renew", []renewer.Event{ev(renewer.EventExpiring, ""), ev(renewer.EventRolloutDone, "")}, []string{"open expiring a"}},
		{"a renewal does", []renewer.Event{ev(renewer.EventExpiring, ""), gen(ev(renewer.EventRolloutDone, ""), 2)}, []string{"over expiring a"}},
		{"a guard that waits for the operator", []renewer.Event{ev(renewer.EventRolloutWaiting, "h")}, []string{"open rollout_blocked a on h"}},
		{"one that waits by itself", []renewer.Event{clean(ev(renewer.EventRolloutWaiting, "h"))}, nil},
		{"a guard that let it pass", []renewer.Event{ev(renewer.EventRolloutWaiting, "h"), ev(renewer.EventActivated, "h")}, []string{"over rollout_blocked a on h"}},
		{"an issuer", []renewer.Event{issuer(renewer.EventIssuerDown), issuer(renewer.EventIssuerDown), ev(renewer.EventRolloutDone, "")}, []string{"open issuer_down issuer ca"}},
		{"an issuer that is back", []renewer.Event{issuer(renewer.EventIssuerDown), issuer(renewer.EventIssuerUp)}, nil},
		{"a rotation that is blocked", []renewer.Event{issuer(renewer.EventCARotationWaiting), issuer(renewer.EventIssuerUp), ev(renewer.EventRolloutDone, "")}, []string{"open ca_rotation_waiting issuer ca"}},
		{"a rotation that goes on", []renewer.Event{issuer(renewer.EventCARotationWaiting), issuer(renewer.EventCARotationSwitched)}, []string{"over ca_rotation_waiting issuer ca"}},
		{
			"a restore whose files are written back is not proven",
			[]renewer.Event{ev(renewer.EventRestoreFailed, "h"), ev(renewer.EventRolloutSuperseded, ""), ev(renewer.EventRestored, "h"), ev(renewer.EventVerified, "i")},
			[]string{"open restore_failed a on h"},
		},
		{"not restored, then verified", []renewer.Event{ev(renewer.EventRestoreFailed, "h"), ev(renewer.EventVerified, "h")}, []string{"over restore_failed a on h"}},
		{"not restored, then served again", []renewer.Event{ev(renewer.EventRestoreFailed, "h"), ev(renewer.EventRecovered, "h")}, []string{"over restore_failed a on h"}},
		{"not restored, then rolled out", []renewer.Event{ev(renewer.EventRestoreFailed, "h"), ev(renewer.EventRolloutDone, "")}, []string{"over restore_failed a on h"}},
		{
			"not restored, then rolled back after all",
			[]renewer.Event{ev(renewer.EventRestoreFailed, "h"), ev(renewer.EventRestored, "h"), ev(renewer.EventRolledBack, "h")},
			[]string{"open rolled_back a on h", "over restore_failed a on h"},
		},
		{"removed", []renewer.Event{ev(renewer.EventRolloutBlocked, ""), ev(renewer.EventDrifted, "h"), ev(renewer.EventRemoved, "")}, []string{"over rollout_blocked a", "over drifted a on h"}},
		{"given up", []renewer.Event{ev(renewer.EventRolloutBlocked, ""), ev(renewer.EventRolloutSuperseded, "")}, []string{"over rollout_blocked a"}},
		{
			"given up for another",
			[]renewer.Event{ev(renewer.EventRolloutBlocked, ""), ev(renewer.EventRolloutSuperseded, ""), ev(renewer.EventRolloutPlanned, "")},
			[]string{"open rollout_blocked a"},
		},
		{"nothing for people", []renewer.Event{ev(renewer.EventRolloutPlanned, ""), ev(renewer.EventHostSetup, "h"), ev(renewer.EventProbeFailed, "h")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := story(t, c.events...)
			s.settle(DefaultPace, start.Add(time.Hour))
			got := s.said()
			slices.Sort(got)
			want := slices.Sorted(slices.Values(c.want))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUsualEventsAreAllProblems(t *testing.T) {
	t.Parallel()
	for _, e := range Usual {
		if kinds[e].is == "" {
			t.Errorf("%s has no words for a title", e)
		}
	}
	if len(Usual) != len(kinds) {
		t.Errorf("%d usual events, %d kinds", len(Usual), len(kinds))
	}
}

// Every event that the fleet file may ask for is known here.
func TestEveryWordOfTheFleetFileIsKnown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/notifications.md")
	if err != nil {
		t.Fatal(err)
	}
	for e := range notices {
		if kinds[e].is != "" || rowOf(e).Meaning == "" {
			t.Errorf("%s is a problem and a notice, or has no text", e)
		}
	}
	words := slices.Concat(Usual, slices.Collect(maps.Keys(notices)))
	for _, e := range words {
		if !strings.Contains(string(text), "`"+string(e)+"`") {
			t.Errorf("docs/notifications.md does not explain %s", e)
		}
		data := "state_dir: /s\nnotify:\n  - {name: a, url_file: /u, events: [" + string(e) + "]}\n"
		file := filepath.Join(t.TempDir(), "renewer.yaml")
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := configs.Load(file); err != nil {
			t.Errorf("the fleet file does not know %s: %v", e, err)
		}
	}
}

// A channel gets the events that it names, and what resolves them.
func TestOnlyWhatIsWanted(t *testing.T) {
	t.Parallel()
	s := newState(0)
	wanted := map[renewer.EventType]bool{renewer.EventExpiring: true, renewer.EventRolloutDone: true}
	for _, e := range []renewer.Event{
		event(renewer.EventDrifted, "a", "h"), event(renewer.EventExpiring, "a", ""), event(renewer.EventExpired, "a", ""), event(renewer.EventRolloutDone, "b", ""),
	} {
		s.take(e, wanted, start)
	}
	if diff := cmp.Diff([]string{"open expiring a"}, s.said()); diff != "" || len(s.notes) != 1 || s.notes[0].Certificate != "b" {
		t.Error(diff, s.notes)
	}
}

// TestAnyInterleaving holds for any log and any times of messages: a message
// opens a problem at most once while it lasts, each opened problem that closes is
// resolved exactly once, and no message resolves a problem that none opened.
// Saving and reading the state at any point changes nothing.
func TestAnyInterleaving(t *testing.T) {
	t.Parallel()
	types := []renewer.EventType{
		renewer.EventRenewalFailed, renewer.EventIssued, renewer.EventStageFailed, renewer.EventStaged, renewer.EventRolledBack, renewer.EventRolloutBlocked,
		renewer.EventRolloutDone, renewer.EventRolloutSuperseded, renewer.EventRolloutPlanned, renewer.EventRestoreFailed, renewer.EventRestored,
		renewer.EventDrifted, renewer.EventUnreachable, renewer.EventRecovered, renewer.EventVerified, renewer.EventExpired, renewer.EventRemoved,
		renewer.EventExpiring, renewer.EventRolloutWaiting, renewer.EventOrderWaiting, renewer.EventActivated, renewer.EventIssuerDown, renewer.EventIssuerUp,
	}
	rapid.Check(t, func(t *rapid.T) {
		s, now := newState(0), start
		told, critical := map[key]bool{}, map[key]bool{}
		tell := func() {
			if s.untold() == 0 {
				if !s.firstNews.IsZero() || !s.due(DefaultPace, now).IsZero() {
					t.Fatal("due with nothing to tell")
				}
				return
			}
			s.compose("ops", DefaultPace, now)
			for _, x := range s.outbox.Message.Resolved {
				if !told[x.key()] || !x.Told {
					t.Fatalf("%v is resolved, and no message opened it (it knows of one: %v)", x.key(), x.Told)
				}
				if x.Until.Before(x.Since) {
					t.Fatalf("%v ended before it began", x.key())
				}
				delete(told, x.key())
			}
			for _, x := range s.outbox.Message.Notices {
				if told[x.key()] || x.Until.IsZero() {
					t.Fatalf("%v is a notice, and was opened", x.key())
				}
			}
			for _, x := range s.outbox.Message.Open {
				if x.Kind == renewer.EventExpired { // takes the place of expiring
					delete(told, key{kind: renewer.EventExpiring, certificate: x.Certificate})
				}
				if told[x.key()] && x.Kind != renewer.EventExpiring && (!x.differs() || critical[x.key()]) { // repeated at each threshold; worse once
					t.Fatalf("%v is opened twice", x.key())
				}
				critical[x.key()] = x.differs()
				told[x.key()] = true
			}
			s.delivered(now)
		}
		for seq := range rapid.IntRange(1, 60).Draw(t, "events") {
			e := event(rapid.SampledFrom(types).Draw(t, "type"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "certificate"), rapid.SampledFrom([]string{"", "h", "i"}).Draw(t, "host"))
			if e.Type == renewer.EventIssuerDown || e.Type == renewer.EventIssuerUp {
				e = renewer.Event{Type: e.Type, Issuer: "ca"}
			}
			e.Seq, e.Time, e.Generation = uint64(seq)+1, now, rapid.IntRange(1, 2).Draw(t, "generation")
			s.take(e, all(), now)
			now = now.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			if rapid.Bool().Draw(t, "lasts") {
				now = now.Add(11 * time.Minute)
				s.escalate(differing(now, "h", "i"), now)
			}
			if rapid.Bool().Draw(t, "settle") {
				s.settle(DefaultPace, now)
			}
			if rapid.Bool().Draw(t, "save") {
				data, err := encode(s)
				if err != nil {
					t.Fatal(err)
				}
				again, err := decode(data)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(s, again, cmp.AllowUnexported(state{}, key{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatal(diff)
				}
				s = again
			}
			if rapid.Bool().Draw(t, "tell") {
				tell()
			}
		}
		for _, c := range []string{"a", "b"} {
			s.take(renewer.Event{Type: renewer.EventRemoved, Certificate: c, Time: now}, all(), now)
		}
		s.take(renewer.Event{Type: renewer.EventIssuerUp, Issuer: "ca", Time: now}, all(), now)
		tell()
		if len(told) > 0 || len(s.open) > 0 {
			t.Fatalf("opened and never resolved: %v; open: %v", told, s.said())
		}
	})
}

func TestDueIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newState(0)
		p := Pace{Quiet: 10 * time.Second, Patience: time.Minute, Interval: time.Minute, PerHour: 3}
		now := start
		var sent []time.Time
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "event") {
				e := event(renewer.EventDrifted, fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "certificate")), "h")
				e.Time = now.Add(time.Duration(rapid.IntRange(-3600, 3600).Draw(t, "skew")) * time.Second)
				s.take(e, all(), now)
				s.take(event(renewer.EventVerified, e.Certificate, "h"), all(), now)
			}
			if at := s.due(p, now); !at.IsZero() && !at.After(now) {
				s.compose("ops", p, now)
				s.delivered(now)
				sent = append(sent, now)
			} else if at.After(now.Add(2 * time.Hour)) {
				t.Fatalf("the next message is due in %s", at.Sub(now))
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
		}
		for i, at := range sent {
			if i > 0 && at.Sub(sent[i-1]) < p.Interval {
				t.Fatalf("two messages within %s", at.Sub(sent[i-1]))
			}
			if i >= p.PerHour && at.Sub(sent[i-p.PerHour]) < time.Hour {
				t.Fatalf("%d messages within %s", p.PerHour+1, at.Sub(sent[i-p.PerHour]))
			}
		}
	})
}

// A message lists what there is room for. What it only counts is not opened, so no later
// message resolves it; what it opened is resolved, in as many messages as that takes.
func TestNothingIsResolvedThatNoMessageOpened(t *testing.T) {
	t.Parallel()
	s, opened, resolved := newState(0), map[key]bool{}, map[key]int{}
	at := func(e renewer.Event) renewer.Event { e.Time = start; return e }
	next := func() Message {
		s.compose("ops", DefaultPace, start)
		m := s.outbox.Message
		s.delivered(start)
		for _, x := range m.Open {
			opened[x.key()] = true
		}
		for _, x := range m.Resolved {
			if resolved[x.key()]++; !opened[x.key()] || resolved[x.key()] > 1 {
				t.Fatalf("%v is resolved, opened: %v, %d times", x.key(), opened[x.key()], resolved[x.key()])
			}
		}
		return m
	}
	wave := func(from, to int) {
		for i := from; i < to; i++ {
			s.take(at(event(renewer.EventRolloutBlocked, fmt.Sprintf("%04d", i), "")), all(), start)
		}
	}
	wave(0, maxListed+100)
	if m := next(); len(m.Open) != maxListed || m.More != 100 || m.Remaining != maxListed+100 {
		t.Fatalf("%d open, %d more, %d remaining", len(m.Open), m.More, m.Remaining)
	}
	wave(2000, 2000+maxListed)
	next()
	for i := range 2000 + maxListed {
		s.take(at(event(renewer.EventRolloutDone, fmt.Sprintf("%04d", i), "")), all(), start)
	}
	for n := 0; s.untold() > 0; n++ {
		if n > 3 {
			t.Fatal("no end")
		}
		if at := s.due(DefaultPace, start); at.IsZero() {
			t.Fatal("nothing is due, and not everything is resolved")
		}
		if m := next(); m.More != 0 {
			t.Errorf("%d were left out", m.More)
		}
	}
	if len(resolved) != 2*maxListed {
		t.Errorf("%d of %d are resolved", len(resolved), 2*maxListed)
	}
}

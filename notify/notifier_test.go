package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// bench runs a notifier with one channel, in a bubble.
func bench(t *testing.T, box *inbox, events ...renewer.EventType) (*Notifier, *memory) {
	t.Helper()
	log := newMemory()
	n := New(Config{Store: log})
	n.Set([]Channel{{Name: "ops", Sender: box, Events: events}})
	t.Cleanup(n.Stop)
	wait(2 * time.Second) // it has begun
	return n, log
}

// wait lets the bubble's clock run.
func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A problem that came and went between two messages is a notice with what it was: it
// was never opened, so it is not resolved either, and yet a certificate that was
// replaced by hand is worth a question.
func TestProblemBetweenTwoMessagesIsANotice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{}
		_, log := bench(t, box)
		log.add(event(renewer.EventDrifted, "web", "host-a"))
		log.add(event(renewer.EventVerified, "web", "host-a"))
		wait(time.Minute)
		got := box.messages()
		if len(got) != 1 || len(got[0].Resolved)+len(got[0].Open) != 0 || len(got[0].Notices) != 1 || got[0].Severity != "info" {
			t.Fatalf("%+v", got)
		}
		if text := got[0].Text; !strings.Contains(text, "error: it is drifted") || !strings.Contains(text, "run: renewer show web") || !strings.Contains(text, " to 2000-01-01") {
			t.Errorf("the message does not say what was wrong:\n%s", text)
		}
	})
}

// A certificate that expires does not resolve that it was about to.
func TestExpiredDoesNotResolveExpiring(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{}
		_, log := bench(t, box)
		log.add(event(renewer.EventExpiring, "web", ""))
		wait(5 * time.Minute)
		log.add(event(renewer.EventExpired, "web", ""))
		wait(5 * time.Minute)
		got := box.messages()
		if len(got) != 2 || len(got[1].Open) != 1 || got[1].Open[0].Kind != renewer.EventExpired || len(got[1].Resolved) != 0 {
			t.Fatalf("%d messages, the last %+v", len(got), got[len(got)-1])
		}
	})
}

func TestAFleetIsOneMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{}
		_, log := bench(t, box)
		for i := range 200 { // over 40 seconds
			log.add(event(renewer.EventRolloutBlocked, fmt.Sprintf("docker@host-%03d", i), ""))
			wait(200 * time.Millisecond)
		}
		wait(time.Minute)
		got := box.messages()
		if len(got) != 1 || len(got[0].Open) != 200 {
			t.Fatalf("%d messages, the first with %d", len(got), len(got[0].Open))
		}
		m := got[0]
		if m.Title != "WARNING: 200 certificates blocked" || !strings.Contains(m.Text, "and 190 more") || !strings.Contains(m.Text, "- docker@host-000\n  error: it is rollout_blocked") ||
			!strings.Contains(m.Text, "hint: look at docker@host-000") || len(m.Text) > maxText {
			t.Errorf("%s\n%s", m.Title, m.Text)
		}
		for i := range 200 {
			log.add(event(renewer.EventRolloutBlocked, fmt.Sprintf("docker@host-%03d", i), "")) // repeats are silent
		}
		wait(time.Hour)
		if n := len(box.messages()); n != 1 {
			t.Fatalf("%d messages", n)
		}
		for i := range 200 {
			log.add(event(renewer.EventRolloutDone, fmt.Sprintf("docker@host-%03d", i), ""))
		}
		wait(time.Hour)
		if got = box.messages(); len(got) != 2 || len(got[1].Resolved) != 200 || got[1].Title != "RESOLVED: 200 certificates blocked" {
			t.Fatalf("%d messages, the last %q", len(got), got[len(got)-1].Title)
		}
	})
}

func TestNewsWaitForQuietAndForTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{}
		_, log := bench(t, box)
		began := time.Now()
		for i := range 400 { // something every 15 s, for 100 minutes
			log.add(event(renewer.EventDrifted, fmt.Sprint(i), "h"))
			wait(15 * time.Second)
		}
		wait(2 * time.Hour)
		got := box.messages()
		told := 0
		for i, m := range got {
			told += len(m.Open)
			if i > 0 && m.Time.Sub(got[i-1].Time) < DefaultPace.Interval-time.Second {
				t.Errorf("two messages within %s", m.Time.Sub(got[i-1].Time))
			}
			if i >= DefaultPace.PerHour && m.Time.Sub(got[i-DefaultPace.PerHour].Time) < time.Hour-time.Second {
				t.Errorf("more than %d messages in an hour", DefaultPace.PerHour)
			}
		}
		if told != 400 {
			t.Errorf("%d of 400 problems delivered", told)
		}
		if wait := got[0].Time.Sub(began); wait < 9*time.Second || wait > 12*time.Second {
			t.Errorf("the first message came after %s", wait)
		}
	})
}

func TestRetriesWithTheSameIDAndLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		box := &inbox{fail: func(try int) error {
			at = append(at, time.Now())
			if try <= 9 {
				return &renewer.Error{Err: errNo, Hint: "fix it"}
			}
			return nil
		}}
		n, log := bench(t, box)
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		wait(15 * time.Second)
		st, err := n.Status()
		if err != nil || st[0].LastError != "no" || st[0].Hint != "fix it" || st[0].Open != 1 || st[0].Waiting != 1 || !st[0].LastSuccess.IsZero() {
			t.Errorf("%+v, %v", st, err)
		}
		log.add(event(renewer.EventRolloutDone, "a", ""), event(renewer.EventDrifted, "b", "h")) // while it is away
		wait(3 * time.Hour)
		got := box.messages()
		if len(got) != 2 || len(got[0].Open) != 1 || got[0].Open[0].Certificate != "a" || len(got[1].Resolved) != 1 || len(got[1].Open) != 1 {
			t.Fatalf("%+v", got)
		}
		for i := 2; i < 9; i++ {
			if a, b := at[i].Sub(at[i-1]), at[i-1].Sub(at[i-2]); a < b+b/3 && a < 40*time.Minute {
				t.Errorf("pauses of %s, then %s", b, a)
			}
		}
		st, err = n.Status()
		if err != nil || st[0].LastError != "" || st[0].LastSuccess.IsZero() || st[0].Open != 1 || st[0].Waiting != 0 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{fail: func(try int) error {
			if try == 1 {
				return &renewer.Error{Err: errNo, After: 10 * time.Minute}
			}
			return nil
		}}
		_, log := bench(t, box)
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		wait(9 * time.Minute)
		if box.tries() != 1 {
			t.Errorf("%d tries", box.tries())
		}
		wait(2 * time.Minute)
		if len(box.messages()) != 1 {
			t.Error("not delivered after Retry-After")
		}
	})
}

// A new channel begins at the end of the log. One that stays in the fleet file keeps its
// cursor through a reload and a restart; one that is removed and added again begins at the end.
func TestChannelsComeStayAndGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, box := newMemory(), &inbox{}
		log.add(event(renewer.EventRolloutBlocked, "old", ""))
		ops := []Channel{{Name: "ops", Sender: box}}
		n := New(Config{Store: log})
		n.Set(ops)
		wait(time.Hour)
		if len(box.messages()) != 0 {
			t.Fatal("a new channel received old events")
		}
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		wait(5 * time.Second)
		n.Set(ops) // before any message
		wait(time.Minute)
		log.add(event(renewer.EventRolloutBlocked, "b", ""))
		n.Stop()
		log.add(event(renewer.EventRolloutBlocked, "c", ""))
		n = New(Config{Store: log})
		n.Set(ops)
		wait(time.Hour)
		var told []string
		for _, m := range box.messages() {
			for _, x := range m.Open {
				told = append(told, x.Certificate)
			}
		}
		if strings.Join(told, " ") != "a b c" {
			t.Errorf("delivered %v", told)
		}
		n.Set(nil)
		wait(time.Minute)
		if names, _ := log.Channels(); len(names) != 0 {
			t.Errorf("kept %v", names)
		}
		log.add(event(renewer.EventRolloutBlocked, "d", ""))
		n.Set(ops)
		wait(time.Hour)
		n.Stop()
		if fmt.Sprint(box.messages()) == "[]" || strings.Contains(fmt.Sprint(box.messages()), "look at d") {
			t.Error("the channel received an event from before it was added again")
		}
	})
}

func TestAStoreThatFailsHoldsMessagesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &inbox{}
		_, log := bench(t, box)
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		log.breaks(errors.New("no space left"))
		wait(time.Hour)
		if box.tries() != 0 {
			t.Error("something was sent that was not written down")
		}
		log.breaks(nil)
		wait(time.Minute)
		if got := box.messages(); len(got) != 1 {
			t.Errorf("%d messages", len(got))
		}
	})
}

// A saved state costs a write to the disk: a quiet log costs none, a busy one
// without news for the channel one a minute.
func TestSavesAreFew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, log := bench(t, &inbox{})
		was := log.saves
		wait(time.Hour)
		if log.saves != was {
			t.Errorf("%d saves of a quiet log", log.saves-was)
		}
		for range 600 {
			log.add(event(renewer.EventStaged, "a", "h"))
			wait(time.Second)
		}
		if n := log.saves - was; n > 12 {
			t.Errorf("%d saves in ten minutes", n)
		}
	})
}

type panicking struct{ unchecked }

func (panicking) Send(context.Context, Message) error { panic("hunter2") }

type slow struct {
	unchecked
	n *int
}

func (s slow) Send(ctx context.Context, _ Message) error {
	<-ctx.Done()
	*s.n++
	return ctx.Err()
}

// A channel that is slow or breaks holds up no other, and no secret that a
// panic knows is shown.
func TestABadChannelStaysAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, box, tries := newMemory(), &inbox{}, 0
		var mu sync.Mutex
		counted := map[string]int{}
		n := New(Config{Store: log, Sent: func(ch string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				counted[ch]++
			}
		}})
		n.Set([]Channel{{Name: "panics", Sender: panicking{}}, {Name: "hangs", Sender: slow{n: &tries}}, {Name: "works", Sender: box}})
		wait(2 * time.Second)
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		wait(5 * time.Minute)
		n.Stop()
		if len(box.messages()) != 1 || tries < 2 || counted["panics"] < 2 || counted["hangs"] < 2 {
			t.Errorf("%d messages, %d slow tries, %v", len(box.messages()), tries, counted)
		}
		st, err := n.Status()
		if err != nil || !strings.Contains(st[0].LastError, "internal error") || strings.Contains(fmt.Sprint(st), "hunter2") {
			t.Errorf("%+v %v", st, err)
		}
	})
}

func TestOnceSendsWithoutWaiting(t *testing.T) {
	t.Parallel()
	log, box := newMemory(), &inbox{}
	n := New(Config{Store: log})
	n.Know([]Channel{{Name: "ops", Sender: box}})
	if err := n.Begin(); err != nil {
		t.Fatal(err)
	}
	log.add(event(renewer.EventRolloutBlocked, "a", ""))
	n.Once()
	n.Once()
	if got := box.messages(); len(got) != 1 || len(got[0].Open) != 1 {
		t.Errorf("%+v", got)
	}
	if err := n.Test(t.Context(), "nosuch"); err == nil || renewer.Hint(err) == "" {
		t.Error(err)
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	log, box := newMemory(), &inbox{}
	own, err := ParseTemplate(`{{define "title"}}{{range .Problems}}{{word .Kind}} of {{range .Items}}{{name .}}{{end}}{{end}}` + "\n\ntwo lines" + `{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	n := New(Config{Store: log})
	n.Know([]Channel{{Name: "ops", Sender: box, Template: own}})
	if err := n.Begin(); err != nil {
		t.Fatal(err)
	}
	log.add(event(renewer.EventRolledBack, "docker@h", "h"))
	n.Once()
	if got := box.messages()[0]; got.Title != "rolled back of docker@h two lines" || !strings.Contains(got.Text, "it is rolled_back") {
		t.Errorf("%q\n%s", got.Title, got.Text)
	}
	for _, bad := range []string{"{{", `{{define "text"}}{{.Nosuch}}{{end}}`, `{{define "text"}}{{range .Open}}{{end}}{{template "nosuch"}}{{end}}`} {
		if _, err := ParseTemplate(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

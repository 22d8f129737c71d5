package notify

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// A channel that fails is known to fail from the first moment after a restart,
// and since when; not only once it fails again.
func TestFailingOutlivesARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		box := &inbox{fail: func(int) error {
			if down.Load() {
				return errNo
			}
			return nil
		}}
		n, log := bench(t, box)
		if st := n.Live(); len(st) != 1 || !st[0].FailingSince.IsZero() || !st[0].WaitingSince.IsZero() || !st[0].LastSuccess.IsZero() {
			t.Errorf("at first: %+v", st)
		}
		came := time.Now()
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		wait(5 * time.Second)
		if st := n.Live()[0]; !st.WaitingSince.Equal(came) || !st.FailingSince.IsZero() {
			t.Errorf("while the news settles: %+v", st)
		}
		wait(3 * time.Hour)
		n.Stop()
		failing := n.Live()
		if len(failing) != 0 {
			t.Errorf("after the end: %+v", failing)
		}
		again := New(Config{Store: log})
		again.Set([]Channel{{Name: "ops", Sender: box}})
		defer again.Stop()
		synctest.Wait() // the next try is up to an hour away
		st := again.Live()
		if len(st) != 1 || !st[0].WaitingSince.Equal(came) || st[0].FailingSince.Sub(came) > 15*time.Second || st[0].FailingSince.Before(came) {
			t.Fatalf("after a restart: %+v", st)
		}
		saved, err := again.Status()
		if err != nil || !saved[0].FailingSince.Equal(st[0].FailingSince) || !saved[0].WaitingSince.Equal(came) {
			t.Errorf("as saved: %+v, %v", saved, err)
		}
		down.Store(false)
		wait(2 * time.Hour)
		if st := again.Live()[0]; !st.FailingSince.IsZero() || !st.WaitingSince.IsZero() || st.LastSuccess.IsZero() || st.LastError != "" {
			t.Errorf("once it was taken: %+v", st)
		}
	})
}

// A test is no message: it neither hides a failure nor makes one. But what
// waits for its next try goes out once a test got through.
func TestATestChangesNothingButTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		box := &inbox{fail: func(int) error {
			if down.Load() {
				return errNo
			}
			return nil
		}}
		n, log := bench(t, box)
		if err := n.Test(context.Background(), "ops"); err == nil {
			t.Error("taken by a channel that is down")
		}
		wait(2 * time.Second)
		if st := n.Live()[0]; !st.FailingSince.IsZero() || st.LastError != "" {
			t.Errorf("a failed test is no failed message: %+v", st)
		}
		log.add(event(renewer.EventRolloutBlocked, "a", ""))
		wait(3 * time.Hour)
		tries := box.tries()
		down.Store(false)
		if err := n.Test(context.Background(), "ops"); err != nil {
			t.Error(err)
		}
		if st := n.Live()[0]; st.FailingSince.IsZero() || !st.LastSuccess.IsZero() {
			t.Errorf("a test that got through is no message: %+v", st)
		}
		wait(2 * time.Second)
		got := box.messages()
		if len(got) != 2 || !got[0].Test || len(got[1].Open) != 1 || box.tries() != tries+2 {
			t.Fatalf("%d messages, %d tries after %d", len(got), box.tries(), tries)
		}
		if st := n.Live()[0]; !st.FailingSince.IsZero() || st.LastSuccess.IsZero() {
			t.Errorf("after the message: %+v", st)
		}
		if err := n.Test(context.Background(), "ops"); err != nil {
			t.Error(err)
		}
		wait(time.Hour)
		if n := len(box.messages()); n != 3 {
			t.Errorf("%d messages", n)
		}
	})
}

// A state of an older version knows that it fails and what it sends; what it kept of
// problems gets today's words, and its message the time of the attempt.
func TestAnOlderStateIsRead(t *testing.T) {
	t.Parallel()
	s, err := decode([]byte(`{"cursor": 7, "last_error": "no", "last_error_at": "2026-11-22T05:00:00Z",
		"open": [{"kind": "drifted", "certificate": "web", "host": "h", "since": "2026-11-22T03:00:00Z", "events": 2, "error": "another one",
			"means": "something else is there", "command": "renewer verify web", "told": true}],
		"over": [{"kind": "rolled_back", "certificate": "web", "host": "i", "since": "2026-11-22T03:00:00Z", "until": "2026-11-22T04:30:00Z", "events": 1,
			"means": "put back", "command": "renewer show web", "ended": "verified"}],
		"first_news": "2026-11-22T04:30:00Z", "last_news": "2026-11-22T04:30:00Z",
		"outbox": {"message": {"id": "x", "channel": "ops", "time": "2026-11-22T04:00:00Z", "title": "renewer: drifted: web on h", "text": "…", "more": 0,
			"open": [{"kind": "drifted", "certificate": "web", "host": "h", "since": "2026-11-22T03:00:00Z", "events": 2, "means": "something else is there"}],
			"resolved": [], "notices": []}, "attempts": 3}}`))
	if err != nil {
		t.Fatal(err)
	}
	st := s.status(Channel{Name: "ops", Type: "exec"})
	if !st.FailingSince.Equal(start) || !st.WaitingSince.Equal(start.Add(-time.Hour)) || st.Name != "ops" || st.Type != "exec" || st.Open != 1 {
		t.Errorf("%+v", st)
	}
	old := s.outbox.Message.asOf(start)
	if err := DefaultTemplate.render(&old); err != nil || old.Title != "WARNING: web on h drifted" || old.level() != warning {
		t.Errorf("%v, %s, %+v", err, old.level(), old)
	}
	s.delivered(start)
	s.take(renewer.Event{Seq: 8, Type: renewer.EventVerified, Certificate: "web", Host: "h", Time: start}, all(), start)
	s.compose("ops", DefaultPace, start)
	m := s.outbox.Message
	if len(m.Resolved) != 1 || m.Resolved[0].Means != rowOf(renewer.EventDrifted).Meaning || m.Resolved[0].Command != "renewer show web" ||
		len(m.Notices) != 1 || m.Notices[0].Kind != renewer.EventRolledBack {
		t.Errorf("%+v", m)
	}
}

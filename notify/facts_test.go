package notify

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

func facts(notAfter time.Time) func() Facts {
	return func() Facts {
		row := renewer.Row{NotBefore: notAfter.Add(-90 * 24 * time.Hour), RenewAt: notAfter.Add(-30 * 24 * time.Hour), NotAfter: notAfter}
		return Facts{Fleet: "prod", Page: "https://renewer.example.com", Row: func(string, string) (renewer.Row, bool) { return row, true }}
	}
}

func TestMessagesSayFleetTimeAndLinks(t *testing.T) {
	t.Parallel()
	s := story(t, event(renewer.EventUnreachable, "docker@h", "h"), renewer.Event{Type: renewer.EventIssuerDown, Issuer: "ca", Error: "no answer"}, event(renewer.EventExpiring, "a b", ""))
	s.compose("ops", DefaultPace, start)
	m := s.outbox.Message
	facts(start.Add(3*24*time.Hour))().add(&m, start)
	m = m.asOf(start)
	if err := DefaultTemplate.render(&m); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"expires in 3 d, at 2026-11-25 05:00 UTC", "the first of its certificates expires in 3 d", "page: https://renewer.example.com/hosts/h\n",
		"page: https://renewer.example.com/issuers\n", "page: https://renewer.example.com/certificates/a%20b\n", "fleet prod: https://renewer.example.com/, 3 open problems",
	} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("the text does not say %q:\n%s", want, m.Text)
		}
	}
	if !strings.HasPrefix(m.Title, "[prod] ") || m.Fleet != "prod" || m.Open[0].NotAfter.IsZero() || m.Open[0].Expires == "" || m.Open[0].Page == "" {
		t.Errorf("%s\n%+v", m.Title, m.Open[0])
	}
}

// A message says of an expiring certificate what status says: within its last days
// it is critical.
func TestExpiringIsCriticalInTheLastDays(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]string{10 * 24 * time.Hour: "warning", 2 * 24 * time.Hour: "critical"} {
		s := story(t, event(renewer.EventExpiring, "web", ""))
		s.compose("ops", DefaultPace, start)
		m := s.outbox.Message
		facts(start.Add(left))().add(&m, start)
		if m.Severity != want || m.Open[0].Severity != want || m.Open[0].Runbook == "" {
			t.Errorf("%s left: %s, %+v", left, m.Severity, m.Open[0])
		}
	}
}

// differing is a fleet whose hosts serve another certificate since 11 minutes.
func differing(now time.Time, hosts ...string) Facts {
	return Facts{Row: func(name, _ string) (renewer.Row, bool) {
		r := renewer.Row{Name: name, Status: renewer.StatusDue, NotAfter: now.Add(2000 * time.Hour)}
		for _, h := range hosts {
			r.Hosts = append(r.Hosts, renewer.HostRow{Name: h, State: renewer.HostDrifted, Served: "ab", DriftedAt: now.Add(-11 * time.Minute)})
		}
		return r, true
	}}
}

// A drift that is not repaired becomes critical in messages when it does in status: once,
// also if it was in no message yet, and after a restart.
func TestADriftThatLastsBecomesCritical(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	s := story(t, event(renewer.EventDrifted, "web", "h"), event(renewer.EventDrifted, "web", "i"), event(renewer.EventRolloutBlocked, "web", ""))
	s.compose("ops", DefaultPace, start)
	if m := s.outbox.Message; m.worst() != "warning" {
		t.Errorf("at first: %+v", m)
	}
	s.delivered(start)
	s.escalate(differing(at(9*time.Minute), "h"), at(9*time.Minute))
	s.escalate(differing(at(11*time.Minute)), at(11*time.Minute)) // both are being repaired
	if s.untold() != 0 {
		t.Fatalf("too early: %v", s.said())
	}
	s.escalate(differing(at(12*time.Minute), "h"), at(12*time.Minute))
	data, err := encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = decode(data); err != nil || s.due(DefaultPace, at(13*time.Minute)).IsZero() {
		t.Fatalf("%v, %v", err, s.said())
	}
	s.compose("ops", DefaultPace, at(13*time.Minute))
	m := s.outbox.Message
	want := problems.Of(problems.ServedDiffers)
	if len(m.Open) != 1 || m.Open[0].Host != "h" || m.Open[0].Severity != "critical" || m.Open[0].Means != want.Meaning || m.Open[0].Runbook != want.Runbook {
		t.Fatalf("%+v", m)
	}
	if err := DefaultTemplate.render(&m); err != nil || m.Title != "CRITICAL: web on h still drifted" {
		t.Errorf("%v: %s", err, m.Title)
	}
	s.delivered(at(13 * time.Minute))
	if s.escalate(differing(at(20*time.Minute), "h"), at(20*time.Minute)); s.untold() != 0 {
		t.Errorf("in two messages: %v", s.said())
	}
	s.take(event(renewer.EventVerified, "web", "h"), all(), at(20*time.Minute))
	if s.compose("ops", DefaultPace, at(21*time.Minute)); len(s.outbox.Message.Resolved) != 1 {
		t.Errorf("%+v", s.outbox.Message)
	}
}

// One message may have a drift of either severity: each has its section.
func TestEachSeverityHasItsSection(t *testing.T) {
	t.Parallel()
	s := story(t, event(renewer.EventRolledBack, "a", "h"), event(renewer.EventDrifted, "a", "h"), event(renewer.EventDrifted, "b", "i"))
	s.escalate(differing(start.Add(time.Hour), "i"), start.Add(time.Hour))
	s.compose("ops", DefaultPace, start.Add(time.Hour))
	m := s.outbox.Message
	if err := DefaultTemplate.render(&m); err != nil || m.Title != "CRITICAL: b on i still drifted, a on h rolled back, a on h drifted" {
		t.Errorf("%v: %s", err, m.Title)
	}
}

// A channel at work looks at the state by itself: no event says that a drift lasts.
func TestAChannelEscalatesByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box, log := &inbox{}, newMemory()
		n := New(Config{Store: log, Facts: func() Facts { return differing(time.Now(), "h") }})
		n.Set([]Channel{{Name: "ops", Sender: box}})
		defer n.Stop()
		wait(2 * time.Second)
		log.add(event(renewer.EventDrifted, "web", "h"))
		wait(time.Hour)
		if got := box.messages(); len(got) != 2 || got[0].Severity != "warning" || got[1].Severity != "critical" {
			t.Errorf("%+v", got)
		}
	})
}

func TestExpiryInWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-58 * time.Second: "expired 58 s ago, at ", 3*24*time.Hour + time.Hour: "expires in 3 d, at ", 36 * time.Hour: "expires in 1 d 12 h, at ",
		time.Millisecond: "expires now, at ", -49 * time.Hour: "expired 2 d 1 h ago, at ",
	} {
		if got := expires(Problem{Certificate: "web", NotAfter: start.Add(d)}, start); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", d, got)
		}
	}
	if got := expires(Problem{Certificate: "web"}, start); got != "" {
		t.Errorf("unknown: %q", got)
	}
}

// A retry states times relative to the attempt, not to when the message was composed: a
// channel may be down for hours.
func TestRetryStatesTimesRelativeToTheAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var texts []string
		box := &inbox{fail: func(int) error { return errNo }}
		box.seen = func(m Message) { texts = append(texts, m.Text) }
		log := newMemory()
		n := New(Config{Store: log, Facts: facts(time.Now().Add(time.Hour))})
		n.Set([]Channel{{Name: "ops", Sender: box}})
		defer n.Stop()
		wait(2 * time.Second)
		log.add(event(renewer.EventExpiring, "web", ""))
		wait(2 * time.Hour)
		first, last := texts[0], texts[len(texts)-1]
		if !strings.Contains(first, "web: expires in 59 min") || !strings.Contains(last, "web: expired ") || !strings.Contains(last, " min ago") {
			t.Errorf("first:\n%s\nlast:\n%s", first, last)
		}
	})
}

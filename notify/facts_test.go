package notify

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
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

package notify

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

var update = flag.Bool("update", false, "write testdata/messages anew")

// A message names what helps each of its problems, however many: see
// testdata/*.txt for how it reads.
func TestMessagesNameEveryCommand(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("the reason is long, ", 40)
	many := func(typ renewer.EventType, n int, text string) (out []renewer.Event) {
		for i := range n {
			host := fmt.Sprintf("host-%03d", i)
			e := event(typ, "docker@"+host, host)
			e.Error, e.Hint = text+host, "start it on "+host
			out = append(out, e)
		}
		return out
	}
	two := append(many(renewer.EventUnreachable, 2, "no answer from "), event(renewer.EventUnreachable, "web", "host-001"))
	late := event(renewer.EventExpiring, "web", "") // says when, and not only why
	late.Message, late.Error = "it ends in 3 d, at 2026-11-25T05:00:00Z, and its renewal is not finished: 2 attempts failed", "issue web: no login"
	issuers := []renewer.Event{{Type: renewer.EventIssuerDown, Issuer: "ca-1", Error: "no answer"}, {Type: renewer.EventIssuerDown, Issuer: "ca-2", Error: "no login"}}
	for _, c := range []struct {
		name   string
		events []renewer.Event
		over   bool
	}{
		{"one", []renewer.Event{event(renewer.EventExpired, "web", "")}, false},
		{"one-resolved", []renewer.Event{event(renewer.EventExpired, "web", ""), {Type: renewer.EventRolloutDone, Certificate: "web", Generation: 2}}, true},
		{"expiring", []renewer.Event{late}, false},
		{"order-and-host", []renewer.Event{event(renewer.EventRenewalFailed, "docker@host-b", ""), event(renewer.EventStageFailed, "docker@host-b", "host-b")}, false},
		{"few", slices.Concat(two, issuers), false},
		{"fleet", slices.Concat(many(renewer.EventRolloutBlocked, 200, "it is blocked: "), many(renewer.EventUnreachable, 200, "no answer from "), issuers), false},
		{"fleet-resolved", slices.Concat(many(renewer.EventDrifted, 200, "another one on "), many(renewer.EventVerified, 200, "")), true},
		{"fleet-of-long-errors", slices.Concat(many(renewer.EventExpired, 40, long), many(renewer.EventRestoreFailed, 40, long), many(renewer.EventDrifted, 40, long)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := story(t, c.events...)
			s.compose("ops", DefaultPace, start.Add(time.Hour))
			m := s.outbox.Message
			if err := DefaultTemplate.render(&m); err != nil {
				t.Fatal(err)
			}
			file, got := filepath.Join("testdata", "messages", c.name+".txt"), m.Title+"\n\n"+m.Text+"\n"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%v; -update writes it:\n%s", err, got)
			}
			if len(m.Text) > maxText || strings.HasSuffix(m.Text, "…") {
				t.Errorf("%d bytes, cut", len(m.Text))
			}
			list := m.Open
			if c.over {
				list = m.Resolved
			}
			if len(list) == 0 {
				t.Fatal("an empty message")
			}
			for _, item := range list { // each has its own in the JSON
				text, err := json.Marshal(item)
				if err != nil {
					t.Fatal(err)
				}
				whose := item.Certificate
				if strings.HasPrefix(item.Command, "renewer doctor ") {
					whose = item.Host
				}
				if !strings.Contains(string(text), `"command":"renewer `) || whose != "" && !says(item.Command, whose) {
					t.Errorf("%s", text)
				}
				if !strings.Contains(m.Text, "look: "+strings.Join(strings.Fields(item.Command)[:2], " ")) {
					t.Errorf("the text does not name %s", item.Command)
				}
			}
			if strings.Contains(m.Text, "{certificate}") || strings.Contains(m.Text, "{host}") {
				t.Error("a placeholder was not replaced")
			}
		})
	}
}

// Every kind of problem and every notice has a command, whatever its event
// names.
func TestEveryKindHasACommand(t *testing.T) {
	t.Parallel()
	for typ, k := range kinds {
		if k.means == "" || k.pattern(false) == "" || k.pattern(true) == "" {
			t.Errorf("%s: %+v", typ, k)
		}
	}
	for typ, k := range notices {
		s := newState(0)
		s.take(renewer.Event{Seq: 1, Type: typ, Certificate: "web", Issuer: "web", Time: start}, map[renewer.EventType]bool{typ: true}, start)
		if len(s.notes) != 1 || s.notes[0].Command == "" || !strings.Contains(s.notes[0].Command, "web") || k.means == "" {
			t.Errorf("%s: %+v", typ, s.notes)
		}
	}
	for _, k := range []kind{kinds[renewer.EventExpired], kinds[renewer.EventExpiring]} {
		if strings.Contains(k.pattern(true), "renew renew") || !strings.HasPrefix(k.pattern(true), "renewer show") {
			t.Errorf("once it is over nobody has to renew: %q", k.pattern(true))
		}
	}
}

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
	"renewer/renewer/problems"
)

var update = flag.Bool("update", false, "update testdata/messages")

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
	late.Message, late.Error = "expires at 2026-11-25T05:00:00Z; its renewal is not done: 2 attempts failed", "issue web: no login"
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
			for _, over := range s.ended() { // a message opened it
				over.Told = true
				s.over[over.key()] = over
			}
			s.compose("ops", DefaultPace, start.Add(time.Hour))
			m := s.outbox.Message
			facts(start.Add(5*24*time.Hour))().add(&m, start.Add(time.Hour))
			m = m.asOf(start.Add(time.Hour))
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
				if !strings.Contains(m.Text, "run: "+strings.Join(strings.Fields(item.Command)[:2], " ")) {
					t.Errorf("the text does not name %s", item.Command)
				}
			}
			if strings.Contains(m.Text, "{certificate}") || strings.Contains(m.Text, "{host}") {
				t.Error("a placeholder was not replaced")
			}
		})
	}
}

// Every kind of problem is in the catalogue of problems, and it and every notice
// has a command, also once it is resolved.
func TestEveryKindHasACommand(t *testing.T) {
	t.Parallel()
	check := func(p Problem, severity bool) {
		t.Helper()
		describe(&p)
		if p.Means == "" || p.Command == "" || strings.ContainsAny(p.Command, "{}") || severity != (p.Severity != "" && p.Runbook != "") {
			t.Errorf("%+v", p)
		}
	}
	for typ := range kinds {
		_, opened := problems.ByEvent(string(typ))
		k, _ := opens(renewer.Event{Type: typ, Certificate: "web", Host: "host-a", Issuer: "ca"})
		p := Problem{Kind: k.kind, Certificate: k.certificate, Host: k.host, Issuer: k.issuer}
		check(p, opened)
		p.Until = start
		check(p, opened)
		if describe(&p); strings.HasPrefix(p.Command, "renewer renew") {
			t.Errorf("%s: nothing is to be renewed once it is resolved: %q", typ, p.Command)
		}
	}
	for typ := range notices {
		if p := (Problem{Kind: typ, Certificate: "web", Issuer: "ca"}); kinds[typ] == (kind{}) {
			describe(&p)
			if p.Severity != "" || p.Command == "" || p.Means == "" {
				t.Errorf("%+v", p)
			}
		}
	}
}

// What the catalogue says opens a problem does so here, and nothing else.
func TestEventsOpenWhatTheCatalogueSays(t *testing.T) {
	t.Parallel()
	for _, row := range problems.All() {
		for _, typ := range row.Events {
			k, ok := opens(renewer.Event{Type: renewer.EventType(typ), Certificate: "web", Host: "host-a", Issuer: "ca", Error: "x"})
			if _, notice := notices[renewer.EventType(typ)]; !notice && (!ok || rowOf(k.kind).ID != row.ID) {
				t.Errorf("%s opens %s here, and %s by the catalogue", typ, rowOf(k.kind).ID, row.ID)
			}
		}
	}
	for typ := range kinds {
		if row, ok := problems.ByEvent(string(typ)); !ok {
			t.Errorf("%s is a problem here, and not in the catalogue (%s)", typ, row.ID)
		}
	}
}

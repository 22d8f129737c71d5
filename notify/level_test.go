package notify

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/url"
	"strings"
	"testing"

	"github.com/nicholas-fedor/shoutrrr/pkg/format"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/lark"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/teams"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/telegram"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/opsgenie"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/incident/pagerduty"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/bark"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/gotify"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/ntfy"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// Each parameter is one that its service knows, with a value that it takes.
func TestServicesTakeTheirParameters(t *testing.T) {
	t.Parallel()
	configs := map[string]types.ServiceConfig{
		"ntfy": &ntfy.Config{}, "gotify": &gotify.Config{}, "pushover": &pushover.Config{}, "opsgenie": &opsgenie.Config{}, "pagerduty": &pagerduty.Config{},
		"telegram": &telegram.Config{}, "slack": &slack.Config{}, "discord": &discord.Config{}, "teams": &teams.Config{}, "bark": &bark.Config{}, "lark": &lark.Config{},
	}
	for service, config := range configs {
		if urgency[service] == nil && links[service] == "" {
			t.Errorf("%s has no parameter", service)
		}
		for _, l := range []level{critical, warning, info} {
			r := format.NewPropKeyResolver(config)
			for name, value := range (delivery{Level: l, Page: "https://renewer.example.com", Fleet: "prod"}).parameters(service, &url.URL{}) {
				if err := r.Set(name, value); err != nil {
					t.Errorf("%s %s: %v", service, l, err)
				}
			}
		}
	}
	for service := range urgency {
		if configs[service] == nil || len(urgency[service]) != 3 {
			t.Errorf("%s is not tested, or has not every level", service)
		}
	}
	u, err := url.Parse("ntfy://ntfy.example.com/topic?Priority=max")
	if err != nil {
		t.Fatal(err)
	}
	if p := (delivery{Level: info}).parameters("ntfy", u); len(p) != 0 {
		t.Errorf("what the operator set is overridden: %v", p)
	}
}

// What arrives at a service says how urgent it is.
func TestUrgencyReachesTheService(t *testing.T) {
	var header http.Header
	var body []byte
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"id":1}`)
	})
	plain, secured := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secured.Close()
	t.Setenv("SSL_CERT_FILE", file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw}))))
	host, secure := strings.TrimPrefix(plain.URL, "http://"), strings.TrimPrefix(secured.URL, "https://")
	said := func(path ...string) string {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		for _, p := range path {
			v = v.(map[string]any)[p]
		}
		text, _ := json.Marshal(v)
		return strings.Trim(string(text), `"`)
	}
	send := func(service string, m Message) {
		t.Helper()
		if err := shoutrrr(t, service).Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	base := message(t)
	base.Fleet, base.Page = "prod", "https://renewer.example.com"
	for _, c := range []struct {
		level                               level
		ntfy, gotify, opsgenie, pager, doIt string
		remaining                           int
	}{
		{critical, "Max", "8", "P1", "critical", "trigger", 1},
		{warning, "High", "5", "P3", "warning", "trigger", 1},
		{info, "Low", "2", "P5", "info", "resolve", 0},
		{info, "Low", "2", "P5", "info", "trigger", 3},
	} {
		m := base
		m.Severity, m.Remaining = string(c.level), c.remaining
		send("ntfy://u:hunter2@"+host+"/topic?scheme=http", m)
		if header.Get("Priority") != c.ntfy || header.Get("Click") != m.Page || header.Get("Title") != m.Title {
			t.Errorf("%s: ntfy got %v", c.level, header)
		}
		send("gotify://"+host+"/AAAAAAAAAAAAAAA?disabletls=yes", m)
		if got := said("priority"); got != c.gotify {
			t.Errorf("%s: gotify got %s", c.level, got)
		}
		send("opsgenie://"+secure+"/hunter2", m)
		if got := said("priority"); got != c.opsgenie {
			t.Errorf("%s: opsgenie got %s", c.level, got)
		}
		send("pagerduty://"+secure+"/0123456789abcdef0123456789abcdef", m)
		if said("payload", "severity") != c.pager || said("event_action") != c.doIt || said("dedup_key") != "renewer/prod" || said("payload", "source") != "prod" ||
			said("client_url") != m.Page || !strings.HasPrefix(said("payload", "summary"), m.Title) {
			t.Errorf("%s: pagerduty got %s", c.level, body)
		}
		letter, err := mail.ReadMessage(strings.NewReader(string(letter(&mail.Address{Address: "a@example.com"}, nil, m))))
		if err != nil {
			t.Fatal(err)
		}
		if got := letter.Header.Get("Importance"); got != map[level]string{critical: "high", warning: "normal", info: "low"}[c.level] || letter.Header.Get("X-Priority") == "" {
			t.Errorf("%s: the mail says %q", c.level, got)
		}
	}
	notice := base
	notice.Open, notice.Severity = nil, string(info)
	send("pagerduty://"+secure+"/0123456789abcdef0123456789abcdef", notice)
	if strings.Contains(string(body), "dedup_key") || said("event_action") != "trigger" {
		t.Errorf("a notice is no incident of the fleet: %s", body)
	}
}

package server

import (
	"bytes"
	"context"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/docs/runbooks"
	"renewer/internal/testfleet"
	"renewer/renewer"
	"renewer/renewer/problems"
	"renewer/renewer/server/page"
)

// agreeAt is when the states of the agreement hold, in seconds since the epoch, at
// which the clock of promtool begins. Messages may have been stuck for longer than two hours.
const agreeAt = 130 * 60

// fleetState is a made-up fleet as metrics see it.
type fleetState struct{ *testfleet.Fleet }

func (fleetState) RolloutTime(string) time.Duration { return time.Hour }

func (s fleetState) Rows(_ time.Time, yield func(renewer.Row) bool) error {
	return s.List(context.Background(), renewer.ListFilter{}, func(r renewer.Row) error {
		yield(r)
		return nil
	})
}
func (s fleetState) Issuers() []renewer.IssuerStatus   { return s.Status.Issuers }
func (s fleetState) Hosts() []renewer.HostStatus       { return s.Status.Hosts }
func (s fleetState) Channels() []renewer.ChannelStatus { return s.Status.Channels }
func (s fleetState) Daemon() renewer.DaemonStatus      { return s.Status.Daemon }

// Of every problem in the catalogue: in a state in which it is open, status, page, metrics,
// alert and runbook all say what its row says. What messages say of it is tested in
// package notify.
func TestStatusPageMetricsAlertsAndRunbooksAgree(t *testing.T) {
	t.Parallel()
	now := time.Unix(agreeAt, 0).UTC()
	states := testfleet.Open(now)
	var stories bytes.Buffer
	for _, row := range problems.All() {
		f, ok := states[row.ID]
		if !ok {
			if row.Commands[0] != "renewer status" && row.NoStatus == "" {
				t.Errorf("no state opens %s", row.ID)
			}
			continue
		}
		if row.NoStatus == "" {
			agreeInside(t, row, f, now)
		}
		agreeInMetrics(t, row, f, now, &stories)
		if text, ok := runbooks.Page(row.Runbook); !ok || !strings.Contains(text, fmt.Sprintf("%s%s", row.Meaning, ".")) || !strings.Contains(text, string(row.Severity)) {
			t.Errorf("%s: its runbook %s does not say what it means, or how bad it is", row.ID, row.Runbook)
		}
	}
	agreeInAlerts(t, stories.String())
}

// agreeInside compares status and page.
func agreeInside(t *testing.T, row problems.Row, f *testfleet.Fleet, now time.Time) {
	t.Helper()
	var certificates []renewer.Problem
	for _, d := range f.Details {
		if p, ok := d.Problem(now); ok {
			certificates = append(certificates, p)
		}
	}
	all := renewer.Problems(f.Status, certificates, now)
	if len(all) != 1 {
		t.Errorf("%s: status has %d problems: %+v", row.ID, len(all), all)
		return
	}
	p := all[0]
	if p.ID != row.ID || p.Severity != row.Severity || p.Meaning != row.Meaning || p.Runbook != row.Runbook {
		t.Errorf("%s: status says %+v", row.ID, p)
	}
	names := problems.Names{Certificate: "web", Host: p.Host, Issuer: "fleet-ca", Channel: "ops"}
	if p.Kind == "host" {
		names.Host = p.Name
	}
	if want := row.Run(names); !slices.Equal(p.Commands, want) {
		t.Errorf("%s: status names the commands %q, want %q", row.ID, p.Commands, want)
	}

	rec := httptest.NewRecorder()
	page.Handler(page.Options{Source: f, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}).
		ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	_, shown, _ := strings.Cut(rec.Body.String(), `<ul class="problems">`)
	shown, _, _ = strings.Cut(shown, "</ul>")
	class := map[problems.Severity]string{problems.Critical: "problem bad", problems.Warning: "problem warn"}[row.Severity]
	for _, want := range append([]string{class, "/runbooks/" + row.Runbook + `"`}, p.Commands...) {
		if !strings.Contains(html.UnescapeString(shown), want) {
			t.Errorf("%s: the page lacks %q in\n%s", row.ID, want, shown)
		}
	}
}

// agreeInMetrics compares what is counted, and writes a story for promtool: while the
// metrics are these, the alerts of what is open fire, and no other.
func agreeInMetrics(t *testing.T, row problems.Row, f *testfleet.Fleet, now time.Time, stories *bytes.Buffer) {
	t.Helper()
	m := NewMetrics("1", fleetState{f})
	m.state.now = func() time.Time { return now }
	m.Checked(f.Status.Daemon.LastCheck)
	m.CheckWithin(f.Status.Daemon.CheckWithin)
	m.FleetLoaded(f.Status.Daemon.FleetError == "")
	series := ours(scrape(t, m))
	if key := fmt.Sprintf("renewer_problems{id=%s,severity=%s}", row.ID, row.Severity); row.NoStatus == "" && series[key] != 1 {
		t.Errorf("%s: %s is %v", row.ID, key, series[key])
	}
	fmt.Fprintf(stories, "  - name: %q\n    interval: 1m\n    input_series:\n", row.ID)
	since := 0 // of what was changed a moment ago, in minutes
	if at := f.Details["web"].Hosts; len(at) > 0 && at[0].DriftedAt.After(now.Add(-time.Hour)) {
		since = int(at[0].DriftedAt.Unix() / 60)
	}
	write := func(name string, value float64) {
		name, labels, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		text := `job="renewer",instance="a:9925"`
		for label := range strings.SplitSeq(labels, ",") {
			if key, value, ok := strings.Cut(label, "="); ok {
				text += fmt.Sprintf(",%s=%q", key, value)
			}
		}
		values := fmt.Sprintf("%.0fx%d", value, agreeAt/60)
		if name == "renewer_served_matches" && since > 0 {
			values = fmt.Sprintf("1x%d 0x%d", since, agreeAt/60-since)
		}
		fmt.Fprintf(stories, "      - {series: '%s{%s}', values: '%s'}\n", name, text, values)
	}
	for name, value := range series {
		write(name, value)
	}
	for _, name := range []string{"up{}", "renewer_build_info{version=1}"} {
		write(name, 1)
	}
	write("process_start_time_seconds{}", -1e6)
	open := map[string]problems.Severity{}
	note := func(id problems.ID) {
		if row := problems.Of(id); row.Alert() != "" {
			open[row.Alert()] = row.Severity
		}
	}
	for _, d := range f.Details {
		d.Problems(now, func(id problems.ID, _ *renewer.HostRow) { note(id) })
	}
	for id := range f.Status.Count(now) {
		note(id)
	}
	note(row.ID)
	fmt.Fprintf(stories, "    promql_expr_test:\n      - eval_time: %dm\n        expr: count by (alertname, severity) (ALERTS{alertstate=\"firing\"})\n        exp_samples:\n", agreeAt/60)
	if len(open) == 0 {
		fmt.Fprintf(stories, "          []\n")
	}
	for alert, severity := range open {
		fmt.Fprintf(stories, "          - {labels: '{alertname=\"%s\", severity=\"%s\"}', value: 1}\n", alert, severity)
	}
}

// agreeInAlerts plays the stories.
func agreeInAlerts(t *testing.T, stories string) {
	t.Helper()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: no promtool here, so alerts were not compared; it is in Debian's package prometheus")
	}
	rules, err := filepath.Abs("../../configs/prometheus/renewer.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "agreement.test.yml")
	head := fmt.Sprintf("rule_files: [%q]\nevaluation_interval: 10m\ngroup_eval_order: [renewer-certificates, renewer-hosts, renewer-issuers, renewer-daemon]\ntests:\n", rules)
	if err := os.WriteFile(file, []byte(head+stories), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("alerts differ from what is open: %v\n%s", err, out)
	}
}

package server

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"renewer/renewer"
)

var start = time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)

// fakeState is a State whose answers are fields.
type fakeState struct {
	rows    []renewer.Row
	err     error
	issuers []renewer.IssuerStatus
	hosts   []renewer.HostStatus
	told    []renewer.ChannelStatus
	last    time.Time
}

func (s *fakeState) Rows(until time.Time, yield func(renewer.Row) bool) error {
	for _, r := range s.rows {
		if !until.IsZero() && !r.NotAfter.Before(until) || !yield(r) {
			break
		}
	}
	return s.err
}
func (s *fakeState) RolloutTime(string) time.Duration  { return time.Hour }
func (s *fakeState) Issuers() []renewer.IssuerStatus   { return s.issuers }
func (s *fakeState) Hosts() []renewer.HostStatus       { return s.hosts }
func (s *fakeState) Channels() []renewer.ChannelStatus { return s.told }
func (s *fakeState) Daemon() renewer.DaemonStatus      { return renewer.DaemonStatus{LastCheck: s.last} }

func row(name, host string) renewer.Row {
	return renewer.Row{
		Name: name, Issuer: "fleet-ca", Generation: 3, Status: renewer.StatusValid, Serial: "0a1b", Fingerprint: "9f",
		CommonName: host, SANs: []string{"secret-name.example.com"}, Key: renewer.ECDSAP256,
		NotBefore: start, NotAfter: start.Add(90 * 24 * time.Hour), RenewAt: start.Add(60 * 24 * time.Hour),
		Hosts: []renewer.HostRow{{
			Name: host, State: renewer.HostVerified, Generation: 3, Served: "9f", Matches: true,
			ServedEnd: start.Add(90 * 24 * time.Hour), VerifiedAt: start.Add(time.Minute),
		}},
	}
}

// families scrapes and parses as Prometheus would.
func families(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	if s := rec.Body.String(); strings.Contains(s, "secret-name") || strings.Contains(s, "0a1b") {
		t.Error("a SAN or a serial stands in the metrics")
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	out, err := parser.TextToMetricFamilies(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// scrape returns the value of every series.
func scrape(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for name, f := range families(t, m) {
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := name + "{" + strings.Join(labels, ",") + "}"
			switch f.GetType() {
			case dto.MetricType_GAUGE:
				out[key] = s.GetGauge().GetValue()
			case dto.MetricType_COUNTER:
				out[key] = s.GetCounter().GetValue()
			case dto.MetricType_HISTOGRAM:
				out[key] = float64(s.GetHistogram().GetSampleCount())
			}
		}
	}
	return out
}

func ours(all map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for k, v := range all {
		if strings.HasPrefix(k, "renewer_") && !strings.HasPrefix(k, "renewer_build_info") {
			out[k] = v
		}
	}
	return out
}

func TestMetricsShowTheStateAndCountWhatHappened(t *testing.T) {
	t.Parallel()
	pending := renewer.Row{Name: "new", Issuer: "fleet-ca", Status: renewer.StatusPending, Hosts: []renewer.HostRow{{Name: "host-c", State: renewer.HostPending}}}
	staged := pending
	staged.Name, staged.Hosts = "nightly", []renewer.HostRow{{Name: "host-c", State: renewer.HostStaged}}
	restored := pending
	restored.Name, restored.Status, restored.Hosts = "restored", renewer.StatusUnknown, []renewer.HostRow{{Name: "host-c", State: renewer.HostUnknown, VerifiedAt: start}}
	drifted := row("docker@host-c", "host-c")
	drifted.Hosts[0].Matches, drifted.Hosts[0].State = false, renewer.HostDrifted
	behind := -312.5
	m := NewMetrics("1.2.3", &fakeState{
		rows: []renewer.Row{row("docker@host-b", "host-b"), drifted, pending, staged, restored},
		issuers: []renewer.IssuerStatus{
			{Name: "fleet-ca", Up: true, CAs: []renewer.CAStatus{
				{Subject: "CN=fleet-ca", NotAfter: start.Add(time.Hour)}, {Subject: "CN=fleet-ca", NotAfter: start}, {Subject: `CN=r"oo\t`, NotAfter: start},
			}},
			{Name: "corp", ClockOffset: &behind},
		},
		hosts: []renewer.HostStatus{{Name: "host-b", Up: true}, {Name: "host-c"}},
	})
	m.state.now = func() time.Time { return start.Add(61 * 24 * time.Hour) } // past the renew time
	m.Expect([]string{"fleet-ca"}, []string{"ops"})
	m.Issued("fleet-ca", nil, time.Second)
	m.Issued("fleet-ca", nil, time.Second)
	m.Issued("corp", errors.New("refused"), time.Second)
	m.RolloutEnded(renewer.ResultBlocked, time.Minute)
	m.RolledBack()
	m.Drifted()
	m.Away(20*time.Second, 25*time.Second)
	m.Away(30*time.Second, 25*time.Second)
	m.Away(time.Hour, 0)
	m.Notified("ops", errors.New("no route"))
	m.Checked(start)
	m.CheckWithin(21 * time.Minute)
	m.FleetLoaded(false)

	t0, day := float64(start.Unix()), 86400.0
	want := map[string]float64{
		"renewer_certificate_problem{certificate=docker@host-b,host=host-b,id=proof_old,severity=warning}":       1,
		"renewer_certificate_problem{certificate=docker@host-c,host=host-c,id=served_differs,severity=critical}": 1,
		"renewer_problems{id=ca_expiring_soon,severity=critical}":                                                3,
		"renewer_problems{id=host_unreachable,severity=warning}":                                                 1,
		"renewer_problems{id=issuer_down,severity=warning}":                                                      1,
		"renewer_problems{id=proof_old,severity=warning}":                                                        1,
		"renewer_problems{id=served_differs,severity=critical}":                                                  1,

		"renewer_certificate_not_after_timestamp_seconds{certificate=docker@host-b,issuer=fleet-ca}":  t0 + 90*day,
		"renewer_certificate_not_before_timestamp_seconds{certificate=docker@host-b,issuer=fleet-ca}": t0,
		"renewer_certificate_renew_at_timestamp_seconds{certificate=docker@host-b,issuer=fleet-ca}":   t0 + 60*day,
		"renewer_outage_tolerance_seconds{certificate=docker@host-b}":                                 29*day - 7*3600, // backoff, and the rollout
		"renewer_outage_tolerance_seconds{certificate=docker@host-c}":                                 29*day - 7*3600,
		"renewer_certificate_status{certificate=docker@host-b,issuer=fleet-ca,status=due}":            1,
		"renewer_served_not_after_timestamp_seconds{certificate=docker@host-b,host=host-b}":           t0 + 90*day,
		"renewer_served_matches{certificate=docker@host-b,host=host-b}":                               1,
		"renewer_placement_state{certificate=docker@host-b,host=host-b,state=verified}":               1,
		"renewer_last_verified_timestamp_seconds{certificate=docker@host-b,host=host-b}":              t0 + 60,

		"renewer_certificate_not_after_timestamp_seconds{certificate=docker@host-c,issuer=fleet-ca}":  t0 + 90*day,
		"renewer_certificate_not_before_timestamp_seconds{certificate=docker@host-c,issuer=fleet-ca}": t0,
		"renewer_certificate_renew_at_timestamp_seconds{certificate=docker@host-c,issuer=fleet-ca}":   t0 + 60*day,
		"renewer_certificate_status{certificate=docker@host-c,issuer=fleet-ca,status=due}":            1,
		"renewer_served_not_after_timestamp_seconds{certificate=docker@host-c,host=host-c}":           t0 + 90*day,
		"renewer_served_matches{certificate=docker@host-c,host=host-c}":                               0,
		"renewer_placement_state{certificate=docker@host-c,host=host-c,state=drifted}":                1,
		"renewer_last_verified_timestamp_seconds{certificate=docker@host-c,host=host-c}":              t0 + 60,

		"renewer_certificate_status{certificate=new,issuer=fleet-ca,status=pending}": 1,
		"renewer_placement_state{certificate=new,host=host-c,state=pending}":         1,
		// It waits for its window, and nothing wrong is served there.
		"renewer_certificate_status{certificate=nightly,issuer=fleet-ca,status=pending}": 1,
		"renewer_placement_state{certificate=nightly,host=host-c,state=staged}":          1,

		"renewer_certificate_status{certificate=restored,issuer=fleet-ca,status=unknown}": 1,
		"renewer_placement_state{certificate=restored,host=host-c,state=unknown}":         1,
		"renewer_last_verified_timestamp_seconds{certificate=restored,host=host-c}":       float64(start.Unix()),

		"renewer_ca_not_after_timestamp_seconds{issuer=fleet-ca,subject=CN=fleet-ca}": t0, // the earlier
		"renewer_ca_not_after_timestamp_seconds{issuer=fleet-ca,subject=CN=r\"oo\\t}": t0,
		"renewer_issuer_up{issuer=fleet-ca}":                                          1,
		"renewer_issuer_clock_offset_seconds{issuer=corp}":                            behind,
		"renewer_issuer_up{issuer=corp}":                                              0,
		"renewer_host_up{host=host-b}":                                                1,
		"renewer_host_up{host=host-c}":                                                0,

		"renewer_renewals_total{issuer=fleet-ca,result=success}":  2,
		"renewer_renewals_total{issuer=fleet-ca,result=failure}":  0,
		"renewer_renewals_total{issuer=corp,result=failure}":      1,
		"renewer_issue_duration_seconds{issuer=fleet-ca}":         2,
		"renewer_issue_duration_seconds{issuer=corp}":             1,
		"renewer_rollouts_total{result=verified}":                 0,
		"renewer_rollouts_total{result=failed}":                   0,
		"renewer_rollouts_total{result=blocked}":                  1,
		"renewer_rollout_duration_seconds{}":                      1,
		"renewer_rollbacks_total{}":                               1,
		"renewer_drifts_total{}":                                  1,
		"renewer_activation_seconds{}":                            3,
		"renewer_budget_exceeded_total{}":                         1,
		"renewer_notifications_total{channel=ops,result=success}": 0,
		"renewer_notifications_total{channel=ops,result=failure}": 1,
		"renewer_last_check_timestamp_seconds{}":                  t0,
		"renewer_check_within_seconds{}":                          1260,
		"renewer_fleet_file_loaded{}":                             0,
	}
	got := scrape(t, m)
	if diff := cmp.Diff(want, ours(got)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	if _, ok := got["go_goroutines{}"]; !ok {
		t.Error("the process collectors are missing")
	}
	for _, fleet := range []string{"prod", "staging"} { // a reload may change the name
		m.Fleet(fleet)
		var build []string
		for k, v := range scrape(t, m) {
			if strings.HasPrefix(k, "renewer_build_info{") && v == 1 {
				build = append(build, k)
			}
		}
		if len(build) != 1 || !strings.Contains(build[0], "version=1.2.3") || !strings.Contains(build[0], "fleet="+fleet) {
			t.Errorf("renewer_build_info: %q", build)
		}
	}
}

// The gauges of the state skip the registry's checks, so they are made here.
func TestMetricsPassTheChecksAndLinterOfPrometheus(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3", &fakeState{
		rows:    []renewer.Row{row("a", "host-a"), row("b", "host-a"), row("b2", "host-b")},
		issuers: []renewer.IssuerStatus{{Name: "fleet-ca", CAs: []renewer.CAStatus{{Subject: "CN=x", NotAfter: start}, {Subject: "CN=x", NotAfter: start}}}},
		hosts:   []renewer.HostStatus{{Name: "host-a"}, {Name: "host-b"}},
	})
	m.Expect([]string{"fleet-ca"}, []string{"ops"})
	parsed := func() ([]*dto.MetricFamily, error) { return slices.Collect(maps.Values(families(t, m))), nil }
	all, err := prometheus.Gatherers{prometheus.GathererFunc(parsed)}.Gather() // finds doubles and inconsistent labels
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestScrapeFailsWhereTheInventoryCannotBeRead(t *testing.T) {
	t.Parallel()
	m := NewMetrics("1.2.3", &fakeState{err: errors.New("database not open")})
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), "read the inventory: database not open") {
		t.Errorf("got %d: %s", rec.Code, rec.Body)
	}
}

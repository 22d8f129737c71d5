package configs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"renewer/renewer"
	"renewer/renewer/problems"
	"renewer/renewer/server"
)

const (
	rulesFile = "prometheus/renewer.rules.yml"
	dashboard = "grafana/renewer.json"
	runbooks  = "docs/runbooks"
)

// rule is one of a Prometheus rule file.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	f, err := os.Open(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if seen[r.Alert] {
			t.Errorf("%s stands there twice", r.Alert)
		}
		seen[r.Alert] = true
		row, ok := problems.ByAlert(r.Alert)
		if !ok || r.Labels["severity"] != string(row.Severity) || !strings.HasPrefix(r.Annotations["description"], row.Meaning+".") ||
			r.Annotations["command"] != labelled.Replace(row.Commands[0]) {
			t.Errorf("%s is not as the catalogue says: severity %s; description %q; command %q", r.Alert, row.Severity, row.Meaning, labelled.Replace(row.Commands[0]))
		}
		for _, key := range []string{"summary", "description", "command"} {
			if r.Annotations[key] == "" {
				t.Errorf("%s has no %s", r.Alert, key)
			}
		}
		page := runbooks + "/" + r.Alert + ".md"
		if r.Annotations["runbook_url"] != page {
			t.Errorf("%s: runbook_url %q, want %q", r.Alert, r.Annotations["runbook_url"], page)
		}
		if _, err := os.Stat(filepath.Join("..", page)); err != nil {
			t.Error(err)
		}
	}
	for _, row := range problems.All() {
		if row.Alert() != "" && !seen[row.Alert()] {
			t.Errorf("%s has no alert %s", row.ID, row.Alert())
		}
	}
}

// labelled writes the placeholders of a command as an alert has them.
var labelled = strings.NewReplacer(
	"{certificate}", "{{ $labels.certificate }}", "{host}", "{{ $labels.host }}", "{issuer}", "{{ $labels.issuer }}", "{channel}", "{{ $labels.channel }}",
)

// What is asked of Prometheus by rules and dashboard is there to be asked.
func TestRulesAndDashboardAskForWhatExists(t *testing.T) {
	t.Parallel()
	have := exported(t)
	for _, r := range rules(t) {
		if r.Record != "" {
			have[r.Record] = map[string]bool{"certificate": true, "issuer": true, "host": true, "state": true, "status": true, "id": true}
		}
	}
	for _, r := range rules(t) {
		for _, fault := range unknown(r.Expr, have) {
			t.Errorf("%s%s: %s", r.Alert, r.Record, fault)
		}
	}
	queries := dashboardQueries(t)
	if len(queries) < 20 {
		t.Fatalf("%d queries: the dashboard was not read whole", len(queries))
	}
	for _, q := range queries {
		for _, fault := range unknown(q, have) {
			t.Errorf("dashboard, %s: %s", q, fault)
		}
	}
	for query, want := range map[string]string{ // the test itself can fail
		`renewer_nothing > 0`:                                  "renewer_nothing",
		`renewer_host_up{certificate="x"}`:                     "certificate",
		`sum by (channel) (renewer_host_up)`:                   "channel",
		`max_over_time(renewer_issuer_up{host="renewer"}[5m])`: "host",
		`up == 0`:                               "",
		`label_values(renewer_host_up, issuer)`: "issuer",
	} {
		if got := strings.Join(unknown(query, have), "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}

var (
	quoted   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	selector = regexp.MustCompile(`\b((?:renewer[_:]|process_|go_)[a-zA-Z0-9_:]*|up)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\b(?:by|on|ignoring|without)\s*\(([^)]*)\)`)
	values   = regexp.MustCompile(`^label_values\(.*,\s*(\w+)\)$`)
)

// unknown lists what an expression names that is not there. The names of our
// metrics are unlike any word of the language, so no parser is needed.
func unknown(expr string, have map[string]map[string]bool) (faults []string) {
	expr = quoted.ReplaceAllString(expr, `""`)
	everywhere := map[string]bool{"job": true, "instance": true}
	all := map[string]bool{}
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		labels, ok := have[m[1]]
		if !ok {
			faults = append(faults, "there is no "+m[1])
		}
		for l := range labels {
			all[l] = true
		}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !labels[l[1]] && !everywhere[l[1]] {
				faults = append(faults, m[1]+" has no label "+l[1])
			}
		}
	}
	if len(all) == 0 && !selector.MatchString(expr) {
		faults = append(faults, "it asks for nothing of renewer")
	}
	named := grouping.FindAllStringSubmatch(expr, -1)
	if m := values.FindStringSubmatch(expr); m != nil {
		named = append(named, m)
	}
	for _, m := range named {
		for l := range strings.SplitSeq(m[1], ",") {
			if l = strings.TrimSpace(l); l != "" && !all[l] && !everywhere[l] && l != "alertname" {
				faults = append(faults, "nothing in it has a label "+l)
			}
		}
	}
	return faults
}

func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var found func(any)
	found = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				if s, ok := value.(string); ok && (key == "expr" || key == "definition") {
					queries = append(queries, s)
				}
				found(value)
			}
		case []any:
			for _, value := range v {
				found(value)
			}
		}
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	found(all)
	return queries
}

func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	type source struct {
		UID string `json:"uid"`
	}
	var d struct {
		UID        string `json:"uid"`
		Templating struct {
			List []struct{ Name, Type string } `json:"list"`
		} `json:"templating"`
		Panels []struct {
			ID          int    `json:"id"`
			Title       string `json:"title"`
			Description string `json:"description"`
			Datasource  source `json:"datasource"`
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				RefID      string `json:"refId"`
				Datasource source `json:"datasource"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
		t.Error("the data source is no variable, or there is no uid")
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: no id of its own, no title, no description or no query", p.ID, p.Title)
		}
		ids[p.ID] = true
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if refs[q.RefID] || q.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q, query %q: asked twice, or of a fixed data source", p.Title, q.RefID)
			}
			refs[q.RefID] = true
		}
		if g := p.GridPos; g.W == 0 || g.H == 0 || g.X+g.W > 24 {
			t.Errorf("panel %q does not fit: %+v", p.Title, g)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("panels %q and %q overlap", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// watched is a State in which everything has a series.
type watched struct{}

func (watched) Rows(_ time.Time, yield func(renewer.Row) bool) error {
	at := time.Unix(1_800_000_000, 0)
	yield(renewer.Row{
		Name: "web", Issuer: "ca", Status: renewer.StatusValid, NotBefore: at, NotAfter: at.Add(time.Hour), RenewAt: at,
		Hosts: []renewer.HostRow{{Name: "h", State: renewer.HostVerified, Served: "9f", ServedEnd: at, VerifiedAt: at, DriftedAt: at, OverBudgetAt: at, Matches: true}},
	})
	yield(renewer.Row{Name: "app", Issuer: "ca", Status: renewer.StatusBlocked, Hosts: []renewer.HostRow{{Name: "h", State: renewer.HostBlocked}}})
	return nil
}

func (watched) RolloutTime(string) time.Duration { return time.Minute }
func (watched) Issuers() []renewer.IssuerStatus {
	return []renewer.IssuerStatus{{
		Name: "ca", Up: true, CAs: []renewer.CAStatus{{Subject: "CN=ca", NotAfter: time.Unix(1_900_000_000, 0)}},
		Rotation: &renewer.RotationView{Stage: "done", TrustedNowhere: 60},
	}}
}

func (watched) Hosts() []renewer.HostStatus       { return []renewer.HostStatus{{Name: "h", Up: true}} }
func (watched) Channels() []renewer.ChannelStatus { return []renewer.ChannelStatus{{Name: "ops"}} }
func (watched) Daemon() renewer.DaemonStatus {
	return renewer.DaemonStatus{LastCheck: time.Unix(1_800_000_000, 0)}
}

// exported returns what /metrics has: the labels of each name.
func exported(t *testing.T) map[string]map[string]bool {
	t.Helper()
	m := server.NewMetrics("1", watched{})
	m.Expect([]string{"ca"}, []string{"ops"})
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]bool{"up": {}} // Prometheus makes it
	for name, f := range families {
		labels := map[string]bool{}
		for _, s := range f.GetMetric() {
			for _, l := range s.GetLabel() {
				labels[l.GetName()] = true
			}
			if s.GetHistogram() != nil {
				labels["le"] = true
			}
		}
		out[name] = labels
		if labels["le"] {
			out[name+"_bucket"], out[name+"_sum"], out[name+"_count"] = labels, labels, labels
		}
	}
	return out
}

// promtool is in Debian's package prometheus; .ci/run installs it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: no promtool here, so the alert rules were not run; it is in Debian's package prometheus")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = "prometheus"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRulesPassPromtool(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", filepath.Base(rulesFile))
	promtool(t, "test", "rules", "renewer.test.yml")
}

// Every alert has a story in which it fires; that it is quiet before and
// afterwards is written there, too.
func TestEveryAlertHasAStory(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("prometheus/renewer.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Name  string `yaml:"name"`
			Tests []struct {
				Samples []struct {
					Labels string `yaml:"labels"`
				} `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	// Of each alert: fires, with a look before at which it does not, and one afterwards.
	type seen struct{ fires, before, after bool }
	all := map[string]seen{}
	for _, story := range file.Tests {
		var firing [][]string
		for _, look := range story.Tests {
			var names []string
			for _, s := range look.Samples {
				names = append(names, strings.Split(s.Labels, `"`)[1])
			}
			firing = append(firing, names)
		}
		for i, names := range firing {
			for _, name := range names {
				quiet := func(names []string) bool { return !slices.Contains(names, name) }
				s := all[name]
				s.fires = true
				s.before = s.before || slices.ContainsFunc(firing[:i], quiet)
				s.after = s.after || slices.ContainsFunc(firing[i+1:], quiet)
				all[name] = s
			}
		}
	}
	for _, r := range rules(t) {
		if s := all[r.Alert]; r.Alert != "" && s != (seen{true, true, true}) {
			t.Errorf("%s: a story in which it fires, is quiet before, is quiet afterwards: %+v", r.Alert, s)
		}
	}
}

//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// board is what of the shipped dashboard is asked of Prometheus.
type board struct {
	Templating struct {
		List []struct{ Name, Definition string }
	}
	Annotations struct{ List []struct{ Name, Expr string } }
	Panels      []struct {
		Title   string
		Targets []struct {
			Expr    string
			Instant bool
		}
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)

// dashboard asks Prometheus for all that the shipped dashboard asks for, as
// Grafana does, with everything chosen. The panels that are named show
// something else than zero; with all, every one has something to show.
func dashboard(t *testing.T, prometheus string, all bool, notZero ...string) {
	t.Helper()
	text, err := os.ReadFile("../configs/grafana/renewer.json")
	if err != nil {
		t.Fatal(err)
	}
	var d board
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("$instance", ".*", "$certificate", ".*", "$__rate_interval", "5m")
	asked, seen := 0, map[string]bool{}
	for _, v := range d.Templating.List {
		if v.Definition == "" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("variable %s: %q", v.Name, v.Definition)
		}
		var values []string
		api(t, prometheus, "/api/v1/label/"+m[2]+"/values", url.Values{"match[]": {m[1]}}, &values)
		if len(values) == 0 {
			t.Errorf("variable %s has no value", v.Name)
		}
	}
	for _, a := range d.Annotations.List {
		series(t, prometheus, filled.Replace(a.Expr), false)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			asked++
			found := series(t, prometheus, filled.Replace(q.Expr), !q.Instant)
			if len(found) == 0 && all {
				t.Errorf("panel %q shows nothing: %s", p.Title, q.Expr)
			}
			for _, v := range found {
				seen[p.Title] = seen[p.Title] || v != 0
			}
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
	}
	for _, title := range notZero {
		if !seen[title] {
			t.Errorf("panel %q shows zero, or is not there", title)
		}
	}
	if asked < 18 {
		t.Fatalf("%d queries: the dashboard was not read whole", asked)
	}
}

// series returns the values of a query now or, with all, over the last two
// minutes; what is no number is left out.
func series(t *testing.T, prometheus, query string, all bool) (values []float64) {
	t.Helper()
	var data struct {
		Result []struct {
			Value  []any
			Values [][]any
		}
	}
	path, args := "/api/v1/query", url.Values{"query": {query}}
	if all {
		path = "/api/v1/query_range"
		now := time.Now().Unix()
		args.Set("start", strconv.FormatInt(now-120, 10))
		args.Set("end", strconv.FormatInt(now, 10))
		args.Set("step", "5")
	}
	if !api(t, prometheus, path, args, &data) {
		return nil
	}
	for _, r := range data.Result {
		for _, v := range append(r.Values, r.Value) {
			if len(v) != 2 {
				continue
			}
			if f, err := strconv.ParseFloat(v[1].(string), 64); err == nil && !math.IsNaN(f) {
				values = append(values, f)
			}
		}
	}
	return values
}

// api asks Prometheus; false if it does not answer yet.
func api(t *testing.T, prometheus, path string, args url.Values, into any) bool {
	t.Helper()
	resp, err := http.Get("http://" + prometheus + path + "?" + args.Encode())
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s of %s: %s %s", path, args, resp.Status, text)
	}
	if err := json.Unmarshal(answer.Data, into); err != nil {
		t.Fatal(err)
	}
	return true
}

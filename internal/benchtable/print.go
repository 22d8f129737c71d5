package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// goals are the highest values that are good enough, by unit. x-floor is the
// ratio; what has a bound of its own is counted in a unit of its own.
var goals = map[string]map[string]float64{
	"cmd/renewer/daemon ListThroughSocket10000":    {"wall-ms": 50},
	"cmd/renewer/daemon ListWithoutDaemon10000":    {"wall-ms": 150},
	"cmd/renewer/daemon Port10000/page":            {"cpu-ms/answer": 20},
	"cmd/renewer/daemon Port10000/scrape":          {"cpu-ms/answer": 50},
	"cmd/renewer/daemon Trust10000/impact":         {"cpu-ms/command": 100},
	"cmd/renewer/daemon Trust10000/impact-expired": {"cpu-ms/command": 100},
	"cmd/renewer/daemon Trust10000/impact-one":     {"cpu-ms/command": 100},
	"cmd/renewer/daemon Trust10000/impact-root":    {"cpu-ms/command": 100},
	"cmd/renewer/daemon Trust10000/trust":          {"cpu-ms/command": 100},
	"cmd/renewer/daemon Trust10000/trust-json":     {"cpu-ms/command": 100},
	"cmd/renewer/daemon Trust10000/trust-one":      {"cpu-ms/command": 100},
	"configs Load10000":                            {"x-floor": 2.5},
	"configs Load10000Hosts":                       {"x-floor": 2.5},
	"configs Load10000OnEach":                      {"x-floor": 2.5},
	"configs Load100000":                           {"x-floor": 3, "wall-ms": 3000},
	"configs SocketOf":                             {"wall-ms": 2},
	"internal/benchtable Start":                    {"cpu-ms/command": 10, "MB-resident": 16},
	"renewer/engine FromNothing/1000":              {"cpu-ms/certificate": 6},
	"renewer/engine FromNothing/10000":             {"x-floor": 1.2, "MB-idle": 80},
	"renewer/engine Idle100000":                    {"cpu-ms/tick": 5, "cpu-s/start": 2},
	"renewer/engine IssueAndRecord":                {"x-floor": 1.7},
	"renewer/engine ProbeRound":                    {"cpu-ms/round": 500},
	"renewer/engine RenewAll":                      {"cpu-ms/renewal": 6, "MB-peak": 60},
	"renewer/hosts LocalPlacement/1":               {"x-floor": 2},
	"renewer/hosts LocalPlacement/50":              {"x-floor": 2},
	"renewer/hosts LocalPlacement/1000":            {"x-floor": 2},
	"renewer/hosts/remote Distance":                {"trips": 18, "packets": 70, "kB": 16, "ms": 500, "x-floor": 2.5},
	"renewer/hosts/remote Hosts50":                 {"of-rsync": 0.42, "sshd-x-floor": 1.25},
	"renewer/hosts/remote Push200":                 {"MB-peak": 45},
	"renewer/hosts/remote TLSProbe":                {"x-floor": 1.4},
	"renewer/server/page Page10000":                {"x-floor": 2.5},
}

// writeTable writes one line a benchmark.
func writeTable(out io.Writer, results []result) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "WHAT\tFIGURE\tFLOOR\tRATIO\tGOAL\t")
	for _, r := range results {
		floor, ratio := "-", "-"
		if r.ratio > 0 {
			floor, ratio = short(r.floor()), fmt.Sprintf("%.2f", r.ratio)
		}
		fmt.Fprintf(table, "%s\t%s/%s\t%s\t%s\t%s\t%s\n",
			r.name, short(r.figure), r.per, floor, ratio, r.against(goals[r.name]), strings.Join(r.rest, ", "))
	}
	return table.Flush()
}

// against says what the values should be, and whether they are.
func (r result) against(goals map[string]float64) string {
	var all []string
	for _, unit := range slices.Sorted(maps.Keys(goals)) {
		most, verdict := goals[unit], "reached"
		if value, ok := r.all[unit]; !ok || value == 0 || value > most {
			verdict = "missed"
		}
		text := fmt.Sprintf("%.2f", most)
		if unit != "x-floor" {
			text = fmt.Sprintf("%g %s", most, unit)
		}
		all = append(all, text+" "+verdict)
	}
	return cmp.Or(strings.Join(all, ", "), "-")
}

// short keeps three digits or so.
func short(d time.Duration) string {
	for unit := time.Second; unit >= time.Microsecond; unit /= 1000 {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

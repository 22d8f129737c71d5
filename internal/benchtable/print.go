package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// goals are the highest ratios that are good enough.
var goals = map[string]float64{
	"renewer/engine IssueAndRecord": 1.5,
	"renewer/server/page Page10000": 2.5,
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
			r.name, short(r.figure), r.per, floor, ratio, r.goal(), strings.Join(r.rest, ", "))
	}
	return table.Flush()
}

// goal says what the ratio should be, and whether it is.
func (r result) goal() string {
	goal, ok := goals[r.name]
	switch {
	case !ok:
		return "-"
	case r.ratio == 0 || r.ratio > goal:
		return fmt.Sprintf("%.2f missed", goal)
	default:
		return fmt.Sprintf("%.2f reached", goal)
	}
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

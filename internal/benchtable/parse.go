package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// result is one benchmark.
type result struct {
	name   string        // package in the tree and name: inventory List/10000
	figure time.Duration // for each of per
	per    string        // op, row, order; "order of CPU" for processor time
	ratio  float64       // figure to floor; 0: none was reported
	rest   []string      // other metrics, such as 1392 commits/s
	all    map[string]float64
}

// floor is what the figure is compared with; 0 without a ratio.
func (r result) floor() time.Duration {
	if r.ratio == 0 {
		return 0
	}
	return time.Duration(float64(r.figure) / r.ratio)
}

// processors is the -8 that go test adds to a benchmark's name.
var processors = regexp.MustCompile(`-[0-9]+$`)

// parse reads the benchmark format, and passes on what begins with "note: ". It is that of the Go project
// (golang.org/design/14313-benchmark-format): NAME COUNT, then pairs of a value
// and its unit.
func parse(in io.Reader, notes io.Writer) (results []result, err error) {
	where, failed := "", []string(nil)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "pkg: "):
			where = strings.TrimPrefix(words[1], "renewer/")
		case strings.HasPrefix(line, "note: "):
			fmt.Fprintln(notes, line)
		case strings.HasPrefix(line, "FAIL\t"), strings.HasPrefix(line, "--- FAIL"), strings.HasPrefix(line, "panic:"):
			failed = append(failed, line)
		case len(words) >= 4 && strings.HasPrefix(words[0], "Benchmark"):
			r, err := parseLine(words)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			r.name = where + " " + r.name
			results = append(results, r)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		return nil, fmt.Errorf("the benchmarks failed:\n%s", strings.Join(failed, "\n"))
	}
	if len(results) == 0 {
		return nil, errors.New("no benchmark ran")
	}
	return results, nil
}

func parseLine(words []string) (result, error) {
	r := result{all: map[string]float64{}, name: processors.ReplaceAllString(strings.TrimPrefix(words[0], "Benchmark"), "")}
	for i := 2; i+1 < len(words); i += 2 {
		value, err := strconv.ParseFloat(words[i], 64)
		if err != nil {
			return r, err
		}
		r.all[words[i+1]] = value
		unit, per, _ := strings.Cut(words[i+1], "/")
		if cpu, ok := strings.CutPrefix(unit, "cpu-"); ok {
			unit, per = cpu, per+" of CPU"
		}
		scale, isTime := map[string]time.Duration{"ns": 1, "µs": time.Microsecond, "ms": time.Millisecond}[unit]
		switch {
		case words[i+1] == "x-floor":
			r.ratio = value
		case isTime && (r.per == "" || r.per == "op"): // a time for another thing says more than ns/op
			r.figure, r.per = time.Duration(value*float64(scale)), per
		case isTime && per == "op":
		default:
			r.rest = append(r.rest, words[i]+" "+words[i+1])
		}
	}
	return r, nil
}

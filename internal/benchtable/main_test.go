package main

import (
	"strings"
	"testing"
)

const output = `goos: linux
pkg: renewer/inventory
BenchmarkCommit100-2   	       8	  71856917 ns/op	      1392 commits/s	         8.000 x-floor
BenchmarkList/10000-16 	      44	  12425742 ns/op	      4000 ns/row	      3323 rows	         4.000 x-floor
PASS
ok  	renewer/inventory	212.944s
pkg: renewer/renewer/engine
BenchmarkIssueAndRecord-2 	     100	   3028474 ns/op	      1764 cpu-µs/order	         1.394 x-floor
pkg: renewer/issuers/local
BenchmarkFloor     	     139	   1481177.5 ns/op
PASS
`

func TestTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(strings.NewReader(output), &out); err != nil {
		t.Fatal(err)
	}
	want := `WHAT                           FIGURE               FLOOR   RATIO  GOAL          
inventory Commit100            71.86ms/op           8.98ms  8.00   -             1392 commits/s
inventory List/10000           4µs/row              1µs     4.00   -             3323 rows
renewer/engine IssueAndRecord  1.76ms/order of CPU  1.27ms  1.39   1.70 reached  
issuers/local Floor            1.48ms/op            -       -      -             
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
}

func TestGoals(t *testing.T) {
	t.Parallel()
	goals := map[string]float64{"x-floor": 1.5, "MB": 16}
	for _, c := range []struct {
		all  map[string]float64
		want string
	}{
		{map[string]float64{"x-floor": 1.5, "MB": 16}, "16 MB reached, 1.50 reached"},
		{map[string]float64{"x-floor": 1.51, "MB": 15.9}, "16 MB reached, 1.50 missed"},
		{map[string]float64{"x-floor": 1, "MB": 16.1}, "16 MB missed, 1.50 reached"},
		{map[string]float64{"x-floor": 0}, "16 MB missed, 1.50 missed"},
	} {
		if got := (result{all: c.all}).against(goals); got != c.want {
			t.Errorf("%v: %q, want %q", c.all, got, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"PASS\n", "no benchmark ran"},
		{output + "--- FAIL: BenchmarkOpen\n", "the benchmarks failed:\n--- FAIL: BenchmarkOpen"},
		{output + "FAIL\trenewer/configs [build failed]\n", "renewer/configs [build failed]"},
		{"BenchmarkX 3 nought ns/op\n", `"BenchmarkX 3 nought ns/op"`},
	} {
		if err := run(strings.NewReader(c.in), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

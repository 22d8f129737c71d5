// Command benchtable turns the output of `go test -bench` on standard input
// into a table of ratios: what a thing costs against the least that it can
// cost, measured in the same run. A benchmark reports its ratio in the unit
// x-floor, and its figure in a unit of time for each thing (ns/row,
// cpu-µs/order) where that is not ns/op. It fails where a test run failed or there was no
// benchmark; a goal that was missed is shown, since a busy machine misses it
// too.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	results, err := parse(in, out)
	if err != nil {
		return err
	}
	return writeTable(out, results)
}

package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// format is how results are printed.
type format string

const (
	asTable format = "table"
	asWide  format = "wide" // a table with more columns
	asJSON  format = "json"
	asYAML  format = "yaml"
	asCSV   format = "csv"
	asICS   format = "ics" // of forecast alone
)

var formats = []string{string(asTable), string(asWide), string(asJSON), string(asYAML), string(asCSV)}

func (f *format) Type() string { return "FORMAT" }
func (f *format) String() string {
	if *f == "" {
		return string(asTable)
	}
	return string(*f)
}

func (f *format) Set(s string) error {
	if !slices.Contains(formats, s) && s != string(asICS) {
		return fmt.Errorf("expected %s, or ics for renewer forecast", strings.Join(formats, ", "))
	}
	*f = format(s)
	return nil
}

// table reports whether the result is for reading.
func (f *format) table() bool { return f.String() == string(asTable) || *f == asWide }

// data reports whether the result is for programs that clean what they show.
func (f *format) data() bool { return *f == asJSON || *f == asYAML || *f == asICS }

// list prints values of one kind as they come; a table waits for the last,
// for its columns to be aligned.
type list[T any] struct {
	c       *cli
	columns []string
	cells   func(T) []any
	rows    [][]any
	out     *bufio.Writer
	csv     *csv.Writer
	n       int
	lines   bool // json: one value a line instead of an array
}

// listOf makes a list with these columns and, for each value, as many cells.
func listOf[T any](c *cli, columns []string, cells func(T) []any) *list[T] {
	out := bufio.NewWriter(c.out)
	return &list[T]{c: c, columns: columns, cells: cells, out: out, csv: csv.NewWriter(out)}
}

func (l *list[T]) add(v T) error {
	l.n++
	switch l.c.format {
	case asJSON:
		return l.addJSON(v)
	case asYAML:
		return writeYAML(l.out, []T{v})
	case asCSV:
		if l.n == 1 {
			if err := l.csv.Write(l.columns); err != nil {
				return err
			}
		}
		var row []string
		for _, cell := range l.cells(v) {
			row = append(row, plain(cell))
		}
		return l.csv.Write(row)
	default:
		l.rows = append(l.rows, l.cells(v))
		return nil
	}
}

func (l *list[T]) addJSON(v T) error {
	if l.lines {
		return json.NewEncoder(l.out).Encode(v)
	}
	b, err := json.MarshalIndent(v, "  ", "  ")
	if err != nil {
		return err
	}
	lead := ",\n  "
	if l.n == 1 {
		lead = "[\n  "
	}
	_, err = fmt.Fprintf(l.out, "%s%s", lead, b)
	return err
}

// flush sends what was added so far, but for a table.
func (l *list[T]) flush() error {
	l.csv.Flush()
	return errors.Join(l.csv.Error(), l.out.Flush())
}

// end prints what is left; none is said instead of an empty table.
func (l *list[T]) end(none string) error {
	tail := ""
	switch {
	case l.c.format.table() && l.n == 0:
		l.c.say("%s", none)
	case l.c.format.table():
		return l.c.table(l.columns, l.rows)
	case l.c.format == asCSV && l.n == 0:
		if err := l.csv.Write(l.columns); err != nil {
			return err
		}
	case l.c.format == asCSV, l.lines:
	case l.n == 0:
		tail = "[]\n"
	case l.c.format == asJSON:
		tail = "\n]\n"
	}
	_, err := l.out.WriteString(tail)
	return errors.Join(err, l.flush())
}

// all prints every value of a slice.
func (l *list[T]) all(values []T, none string) error {
	for _, v := range values {
		if err := l.add(v); err != nil {
			return err
		}
	}
	return l.end(none)
}

// object prints one value; asText prints it for reading.
func (c *cli) object(v any, asText func() error) error {
	switch c.format {
	case asJSON:
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.out, "%s\n", b)
		return err
	case asYAML:
		return writeYAML(c.out, v)
	case asCSV:
		return usagef("-o csv is for lists; expected table, json or yaml")
	default:
		return asText()
	}
}

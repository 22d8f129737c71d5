package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// format is how results are printed.
type format string

const (
	asTable format = "table"
	asWide  format = "wide" // a table with more columns
	asJSON  format = "json"
	asYAML  format = "yaml"
	asCSV   format = "csv"
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
	if !slices.Contains(formats, s) {
		return fmt.Errorf("expected %s", strings.Join(formats, ", "))
	}
	*f = format(s)
	return nil
}

// table reports whether a person reads the result.
func (f *format) table() bool { return f.String() == string(asTable) || *f == asWide }

// list prints values of one kind as they come; a table waits for the last,
// for its columns to be aligned.
type list[T any] struct {
	c       *cli
	columns []string
	cells   func(T) []any
	rows    [][]any
	csv     *csv.Writer
	n       int
	lines   bool // json: one value a line instead of an array
}

// newList makes a list with these columns and, for each value, as many cells.
func listOf[T any](c *cli, columns []string, cells func(T) []any) *list[T] {
	return &list[T]{c: c, columns: columns, cells: cells, csv: csv.NewWriter(c.out)}
}

func (l *list[T]) add(v T) error {
	l.n++
	switch l.c.format {
	case asJSON:
		return l.addJSON(v)
	case asYAML:
		return writeYAML(l.c.out, []T{v})
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
		return json.NewEncoder(l.c.out).Encode(v)
	}
	b, err := json.MarshalIndent(v, "  ", "  ")
	if err != nil {
		return err
	}
	lead := ",\n  "
	if l.n == 1 {
		lead = "[\n  "
	}
	_, err = fmt.Fprintf(l.c.out, "%s%s", lead, b)
	return err
}

// end prints what is left; none is what a person reads of an empty table.
func (l *list[T]) end(none string) error {
	switch l.c.format {
	case asJSON:
		tail := "\n]\n"
		if l.lines {
			tail = ""
		} else if l.n == 0 {
			tail = "[]\n"
		}
		_, err := io.WriteString(l.c.out, tail)
		return err
	case asYAML:
		if l.n == 0 {
			_, err := io.WriteString(l.c.out, "[]\n")
			return err
		}
		return nil
	case asCSV:
		if l.n == 0 {
			if err := l.csv.Write(l.columns); err != nil {
				return err
			}
		}
		l.csv.Flush()
		return l.csv.Error()
	default:
		if l.n == 0 {
			l.c.say("%s", none)
			return nil
		}
		return l.c.table(l.columns, l.rows)
	}
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

// object prints one value; people prints it as text.
func (c *cli) object(v any, people func() error) error {
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
		return people()
	}
}

// writeYAML prints the same fields as JSON would have, in the same order.
func writeYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var n yaml.Node
	if err := yaml.Unmarshal(b, &n); err != nil { // JSON is YAML
		return err
	}
	block(&n)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return err
	}
	_, err = out.WriteTo(w)
	return err
}

// block takes away the quotes and braces of JSON; what needs quotes gets them
// again from the encoder.
func block(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode || len(n.Content) > 0 {
		n.Style = 0
	}
	for _, c := range n.Content {
		block(c)
	}
}

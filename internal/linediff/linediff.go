// Package linediff shows what changes in a small text file: a unified diff, as
// diff -u prints it.
package linediff

import (
	"fmt"
	"slices"
	"strings"
)

const (
	context   = 3 // lines that are shown around a change
	noNewline = "\\ No newline at end of file\n"
	// maxCells bounds the table of common lines. A larger change is shown as
	// everything out and everything in.
	maxCells = 1 << 22
)

// edit is one line of a diff; kind is ' ', '-' or '+'.
type edit struct {
	kind byte
	line string // with its end
}

// Unified returns how to make the text after out of the text before; empty
// where they are the same.
func Unified(beforeName, before, afterName, after string) string {
	if before == after {
		return ""
	}
	edits := compare(slices.Collect(strings.Lines(before)), slices.Collect(strings.Lines(after)))
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", beforeName, afterName)
	var oldLine, newLine, at int // lines before edits[at]
	pass := func(to int) (o, n int) {
		for _, e := range edits[at:to] {
			if e.kind != '+' {
				o++
			}
			if e.kind != '-' {
				n++
			}
		}
		at, oldLine, newLine = to, oldLine+o, newLine+n
		return o, n
	}
	for {
		from, to := hunk(edits, at)
		if from == to {
			return out.String()
		}
		pass(from)
		wasOld, wasNew := oldLine, newLine
		o, n := pass(to)
		fmt.Fprintf(&out, "@@ -%s +%s @@\n", span(wasOld, o), span(wasNew, n))
		for _, e := range edits[from:to] {
			out.WriteString(string(e.kind) + e.line)
			if !strings.HasSuffix(e.line, "\n") {
				out.WriteString("\n" + noNewline)
			}
		}
	}
}

// hunk returns the next changes from at on, with the lines around them; changes
// whose surroundings touch go together.
func hunk(edits []edit, at int) (from, to int) {
	for k := at; k < len(edits); k++ {
		switch {
		case edits[k].kind == ' ':
		case to == 0:
			from, to = max(at, k-context), k+1
		case k-to > 2*context:
			return from, to + context
		default:
			to = k + 1
		}
	}
	if to == 0 {
		return 0, 0
	}
	return from, min(to+context, len(edits))
}

// span is a range of lines in a hunk's head; one of no lines is behind the line
// that it names.
func span(before, n int) string {
	if n > 0 {
		before++
	}
	return fmt.Sprintf("%d,%d", before, n)
}

// compare keeps a longest sequence of common lines.
func compare(a, b []string) []edit {
	var head, tail []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		head = append(head, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		tail = append(tail, edit{' ', a[len(a)-1]})
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	slices.Reverse(tail)
	return slices.Concat(head, middle(a, b), tail)
}

func middle(a, b []string) (out []edit) {
	// common[i][j] is the most lines that a[i:] and b[j:] have in common.
	common := make([][]int, len(a)+1)
	small := (len(a)+1)*(len(b)+1) <= maxCells
	for i := range common {
		if small {
			common[i] = make([]int, len(b)+1)
		}
	}
	for i := len(a) - 1; i >= 0 && small; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) && small {
		switch {
		case a[i] == b[j]:
			out = append(out, edit{' ', a[i]})
			i, j = i+1, j+1
		case common[i+1][j] >= common[i][j+1]:
			out = append(out, edit{'-', a[i]})
			i++
		default:
			out = append(out, edit{'+', b[j]})
			j++
		}
	}
	for _, line := range a[i:] {
		out = append(out, edit{'-', line})
	}
	for _, line := range b[j:] {
		out = append(out, edit{'+', line})
	}
	return out
}

package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in a fleet file.
type Fault struct {
	File         string
	Line, Column int    // from 1, of the key or list entry that has it
	What         string // what was found
	Expected     string // what would have been right, or a hint

	file int32 // place of File among those that are read
	err  error // why a file that is named could not be read
}

// Unwrap implements errors.Unwrap.
func (f Fault) Unwrap() error { return f.err }

func (f Fault) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.What)
	if f.Expected != "" {
		s += "; " + f.Expected
	}
	return s
}

// Faults are all that is wrong in one fleet file, in its order, and then in what it includes.
type Faults []Fault

// Error gives one fault a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap has the faults themselves.
func (f Faults) Unwrap() []error {
	out := make([]error, len(f))
	for i, fault := range f {
		out[i] = fault
	}
	return out
}

func (f Faults) sort() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.What, b.What))
	})
	return slices.Compact(f)
}

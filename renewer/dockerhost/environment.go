package dockerhost

import (
	"context"
	"slices"
	"strings"
)

// UnitVariable is one that a service's unit sets, and that overrides the ca file
// of Python clients in there.
type UnitVariable struct {
	Unit, Name, Value string
	File              string // that EnvironmentFile= names; empty: Environment=
}

func (v UnitVariable) String() string {
	where := v.Unit
	if v.File != "" {
		where += " (by " + v.File + ")"
	}
	return where + " sets " + v.Name + "=" + v.Value
}

// caVariables are what the library requests takes before the ca file that it is
// given (requests, Session.merge_environment_settings).
var caVariables = []string{"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}

// inspectUnits looks for them in the environment of the services that run, as
// their units set it. Nothing else of it is kept.
func inspectUnits(ctx context.Context, m Machine) []UnitVariable {
	out, err := m.Output(ctx, showServices())
	if err != nil {
		return nil // no systemd, or none that tells
	}
	var found []UnitVariable
	for block := range strings.SplitSeq(out, "\n\n") { // one a unit, its properties in any order
		unit, texts := "", map[string]string{} // by file
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch name {
			case "Id":
				unit = value
			case "Environment":
				words, _ := split(value)
				for _, w := range words {
					texts[""] += w.text + "\n"
				}
			case "EnvironmentFiles": // PATH (ignore_errors=yes)
				path, _, _ := strings.Cut(value, " (")
				if f, err := readFile(ctx, m, path); err == nil {
					texts[path] = f.Text
				}
			}
		}
		for file, text := range texts {
			set := variables(text)
			for _, name := range caVariables {
				if v := set[name]; v != "" {
					found = append(found, UnitVariable{Unit: unit, File: file, Name: name, Value: v})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b UnitVariable) int { return strings.Compare(a.String(), b.String()) })
	return found
}

package unithost

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Some properties are printed by busctl(1) alone (org.freedesktop.systemd1(5)); by
// systemctl show they are [unprintable].
func busGet(unit, face string, props ...string) []string {
	return append([]string{
		"busctl", "--json=short", "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1/unit/" + escape(unit),
		"org.freedesktop.systemd1." + face,
	}, props...)
}

func conditions(unit string) []string { return busGet(unit, "Unit", "Conditions", "Asserts") }

func credentials(unit string) []string {
	return busGet(unit, "Service", "LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted")
}

// escape makes a unit's name a part of an object's path, as sd_bus_path_encode(3)
// does.
func escape(unit string) string {
	var b strings.Builder
	for i, c := range []byte(unit) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// askBus looks which conditions hold, and which credentials the unit is given. An
// older busctl, or none, leaves that open.
func (f *Facts) askBus(ctx context.Context, m Machine) {
	if out, err := m.Output(ctx, conditions(f.Unit)); err == nil {
		for line := range strings.Lines(out) {
			f.unmet = append(f.unmet, unmet(ctx, m, line)...)
		}
	}
	if !f.secret {
		return
	}
	out, err := m.Output(ctx, credentials(f.Unit))
	if err != nil {
		f.AnyKey = true
		return
	}
	var given []string // by SetCredential=, for where the file is missing
	lines := slices.Collect(strings.Lines(out))
	for i, line := range lines {
		for _, c := range listed(line) {
			f.AnyKey = true
			if i >= 2 {
				given = append(given, text(c, 0))
			}
		}
	}
	for _, line := range lines[:min(2, len(lines))] {
		for _, c := range listed(line) {
			if file := text(c, 1); path.IsAbs(file) && !slices.Contains(given, text(c, 0)) {
				f.paths = append(f.paths, setting{Needed{Path: file}, "LoadCredential"})
			}
		}
	}
}

// unmet reads an array of (name, trigger, negate, parameter, state), and says which
// of those about paths do not hold now: systemd looks again at each start. Of those
// with | one is enough (systemd.unit(5)).
func unmet(ctx context.Context, m Machine, line string) (out []string) {
	var triggers []string
	open := false
	for _, c := range listed(line) {
		name, param, negated := text(c, 0), text(c, 3), c[2] == true
		bad := false
		if kind := strings.TrimPrefix(strings.TrimPrefix(name, "Condition"), "Assert"); path.IsAbs(param) && aboutPaths[kind] {
			has, err := m.Has(ctx, param)
			bad = err == nil && (negated && has && kind == "PathExists" || !negated && !has)
		}
		said := name + "=" + map[bool]string{true: "!"}[negated] + param
		switch {
		case c[1] == true && bad:
			triggers = append(triggers, said)
		case c[1] == true:
			open = true
		case bad:
			out = append(out, said)
		}
	}
	if len(triggers) > 0 && !open {
		out = append(out, strings.Join(triggers, " or "))
	}
	return out
}

// aboutPaths are the conditions that do not hold where the path is missing.
var aboutPaths = map[string]bool{
	"PathExists": true, "PathIsDirectory": true, "PathIsSymbolicLink": true, "PathIsMountPoint": true, "PathIsReadWrite": true,
	"DirectoryNotEmpty": true, "FileNotEmpty": true, "FileIsExecutable": true,
}

// listed reads {"type":"a(…)","data":[[…]]}.
func listed(line string) [][]any {
	var one struct {
		Type string  `json:"type"`
		Data [][]any `json:"data"`
	}
	if json.Unmarshal([]byte(line), &one) != nil {
		return nil
	}
	fields := map[string]int{"a(sbbsi)": 5, "a(ss)": 2, "a(say)": 2}[one.Type]
	if fields == 0 {
		return nil
	}
	return slices.DeleteFunc(one.Data, func(c []any) bool { return len(c) != fields })
}

func text(c []any, i int) string {
	s, _ := c[i].(string)
	return s
}

package unithost

import (
	"fmt"
	"path"

	"renewer/renewer"
)

// Doubts says why the unit might not start again.
func (f Facts) Doubts() (out []renewer.Doubt) {
	sure := func(fix, format string, a ...any) {
		out = append(out, renewer.Doubt{Sure: true, Unit: f.Unit, Text: fmt.Sprintf(format, a...), Fix: fix})
	}
	switch f.Load {
	case "loaded":
	case "not-found":
		sure("check the name under units: systemctl status "+f.Unit, "systemd does not know %s", f.Unit)
		return out
	case "masked":
		sure("systemctl unmask "+f.Unit, "%s is masked", f.Unit)
		return out
	default:
		sure("see systemctl status "+f.Unit+" and systemd-analyze verify "+f.Unit, "systemd calls %s %q", f.Unit, f.Load)
		return out
	}
	for _, n := range f.Programs {
		if n.Missing && !n.Optional {
			sure(fmt.Sprintf("put the program's path right (command -v %s on the host shows it) with systemctl edit %s, then systemctl daemon-reload", path.Base(n.Path), f.Unit),
				"its program %s is not there", n.Path)
		}
	}
	for _, n := range f.EnvFiles {
		if n.Missing && !n.Optional {
			sure("put the file there, or write EnvironmentFile=-"+n.Path+" with systemctl edit "+f.Unit, "its EnvironmentFile %s is not there", n.Path)
		}
	}
	for _, n := range f.paths {
		if n.Missing && !n.Optional {
			sure("make it on the host, or change "+n.Name+"= with systemctl edit "+f.Unit, "%s of its %s= is not there", n.Path, n.Name)
		}
	}
	for _, text := range f.unmet {
		sure("see systemctl cat "+f.Unit+", and make what it asks for", "%s does not hold", text)
	}
	if f.Stale {
		out = append(out, renewer.Doubt{
			Unit: f.Unit, Text: "its files were edited, and systemd has not read them yet: a restart goes by the old ones", Fix: "systemctl daemon-reload, when they are as they should be",
		})
	}
	return out
}

// Runs reports whether a restart would take something away.
func (f Facts) Runs() bool { return f.Active != "inactive" && f.Active != "deactivating" }

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
		sure("check the name under units: systemctl status "+f.Unit, "systemd has no unit %s", f.Unit)
		return out
	case "masked":
		sure("systemctl unmask "+f.Unit, "%s is masked", f.Unit)
		return out
	default:
		sure("run systemctl status "+f.Unit+" and systemd-analyze verify "+f.Unit, "systemd reports %s as %q", f.Unit, f.Load)
		return out
	}
	for _, n := range f.Programs {
		if n.Missing && !n.Optional {
			sure(fmt.Sprintf("correct the path of the program with systemctl edit %[2]s (on the host, command -v %[1]s prints the path), then run systemctl daemon-reload", path.Base(n.Path), f.Unit),
				"its program %s does not exist", n.Path)
		}
	}
	for _, n := range f.EnvFiles {
		if n.Missing && !n.Optional {
			sure("create the file, or write EnvironmentFile=-"+n.Path+" with systemctl edit "+f.Unit, "its EnvironmentFile %s does not exist", n.Path)
		}
	}
	for _, n := range f.paths {
		if n.Missing && !n.Optional {
			sure("create it on the host, or change "+n.Name+"= with systemctl edit "+f.Unit, "%s of its %s= does not exist", n.Path, n.Name)
		}
	}
	for _, text := range f.unmet {
		sure("run systemctl cat "+f.Unit+", and create what it requires", "%s is not met", text)
	}
	if f.Stale {
		out = append(out, renewer.Doubt{
			Unit: f.Unit, Text: "its unit files were changed, but systemd has not loaded them: a restart uses the old ones", Fix: "if the changes are correct, run systemctl daemon-reload",
		})
	}
	return out
}

// Runs reports whether a restart would take something away.
func (f Facts) Runs() bool { return f.Active != "inactive" && f.Active != "deactivating" }

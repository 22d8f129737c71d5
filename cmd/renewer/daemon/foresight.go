package daemon

import (
	"context"
	"path"

	"renewer/renewer"
	"renewer/renewer/dockerhost"
	"renewer/renewer/hosts"
	"renewer/renewer/unithost"
)

// machine is a host that says what a restart would meet: engine.Foresight.
type machine struct {
	*hosts.Host
}

// Doubts looks at the units that a placement activates, as systemd has them, and at
// what dockerd would read.
func (m machine) Doubts(ctx context.Context, p renewer.Placement) (out []renewer.Doubt, err error) {
	if p.Activate.Kind != renewer.ActivateSystemd {
		return nil, nil
	}
	owner := ""
	for i, name := range p.Activate.Units {
		unit, err := unithost.Inspect(ctx, m, name)
		if err != nil {
			return out, err
		}
		if i == 0 {
			owner = unit.User // whom files belong to by default
		}
		if unit.Load == "loaded" && !unit.Runs() {
			continue
		}
		out = append(out, unit.Doubts(p, owner)...)
		if len(unit.Argv) > 0 && path.Base(unit.Argv[0]) == "dockerd" && !unit.Elsewhere {
			var files []string
			for _, f := range unit.EnvFiles {
				if path.IsAbs(f.Path) && path.Clean(f.Path) == f.Path && !f.Missing {
					files = append(files, f.Path)
				}
			}
			start, err := dockerhost.InspectStart(ctx, m, name, unit.Argv, files)
			if err != nil {
				return out, err
			}
			out = append(out, start.Doubts(p)...)
		}
	}
	return out, nil
}

// Listens reports whether anything listens on the port of an address.
func (m machine) Listens(ctx context.Context, address string) (bool, error) {
	return unithost.Listens(ctx, m, address)
}

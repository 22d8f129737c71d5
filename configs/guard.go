package configs

import (
	"time"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

// readGuard returns a *renewer.Guard, nil where no docker guard is named.
func readGuard(l *loader, at pos, n *yaml.Node) (any, bool) {
	v, ok := object("guard", guardSchema)(l, at, n)
	if !ok {
		return nil, false
	}
	s := v.(settings)
	if !s.has("docker") {
		return (*renewer.Guard)(nil), true
	}
	d := get[settings](s, "docker")
	return &renewer.Guard{
		WithoutLiveRestore: renewer.GuardChoice(getOr(d, "without_live_restore", string(renewer.GuardBlock))),
		Label:              get[string](d, "label"),
		Deadline:           getOr(d, "deadline", time.Duration(0)),
		AtDeadline:         renewer.GuardChoice(getOr(d, "at_deadline", string(renewer.GuardBlock))),
	}, true
}

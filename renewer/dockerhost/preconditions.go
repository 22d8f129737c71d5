package dockerhost

import (
	"context"
	"fmt"
	"slices"

	"renewer/renewer"
)

func (w *work) preconditions(ctx context.Context) error {
	facts, err := Inspect(ctx, w.Machine, w.Placement)
	if err != nil {
		return err
	}
	if wrong := Unusable(w.Placement, facts.Disk); wrong != "" {
		return renewer.WithHint(fmt.Errorf("the certificate's files in %s: %s; dockerd would not start", w.Placement.Dir, wrong),
			"place the certificate first: renewer renew "+w.Placement.Certificate)
	}
	for _, c := range w.plan.Changes {
		now := facts.Daemon
		switch c.Path {
		case facts.DropIn.Path:
			now = facts.DropIn
		case firewallFile:
			wall, err := readFile(ctx, w.Machine, firewallFile)
			if err != nil {
				return err
			}
			now, w.wall = wall, true
		}
		if now.Path != c.Path || now.Exists != c.Exists || now.Text != c.Before || now.Link {
			return renewer.WithHint(fmt.Errorf("%s was changed after the plan was made; nothing was changed", c.Path), "run the command again, and check the new plan")
		}
		if c.Path == facts.Daemon.Path {
			w.interim = interimOf(facts)
		}
	}
	w.settings = facts.Daemon.Path
	w.before, w.keeps = facts.Docker, facts.Docker.LiveRestore
	if !w.plan.Empty() {
		return facts.DockerErr // what runs is not known
	}
	return nil
}

// interimOf is daemon.json as it is, with live-restore on; empty where that
// is impossible or said elsewhere.
func interimOf(f Facts) string {
	d, err := parseDocument(f.Daemon)
	cmd, cerr := commandOf(f.Unit)
	if err != nil || cerr != nil || f.Swarm {
		return ""
	}
	flags := slices.Concat(cmd.flags, cmd.env, oursIn(f.DropIn))
	if slices.ContainsFunc(flags, func(fl directive) bool { return fl.key == liveRestoreKey }) {
		return ""
	}
	return string(d.set(liveRestoreKey, true))
}

// Unusable says why a service such as dockerd would not start with the files;
// empty if it would.
func Unusable(p renewer.Placement, disk renewer.OnDisk) string {
	has := func(kind renewer.FileKind) bool { return p.Files[kind] != "" }
	if disk.Leaf == "" && (has(renewer.FileCert) || has(renewer.FileLeaf) || has(renewer.FileBundle)) {
		return "no certificate"
	}
	if len(disk.Trusts) == 0 && has(renewer.FileCA) {
		return p.Files[renewer.FileCA] + " has no root"
	}
	for _, problem := range disk.Deviations {
		switch problem.Kind {
		case renewer.DeviationMissing, renewer.DeviationUnreadable, renewer.DeviationKey:
			return problem.Text
		}
	}
	return ""
}

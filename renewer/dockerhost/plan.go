package dockerhost

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"

	"renewer/internal/linediff"
	"renewer/renewer"
)

// Plan compares what was seen of a machine with what the placement needs. The
// same facts give the same plan, and those that a plan leads to give an empty
// one. An error says what keeps renewer from setting the machine up, and the
// fix.
func Plan(f Facts, p renewer.Placement) (renewer.HostPlan, error) {
	plan, err := newPlanner(f, p).plan()
	if err != nil {
		return renewer.HostPlan{}, fmt.Errorf("host %s: plan for %s: %w", p.Host, p.ID(), err)
	}
	return plan, nil
}

type planner struct {
	f     Facts
	p     renewer.Placement
	port  string
	notes []string

	cmd       command
	daemon    document // as it is
	fileHosts []string // its key hosts
	socketed  bool     // systemd listens on the port for dockerd
}

func newPlanner(f Facts, p renewer.Placement) *planner { return &planner{f: f, p: p} }

func (pl *planner) note(format string, args ...any) {
	pl.notes = append(pl.notes, fmt.Sprintf(format, args...))
}

func probePort(p renewer.Placement) (string, error) {
	_, port, err := net.SplitHostPort(p.Probe.Address)
	if err != nil {
		return "", fmt.Errorf("address of the probe: %w", err)
	}
	return port, nil
}

// read understands what was seen.
func (pl *planner) read() (err error) {
	if _, pl.port, err = net.SplitHostPort(pl.p.Probe.Address); err != nil || pl.p.Probe.Kind != renewer.ProbeDocker {
		return misconfigured("use the profile docker-server", "not the certificate of a Docker daemon: its probe is %s %s", pl.p.Probe.Kind, pl.p.Probe.Address)
	}
	for _, kind := range []renewer.FileKind{renewer.FileCA, renewer.FileCert, renewer.FileKey} {
		if pl.p.Files[kind] == "" {
			return misconfigured("name it under files:", "no file of kind %s, which dockerd needs", kind)
		}
	}
	switch u := pl.f.Unit; u.Load {
	case "loaded":
	case "not-found":
		return misconfigured("install Docker first, for example with apt-get install docker.io; Docker from snap and rootless Docker are not supported",
			"there is no unit %s", u.Name)
	default:
		return misconfigured("run systemctl status "+u.Name, "systemd reports the unit %s as %q", u.Name, u.Load)
	}
	if pl.cmd, err = commandOf(pl.f.Unit); err != nil {
		return err
	}
	if u := pl.f.Unit; u.NoProgram != "" {
		return misconfigured(u.rightProgram(),
			"%s starts %s, which does not exist", u.Name, u.NoProgram)
	}
	if pl.daemon, err = parseDocument(pl.f.Daemon); err != nil {
		return err
	}
	if _, err := pl.daemon.get("hosts", &pl.fileHosts); err != nil {
		return misconfigured("correct it by hand", "%s: hosts is not a list of addresses", pl.f.Daemon.Path)
	}
	return nil
}

func (pl *planner) plan() (renewer.HostPlan, error) {
	out := renewer.HostPlan{Host: pl.p.Host, Certificate: pl.p.Certificate, Changes: []renewer.FileChange{}}
	if err := pl.read(); err != nil {
		return out, err
	}
	if err := pl.clashInEnvironment(); err != nil {
		return out, err
	}
	after := pl.desiredDaemon()
	dropIn, after, err := pl.desiredDropIn(after)
	if err != nil {
		return out, err
	}
	if err := pl.startsWith(after); err != nil {
		return out, err
	}
	for _, c := range []struct {
		file File
		want string
		mode fs.FileMode
	}{{pl.f.Daemon, string(after), 0o644}, {pl.f.DropIn, dropIn, 0o644}} {
		if c.want == c.file.Text || c.want == "" {
			continue
		}
		if c.file.Link {
			return out, misconfigured("make the change where the link leads, or replace the link by a copy of the file",
				"%s is a symbolic link: another tool keeps this file", c.file.Path)
		}
		if c.file.Exists {
			c.mode = c.file.Mode
		}
		out.Changes = append(out.Changes, change(c.file, c.want, c.mode))
	}
	out.Restart = len(out.Changes) > 0 || pl.unloaded()
	if out.Restart {
		pl.aboutRestart()
	}
	if slices.ContainsFunc(out.Changes, func(c renewer.FileChange) bool { return c.Path == pl.f.DropIn.Path }) {
		pl.note("port %s is not opened in the firewall: allow only the clients, for example with ufw allow from CLIENT to any port %s proto tcp", pl.port, pl.port)
	}
	out.Notes = []string{}
	if !out.Empty() { // else they are of what was done before
		out.Notes = append(out.Notes, pl.notes...)
	}
	return out.Sealed(), nil
}

// startsWith refuses a daemon.json that dockerd would not start with though it has the
// settings: what is wrong in it is its owner's to fixed.
func (pl *planner) startsWith(after document) error {
	r := reading{path: pl.f.Daemon.Path, d: after, options: pl.f.Options, flags: slices.Concat(pl.cmd.flags, pl.cmd.env)}
	r.missing = slices.DeleteFunc(slices.Clone(pl.f.Missing), func(name string) bool { return places(pl.p, name) })
	if on, _ := r.boolean(liveRestoreKey); on && pl.f.Swarm {
		return misconfigured(fmt.Sprintf("remove %q from %s: nodes of a swarm must not set it", liveRestoreKey, pl.f.Daemon.Path),
			"dockerd would not start: %q is on, and the host is in a swarm", liveRestoreKey)
	}
	for _, f := range r.faults() {
		if !f.seen {
			return misconfigured(f.fix, "dockerd would not start: %s", f.text)
		}
	}
	return nil
}

func change(f File, want string, mode fs.FileMode) renewer.FileChange {
	was := f.Path
	if !f.Exists {
		was = "/dev/null"
	}
	return renewer.FileChange{
		Path: f.Path, Exists: f.Exists, Before: f.Text, After: want, Mode: mode,
		Diff: linediff.Unified(was, f.Text, f.Path, want),
	}
}

// desiredDaemon is daemon.json with its settings, and with hosts as it was.
func (pl *planner) desiredDaemon() document {
	d := pl.daemon
	if pl.f.Swarm {
		pl.note("this host is in a swarm, where dockerd does not support live-restore: a restart stops its containers, and the swarm starts them again")
	}
	for _, s := range settings(pl.p, !pl.f.Swarm) {
		var old any
		if ok, _ := d.get(s.key, &old); ok && old != s.value {
			switch s.key {
			case "tlscacert":
				pl.note("tlscacert was %v: clients of the CA in it are refused from now on, unless trust: of the certificate has that CA too", old)
			case liveRestoreKey:
				pl.note("live-restore will be turned on: containers keep running while dockerd restarts")
			default:
				pl.note("%s was %v", s.key, old)
			}
		}
		d = d.set(s.key, s.value)
	}
	return d
}

// unloaded reports whether the files are right and the daemon does not go by
// them.
func (pl *planner) unloaded() bool {
	d := pl.f.Docker
	switch u := pl.f.Unit; {
	case u.Active != "active" && u.Active != "reloading":
		pl.note("%s is not running (%s, %s): it will be started", u.Name, u.Active, u.Sub)
	case u.Stale:
		pl.note("unit files of %s were changed, and systemd has not loaded them yet: it will load them", u.Name)
	case pl.f.ListenErr == nil && !slices.ContainsFunc(pl.f.Listening, func(a string) bool { return !isLoopback("tcp://" + a) }):
		pl.note("no process listens on port %s, although the configuration has that port", pl.port)
	case pl.f.DockerErr == nil && d.Running && !d.LiveRestore && !pl.f.Swarm:
		pl.note("live-restore is off in the running daemon, although it is on in %s", pl.f.Daemon.Path)
	default:
		return false
	}
	return true
}

func (pl *planner) aboutRestart() {
	if pl.f.Disk.Leaf == "" {
		pl.note("the certificate is not in %s yet: it is placed first, because dockerd does not start without its files", pl.p.Dir)
	}
	if d := pl.f.Docker; d.Containers > 0 && !d.LiveRestore {
		if pl.f.Swarm {
			pl.note("%d running containers are stopped by the restart", d.Containers)
		} else {
			pl.note("%d containers are running: live-restore is turned on before the restart, so that they keep running", d.Containers)
		}
	}
}

// RightProgram is the fix for a unit whose dockerd is not there; empty for any other.
func RightProgram(ctx context.Context, m Machine, unit string) string {
	if u, err := inspectUnit(ctx, m, unit); err == nil && u.NoProgram != "" {
		return u.rightProgram()
	}
	return ""
}

// rightProgram says which file has the wrong path of dockerd, and the right one.
func (u Unit) rightProgram() string {
	const other = "install Docker, or correct the path with systemctl edit "
	if u.Program == "" {
		return other + u.Name
	}
	for _, f := range slices.Backward(u.Files) {
		for _, e := range service(f.Text) {
			if e.name == "ExecStart" && strings.Contains(e.value, u.NoProgram) {
				return fmt.Sprintf("write %s in place of %s in %s, then systemctl daemon-reload", u.Program, u.NoProgram, f.Path)
			}
		}
	}
	return other + u.Name
}

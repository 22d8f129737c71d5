package dockerhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
)

// Facts is what was seen of one placement's machine. Of a placement that no
// Docker daemon serves only Disk, Environment and the clock are looked at.
type Facts struct {
	Disk        renewer.OnDisk
	Environment File // /etc/environment
	UnitEnv     []UnitVariable
	Clock, Ours time.Time // the machine's, and this process's at that moment
	Room        Room
	Containers  []renewer.Container // that run and have files of the placement
	Key         KeyFile

	Unit      Unit
	Daemon    File // daemon.json, or what --config-file names
	DropIn    File // ours
	Options   Options
	Missing   []string // files that dockerd would read and that are not there
	Docker    renewer.DockerState
	Sockets   []Socket // that systemd listens on
	Swarm     bool     // the daemon is in a swarm
	DockerErr error    // the daemon could not be asked
	Wall      Wall
	Listening []string // local addresses, host:port, that something listens on at the probe's port
	ListenErr error    // that could not be seen
}

// File is a text file of the machine.
type File struct {
	Path   string
	Exists bool
	Link   bool // the name is a symbolic link
	Mode   fs.FileMode
	Text   string
}

// Unit is what systemd says of the unit that runs dockerd (systemctl(1), show).
type Unit struct {
	Name     string
	Load     string // LoadState: loaded, not-found, masked
	Active   string // ActiveState
	Sub      string // SubState
	Result   string // of the last run, such as exit-code
	GaveUp   bool   // systemd does not start it again: it was started too often
	Restarts int    // NRestarts: by itself, since the last start by hand
	Stale    bool   // NeedDaemonReload: files were changed since systemd read them
	Files    []File // the unit's file and its drop-ins but ours, in systemd's order
	EnvFiles []File // that EnvironmentFile= names
	// NoProgram is what ExecStart= names and is not there; Program is a dockerd that is.
	NoProgram, Program string
}

// Inspect looks at the machine of a placement. An error says that it could not
// be looked at; nothing is changed.
func Inspect(ctx context.Context, m Machine, p renewer.Placement) (Facts, error) {
	var f Facts
	var err error
	if f.Disk, err = m.Inspect(ctx, p); err != nil {
		return f, err
	}
	if f.Environment, err = readFile(ctx, m, "/etc/environment"); err != nil {
		return f, err
	}
	before := time.Now()
	if f.Clock, err = m.Clock(ctx); err != nil {
		return f, err
	}
	f.Ours = before.Add(time.Since(before) / 2)
	f.Room = inspectRoom(ctx, m, p)
	if p.Probe.Kind != renewer.ProbeDocker {
		f.UnitEnv = inspectUnits(ctx, m)
		f.Containers, f.Key = inspectContainers(ctx, m, p, f.Disk)
		return f, nil
	}
	if f.Unit, err = inspectUnit(ctx, m, unitOf(p)); err != nil {
		return f, err
	}
	if f.Daemon, err = readFile(ctx, m, settingsOf(f.Unit)); err != nil {
		return f, err
	}
	if f.DropIn, err = readFile(ctx, m, DropIn(p)); err != nil {
		return f, err
	}
	if c, err := commandOf(f.Unit); err == nil && f.Unit.NoProgram == "" {
		f.Options = inspectOptions(ctx, m, c.program.text)
		if d, err := parseDocument(f.Daemon); err == nil {
			if f.Missing, err = missing(ctx, m, reading{d: d}); err != nil {
				return f, err
			}
		}
	}
	// A daemon that systemd has stopped is not asked: its socket would start it.
	if f.Unit.Active == "active" || f.Unit.Active == "reloading" {
		f.Docker, f.Swarm, f.DockerErr = inspectDocker(ctx, m)
	}
	if f.Docker.Running {
		f.Containers, f.Key = inspectContainers(ctx, m, p, f.Disk)
	}
	ours, err := m.Has(ctx, firewallFile)
	if err == nil && ours {
		f.Wall, err = InspectWall(ctx, m)
	}
	if err != nil {
		return f, err
	}
	f.Listening, f.ListenErr = inspectPort(ctx, m, p)
	if f.Sockets, err = inspectSockets(ctx, m); err != nil {
		f.ListenErr = errors.Join(f.ListenErr, err)
	}
	return f, ctx.Err()
}

func readFile(ctx context.Context, m Machine, name string) (File, error) {
	f := File{Path: name}
	data, mode, err := m.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	f.Exists, f.Link, f.Mode, f.Text = true, mode&fs.ModeSymlink != 0, mode.Perm(), string(data)
	return f, err
}

func inspectUnit(ctx context.Context, m Machine, unit string) (Unit, error) {
	out, err := m.Output(ctx, showUnit(unit))
	if err != nil {
		return Unit{}, renewer.WithHint(fmt.Errorf("ask systemd for %s: %w", unit, err), "renewer host needs a host that runs systemd")
	}
	values := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	u := Unit{
		Name: unit, Load: values["LoadState"], Active: values["ActiveState"], Sub: values["SubState"],
		Result: values["Result"], Stale: values["NeedDaemonReload"] == "yes",
	}
	if u.Active == "failed" {
		u.GaveUp = u.Result == startLimitHit || gaveUp(ctx, m, unit)
	}
	u.Restarts, _ = strconv.Atoi(values["NRestarts"]) // an older systemd does not tell
	for _, name := range append([]string{values["FragmentPath"]}, strings.Fields(values["DropInPaths"])...) {
		if name == "" || path.Base(name) == dropInName {
			continue
		}
		file, err := readFile(ctx, m, name)
		if err != nil {
			return u, err
		}
		u.Files = append(u.Files, file)
	}
	for _, name := range environmentFiles(u.Files) {
		file, err := readFile(ctx, m, name)
		if err != nil {
			return u, err
		}
		u.EnvFiles = append(u.EnvFiles, file)
	}
	return u, u.lookForProgram(ctx, m)
}

// lookForProgram notes where the command's program is missing.
func (u *Unit) lookForProgram(ctx context.Context, m Machine) error {
	c, err := commandOf(*u)
	if err != nil {
		return nil //nolint:nilerr // the plan says so
	}
	program := strings.TrimPrefix(c.program.text, "-")
	if has, err := m.Has(ctx, program); err != nil || has {
		return err
	}
	u.NoProgram = program
	for _, other := range validators {
		if has, err := m.Has(ctx, other); err == nil && has {
			u.Program = other
			return nil
		}
	}
	return nil
}

// startLimitHit is Result= of a unit whose first failure this is (systemd.exec(5),
// SERVICE_RESULT).
const startLimitHit = "start-limit-hit"

// gaveUp looks in the journal: a unit that used up its starts by failing keeps
// the Result= of that failure. Where the journal does not tell it is unknown.
func gaveUp(ctx context.Context, m Machine, unit string) bool {
	const after = "Start request repeated too quickly"
	out, err := m.Output(ctx, journal(unit))
	return err == nil && strings.Contains(out, after)
}

func inspectDocker(ctx context.Context, m Machine) (st renewer.DockerState, swarm bool, err error) {
	if st, err = m.Docker(ctx, ""); err != nil || !st.Running {
		return st, false, err
	}
	out, err := m.Output(ctx, askSwarm())
	for line := range strings.Lines(out) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), swarmMark); ok {
			swarm = state != "" && state != "inactive"
		}
	}
	return st, swarm, err
}

// inspectPort asks ss(8) for what listens on the port that clients dial.
func inspectPort(ctx context.Context, m Machine, p renewer.Placement) ([]string, error) {
	_, port, err := net.SplitHostPort(p.Probe.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the probe: %w", err)
	}
	out, err := m.Output(ctx, listeners(port))
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(out) {
		// State, Recv-Q, Send-Q, local address, peer address
		if cols := strings.Fields(line); len(cols) >= 5 && cols[0] == "LISTEN" {
			found = append(found, cols[3])
		}
	}
	return found, nil
}

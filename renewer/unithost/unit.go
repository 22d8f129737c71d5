package unithost

import (
	"context"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
)

// Facts is what was seen of one unit.
type Facts struct {
	Unit   string
	Load   string // LoadState: loaded, not-found, masked, bad-setting
	Active string // ActiveState
	User   string // that it runs as; root if it does not say
	Stale  bool   // NeedDaemonReload: its files were edited since systemd read them
	// Programs are those of ExecStartPre= and ExecStart=, EnvFiles of EnvironmentFile=.
	Programs, EnvFiles []Needed
	Argv               []string // of the last ExecStart=, variables as they are written
	StopTimeout        time.Duration
	// Elsewhere: it has a root of its own, so paths are not those of the host.
	Elsewhere bool
	// AnyKey: it reads files by more than its user's rights: credentials,
	// capabilities, a program with the prefix + or !.
	AnyKey bool
	groups []string // of Group= and SupplementaryGroups=
	secret bool     // it may be given credentials: systemctl does not print them
	// paths are those that its namespace or its first program starts from; made are
	// below those that systemd makes, or that a program before, as root, may make.
	paths    []setting
	made     []string
	prepares bool
	unmet    []string // conditions and assertions that do not hold
}

// setting is a file or directory that a unit's setting names.
type setting struct {
	Needed
	Name string // WorkingDirectory
}

// Needed is a file that a start needs.
type Needed struct {
	Path     string
	Optional bool // written with -: systemd goes on without
	Missing  bool
}

const props = "LoadState,ActiveState,User,NeedDaemonReload,ExecStartPre,ExecStart,ExecStartEx,EnvironmentFiles,TimeoutStopUSec," +
	"RootDirectory,RootImage,DynamicUser,LoadCredential,LoadCredentialEncrypted,SetCredential,AmbientCapabilities," +
	"ExecStartPreEx,RuntimeDirectory,StateDirectory,CacheDirectory,LogsDirectory,ConfigurationDirectory,Group,SupplementaryGroups,WorkingDirectory,ReadWritePaths,ReadOnlyPaths,InaccessiblePaths,BindPaths,BindReadOnlyPaths"

func showUnit(unit string) []string {
	return []string{"systemctl", "--no-ask-password", "--no-pager", "show", "--property=" + props, "--", unit}
}

// Commands are the argument vectors that this package has run for a placement: what
// an account that uses sudo has to be allowed.
func Commands(p renewer.Placement) (out [][]string) {
	if p.Activate.Kind == renewer.ActivateSystemd {
		for _, unit := range p.Activate.Units {
			out = append(out, showUnit(unit), journal(unit), conditions(unit), credentials(unit))
		}
		out = append(out, listWay(p.Dir))
	}
	if _, port, err := net.SplitHostPort(p.Probe.Address); err == nil {
		out = append(out, listeners(port))
	}
	return out
}

// Ask asks systemd for a unit, and looks for no file.
func Ask(ctx context.Context, m Machine, unit string) (Facts, error) {
	out, err := m.Output(ctx, showUnit(unit))
	if err != nil {
		return Facts{}, fmt.Errorf("ask systemd for %s: %w", unit, err)
	}
	return read(unit, out), nil
}

// Inspect asks systemd for a unit, and looks for the files that it needs.
func Inspect(ctx context.Context, m Machine, unit string) (Facts, error) {
	f, err := Ask(ctx, m, unit)
	if err != nil || f.Elsewhere {
		return f, err
	}
	f.askBus(ctx, m)
	for _, list := range [][]Needed{f.Programs, f.EnvFiles} {
		for i := range list {
			list[i].look(ctx, m)
		}
	}
	f.paths = slices.DeleteFunc(f.paths, f.makes)
	for i := range f.paths {
		f.paths[i].look(ctx, m)
	}
	return f, ctx.Err()
}

// makes reports whether a start may make what a setting names.
func (f Facts) makes(s setting) bool {
	return f.prepares && s.Name != "WorkingDirectory" || slices.ContainsFunc(append(f.made, "/tmp", "/var/tmp"), func(dir string) bool {
		return s.Path == dir || strings.HasPrefix(s.Path, dir+"/")
	})
}

// look finds out whether it is missing; what cannot be looked at may well be there.
func (n *Needed) look(ctx context.Context, m Machine) {
	if path.IsAbs(n.Path) && !strings.ContainsAny(n.Path, "*?[%$") {
		has, err := m.Has(ctx, n.Path)
		n.Missing = err == nil && !has
	}
}

// read understands what systemctl show printed: a list has a line for each.
func read(unit, out string) Facts {
	f := Facts{Unit: unit, User: "root"}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value == "" {
			continue
		}
		switch name {
		case "LoadState":
			f.Load = value
		case "ActiveState":
			f.Active = value
		case "User":
			f.User = value
		case "NeedDaemonReload":
			f.Stale = value == "yes"
		case "ExecStart", "ExecStartPre":
			program, argv, ignore := command(value)
			f.Programs = append(f.Programs, Needed{Path: program, Optional: ignore})
			if name == "ExecStart" {
				f.Argv = argv
			}
		case "ExecStartEx", "ExecStartPreEx": // one before may hand the key on
			rooted := strings.Contains(value, "privileged") || strings.Contains(value, "no-setuid")
			f.AnyKey, f.prepares = f.AnyKey || rooted, f.prepares || rooted && name == "ExecStartPreEx"
		case "EnvironmentFiles": // PATH (ignore_errors=yes)
			file, how, _ := strings.Cut(value, " (ignore_errors=")
			f.EnvFiles = append(f.EnvFiles, Needed{Path: file, Optional: strings.HasPrefix(how, "yes")})
		case "TimeoutStopUSec":
			f.StopTimeout = span(value)
		case "RootDirectory", "RootImage":
			f.Elsewhere = f.Elsewhere || value != "/"
		case "DynamicUser":
			f.AnyKey = f.AnyKey || value == "yes"
		case "LoadCredential", "LoadCredentialEncrypted", "SetCredential": // [unprintable], also where there are none
			f.secret = true
		case "Group", "SupplementaryGroups":
			f.groups = append(f.groups, strings.Fields(value)...)
		case "WorkingDirectory":
			dir, optional := strings.CutPrefix(value, "!")
			f.paths = append(f.paths, setting{Needed{Path: dir, Optional: optional}, name})
		case "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths":
			f.paths = append(f.paths, pathsOf(name, value)...)
		case "RuntimeDirectory", "StateDirectory", "CacheDirectory", "LogsDirectory", "ConfigurationDirectory":
			for dir := range strings.FieldsSeq(value) {
				f.made = append(f.made, path.Join(madeBelow[name], dir))
			}
		case "AmbientCapabilities":
			f.AnyKey = f.AnyKey || strings.Contains(value, "cap_dac_")
		}
	}
	return f
}

// madeBelow is where a start makes directories (systemd.exec(5)).
var madeBelow = map[string]string{
	"RuntimeDirectory": "/run", "StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "LogsDirectory": "/var/log", "ConfigurationDirectory": "/etc",
}

// pathsOf reads -/maybe /always and, of a bind mount, -/from:/to:rbind. With + it is
// below a root of the unit's own.
func pathsOf(name, value string) (out []setting) {
	for one := range strings.FieldsSeq(value) {
		one, optional := strings.CutPrefix(one, "-")
		if from, _, bound := strings.Cut(one, ":"); bound && strings.HasPrefix(name, "Bind") {
			one = from
		}
		one = strings.TrimPrefix(one, "+")
		if !path.IsAbs(one) {
			return nil // a path with a space in it, which is printed as it is
		}
		out = append(out, setting{Needed{Path: one, Optional: optional}, name})
	}
	return out
}

// command reads { path=… ; argv[]=… ; ignore_errors=no ; … }.
func command(value string) (program string, argv []string, ignore bool) {
	for part := range strings.SplitSeq(strings.Trim(value, "{} "), " ; ") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "path":
			program = v
		case "argv[]":
			argv = strings.Fields(v)
		case "ignore_errors":
			ignore = v == "yes"
		}
	}
	return program, argv, ignore
}

// span reads a time as systemd prints it: 1min 30s, infinity (systemd.time(7)); 0
// for what it does not bound.
func span(s string) (sum time.Duration) {
	units := map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	for part := range strings.FieldsSeq(s) {
		digits := strings.TrimRight(part, "abcdefghijklmnopqrstuvwxyz")
		n, err := strconv.ParseFloat(digits, 64)
		unit, ok := units[part[len(digits):]]
		if err != nil || !ok || n < 0 || n > 1e6 {
			return 0
		}
		sum += time.Duration(n * float64(unit))
	}
	return sum
}

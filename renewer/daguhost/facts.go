package daguhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"renewer/internal/sudoers"
	"renewer/renewer"
)

// Facts is what was seen of the unit of a placement.
type Facts struct {
	Certificate string
	Unit        string // empty: none is activated
	Loaded      bool
	User        string // that it runs as; root if it does not say
	Settings    Settings
	Works       bool // it runs a worker
	Serves      bool // it runs a coordinator
	// Missing are files that the settings name, and that are not there nor about to be
	// placed; each with where it is set.
	Missing  []Setting
	Hostname string // what Dagu tells others to dial where coordinator.advertise does not say; empty: not known
	// KeyErr: the user cannot read the key. KeyUnknown: that could not be tried.
	KeyErr, KeyUnknown error
}

// Advertised is the name that clients without worker.coordinators dial; empty: not known.
func (f Facts) Advertised() string {
	if name := f.Settings.Advertise.Value; name != "" {
		return hostOf(name)
	}
	return f.Hostname
}

// InspectAll looks at every unit that a placement activates; of what is activated
// otherwise there are facts without a unit.
func InspectAll(ctx context.Context, m Machine, p renewer.Placement) ([]Facts, error) {
	if p.Activate.Kind != renewer.ActivateSystemd || len(p.Activate.Units) == 0 {
		return []Facts{{}}, nil
	}
	var out []Facts
	for _, unit := range p.Activate.Units {
		f, err := inspect(ctx, m, p, unit)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func inspect(ctx context.Context, m Machine, p renewer.Placement, unit string) (Facts, error) {
	f := Facts{Certificate: p.Certificate, Unit: unit}
	f.Hostname = hostname(ctx, m)
	props, err := show(ctx, m, f.Unit)
	if err != nil {
		return f, err
	}
	f.Loaded = props["LoadState"] == "loaded"
	if f.User = props["User"]; f.User == "" {
		f.User = "root"
	}
	if !f.Loaded {
		return f, nil
	}
	argv := arguments(props["ExecStart"])
	f.Works = len(argv) > 0 && slices.Contains(argv[1:], "worker")
	f.Serves = len(argv) > 0 && (slices.Contains(argv[1:], "coordinator") || slices.Contains(argv[1:], "start-all"))
	env, err := environment(ctx, m, props)
	if err != nil {
		return f, err
	}
	flags := fromFlags("the command of "+f.Unit, argv)
	sources := []source{flags, fromEnvironment("the environment of "+f.Unit, env)}
	f.Settings = merge(sources...) // all that is known where the file cannot be read
	for _, file := range configFiles(ctx, m, f.User, env, flags.values) {
		text, _, err := m.ReadFile(ctx, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return f, err
		}
		src, err := fromConfig(file, text)
		if err != nil {
			return f, err
		}
		sources = append(sources, src)
		break
	}
	f.Settings = merge(sources...)
	f.Missing = missing(ctx, m, p, f.Settings)
	f.KeyErr, f.KeyUnknown = readable(ctx, m, f.User, p)
	return f, ctx.Err()
}

// missing looks for the files of settings; what cannot be looked at may well be there.
func missing(ctx context.Context, m Machine, p renewer.Placement, s Settings) (out []Setting) {
	for _, file := range []Setting{s.CertFile, s.KeyFile, s.ClientCAFile} {
		placed := false
		for _, name := range p.Files {
			placed = placed || path.Clean(file.Value) == path.Join(p.Dir, name)
		}
		if placed || !path.IsAbs(file.Value) {
			continue
		}
		if has, err := m.Has(ctx, path.Clean(file.Value)); err == nil && !has {
			out = append(out, file)
		}
	}
	return out
}

// hostname is the machine's name: as the kernel has it or, where that cannot be read, as
// it gets it at the next boot.
func hostname(ctx context.Context, m Machine) string {
	for _, file := range []string{"/proc/sys/kernel/hostname", "/etc/hostname"} {
		if name, _, err := m.ReadFile(ctx, file); err == nil && len(strings.Fields(string(name))) == 1 {
			return strings.TrimSpace(string(name))
		}
	}
	return ""
}

// WorkerNames are the names of the workers of a placement (see renewer.Worker): by
// worker.id, or their host's. Where Dagu's own file cannot be read, for want of rights
// mostly, the unit has the word.
func WorkerNames(ctx context.Context, m Machine, p renewer.Placement) (names []string, err error) {
	if p.Activate.Kind != renewer.ActivateSystemd {
		return nil, nil
	}
	for _, unit := range p.Activate.Units {
		f, err := inspect(ctx, m, p, unit)
		switch {
		case !f.Loaded && err != nil:
			return nil, err
		case !f.Works:
		case f.Settings.WorkerID.Value != "":
			names = append(names, renewer.Worker{ID: f.Settings.WorkerID.Value}.Name())
		case f.Hostname == "":
			return nil, errors.New("cannot read the host name of the machine")
		default:
			names = append(names, f.Hostname)
		}
	}
	return names, ctx.Err()
}

func showUnit(unit string) []string {
	const props = "LoadState,User,Environment,EnvironmentFiles,ExecStart"
	return []string{"systemctl", "--no-ask-password", "--no-pager", "show", "--property=" + props, "--", unit}
}

func passwd(user string) []string { return []string{"getent", "passwd", user} }

func as(user string, argv ...string) []string {
	return append([]string{"runuser", "-u", user, "--"}, argv...)
}

// Commands are the argument vectors that this package has run for a placement:
// what an account that uses sudo has to be allowed. Without an owner: in the
// fleet file the unit's user is not known, and whether it may read its key
// stays unknown.
func Commands(p renewer.Placement) [][]string {
	out := [][]string{passwd(sudoers.Any)} // of whichever user the unit has
	if p.Activate.Kind == renewer.ActivateSystemd {
		for _, unit := range p.Activate.Units {
			out = append(out, showUnit(unit))
		}
	}
	if key, user := p.Files[renewer.FileKey], p.Owner; key != "" && user != "" && user != "root" {
		out = append(out, as(user, "true"), as(user, "test", "-r", path.Join(p.Dir, key)))
	}
	return out
}

func show(ctx context.Context, m Machine, unit string) (map[string]string, error) {
	out, err := m.Output(ctx, showUnit(unit))
	if err != nil {
		return nil, fmt.Errorf("ask systemd for %s: %w", unit, err)
	}
	values := map[string]string{}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if old := values[name]; old != "" { // a list has a line for each
			value = old + "\n" + value
		}
		values[name] = value
	}
	return values, nil
}

// environment is Environment= under what the environment files say.
func environment(ctx context.Context, m Machine, props map[string]string) (map[string]string, error) {
	env := map[string]string{}
	set := func(words []string) {
		for _, w := range words {
			if name, value, ok := strings.Cut(w, "="); ok {
				env[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
			}
		}
	}
	set(words(props["Environment"]))
	for line := range strings.Lines(props["EnvironmentFiles"]) { // PATH (ignore_errors=yes)
		file, _, _ := strings.Cut(strings.TrimSpace(line), " (")
		if !path.IsAbs(file) || strings.ContainsAny(file, "*?[") {
			continue
		}
		text, _, err := m.ReadFile(ctx, file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		var lines []string
		for l := range strings.Lines(string(text)) {
			if l = strings.TrimSpace(l); l != "" && l[0] != '#' && l[0] != ';' {
				lines = append(lines, l)
			}
		}
		set(lines)
	}
	return env, nil
}

// words cuts at spaces outside of double quotes, as systemctl show prints them.
func words(s string) (out []string) {
	var w strings.Builder
	quoted := false
	for _, r := range s + " " {
		switch {
		case r == '"':
			quoted = !quoted
		case !quoted && (r == ' ' || r == '\n'):
			if w.Len() > 0 {
				out = append(out, w.String())
				w.Reset()
			}
		default:
			w.WriteRune(r)
		}
	}
	return out
}

// arguments takes the argument vector out of what systemctl show prints:
// { path=… ; argv[]=… ; ignore_errors=… ; … }.
func arguments(execStart string) []string {
	_, rest, _ := strings.Cut(execStart, "argv[]=")
	rest, _, _ = strings.Cut(rest, " ; ")
	return words(rest)
}

// configFiles is where Dagu looks for its configuration, the first that is there: what
// --config names, --dagu-home, DAGU_HOME, or the user's own directories, of which
// ~/.dagu goes before ~/.config/dagu (seen with 2.15.1).
func configFiles(ctx context.Context, m Machine, user string, env, flags map[string]string) []string {
	if file := flags["config"]; path.IsAbs(file) {
		return []string{path.Clean(file)}
	}
	for _, home := range []string{flags["dagu_home"], env["DAGU_HOME"]} {
		if path.IsAbs(home) {
			return []string{path.Join(home, "config.yaml")}
		}
	}
	home := env["HOME"]
	if home == "" {
		out, err := m.Output(ctx, passwd(user))
		if cols := strings.Split(strings.TrimSpace(out), ":"); err == nil && len(cols) >= 6 {
			home = cols[5]
		}
	}
	if !path.IsAbs(home) {
		return nil
	}
	return []string{path.Join(home, ".dagu/config.yaml"), path.Join(home, ".config/dagu/config.yaml")}
}

// readable tries, as the unit's user, to read the key.
func readable(ctx context.Context, m Machine, user string, p renewer.Placement) (refused, unknown error) {
	name, ok := p.Files[renewer.FileKey]
	if !ok || user == "root" {
		return nil, nil
	}
	key := path.Join(p.Dir, name)
	if _, err := m.Output(ctx, as(user, "true")); err != nil {
		return nil, err
	}
	_, err := m.Output(ctx, as(user, "test", "-r", key))
	return err, nil
}

package dockerhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"renewer/renewer"
)

// Start is what dockerd would go by if it were started again now: its unit as
// systemd has loaded it, and daemon.json as it is on the disk.
type Start struct {
	Unit     string
	Argv     []string // of ExecStart=, variables as they are written
	Env      string   // Environment=, as systemctl show prints it
	EnvFiles []File
	Daemon   File // that --config-file names, or daemon.json
	named    bool // by --config-file
	Sockets  []Socket
	Options  Options
	Missing  []string // files that it would read and that are not there
	Swarm    bool     // it is a node of a swarm
	// Refused is what dockerd --validate says; empty if nothing, or if it cannot.
	Refused string
}

// swarmState is what dockerd looks for itself to learn whether it is in a swarm.
const swarmState = "swarm/docker-state.json"

func showEnvironment(unit string) []string {
	return systemctl("show", "--property=Environment", "--value", "--", unit)
}

// validators are where packages have dockerd; of others it is not known what
// they would make of a flag.
var validators = []string{"/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"}

func validate(program, config string) []string {
	return []string{program, "--validate", "--config-file=" + config}
}

// InspectStart looks at what a start of the unit would read. argv and envFiles are
// those of the unit as systemd has it.
func InspectStart(ctx context.Context, m Machine, unit string, argv, envFiles []string) (s Start, err error) {
	s = Start{Unit: unit, Argv: argv}
	if s.Env, err = m.Output(ctx, showEnvironment(unit)); err != nil {
		return s, err
	}
	for _, name := range envFiles {
		f, err := readFile(ctx, m, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		s.EnvFiles = append(s.EnvFiles, f)
	}
	config := DaemonJSON
	for _, fl := range s.flags() {
		if fl.key == "config-file" {
			config, s.named = fl.value, true
		}
	}
	if !path.IsAbs(config) || path.Clean(config) != config {
		return s, fmt.Errorf("cannot tell which file %s reads: --config-file %s", unit, config)
	}
	if s.Daemon, err = readFile(ctx, m, config); err != nil {
		return s, err
	}
	if s.Sockets, err = inspectSockets(ctx, m); err != nil {
		return s, err
	}
	if len(argv) > 0 {
		s.Options = inspectOptions(ctx, m, argv[0])
	}
	if s.Daemon.Exists && s.Options.has("validate") {
		out, err := m.Output(ctx, validate(argv[0], config))
		const refusal = "unable to configure the Docker daemon"
		if i := strings.Index(out, refusal); err != nil && i >= 0 {
			s.Refused, _, _ = strings.Cut(out[i:], "\n")
		}
	}
	if d, err := parseDocument(s.Daemon); err == nil {
		r := s.reading(d)
		if s.Missing, err = missing(ctx, m, r); err != nil {
			return s, err
		}
		if s.Swarm, err = m.Has(ctx, path.Join(cmp.Or(r.text("data-root"), r.text("graph"), "/var/lib/docker"), swarmState)); err != nil {
			return s, err
		}
	}
	return s, ctx.Err()
}

// flags are those of the command, with the values of variables.
func (s Start) flags() []directive {
	u := Unit{EnvFiles: s.EnvFiles, Files: []File{{Text: "[Service]\nEnvironment=" + strings.ReplaceAll(s.Env, "\n", " ") + "\n"}}}
	var words []word
	for _, a := range s.Argv[min(1, len(s.Argv)):] {
		words = append(words, word{a, a})
	}
	c := command{flags: parse(words), envFile: map[string]string{}}
	env := c.expand(u)
	return slices.Concat(c.flags, env)
}

func (s Start) reading(d document) reading {
	return reading{path: s.Daemon.Path, d: d, flags: s.flags(), options: s.Options, missing: s.Missing}
}

// missing looks for the files that dockerd would read.
func missing(ctx context.Context, m Machine, r reading) (names []string, err error) {
	for _, name := range r.files() {
		has, err := m.Has(ctx, name)
		if err != nil {
			return nil, err
		}
		if !has {
			names = append(names, name)
		}
	}
	return names, nil
}

// Doubts says why dockerd might not start, or not as the placement needs it.
func (s Start) Doubts(p renewer.Placement) (out []renewer.Doubt) {
	sure := func(fix, format string, a ...any) {
		out = append(out, renewer.Doubt{Sure: true, Unit: s.Unit, Text: fmt.Sprintf(format, a...), Fix: fix})
	}
	if s.named && !s.Daemon.Exists {
		sure("create the file, or remove --config-file with systemctl edit "+s.Unit, "--config-file names %s, which does not exist", s.Daemon.Path)
		return out
	}
	d, err := parseDocument(s.Daemon)
	if err != nil {
		sure(renewer.Hint(err), "%v", err)
		return out
	}
	if s.Daemon.Exists && strings.TrimSpace(s.Daemon.Text) == "" && s.Options.known() && !s.Options.has("validate") { // later versions take it
		sure(setupPuts(p), "%s is empty: this dockerd stops with EOF", s.Daemon.Path)
	}
	r := s.reading(d)
	r.missing = slices.DeleteFunc(slices.Clone(s.Missing), func(name string) bool { return places(p, name) })
	out = append(out, s.bothWays(d, p)...)
	if s.Refused != "" && len(out) == 0 {
		sure("correct it; check with dockerd --validate --config-file="+s.Daemon.Path, "dockerd says: %s", s.Refused)
	}
	if on, _ := r.boolean(liveRestoreKey); on && s.Swarm {
		sure(fmt.Sprintf("remove %q from %s: nodes of a swarm must not set it", liveRestoreKey, s.Daemon.Path), "%q is on, and the host is in a swarm: dockerd does not start with both", liveRestoreKey)
	}
	for _, f := range r.faults() {
		if !f.seen && s.Refused == "" {
			sure(f.fix, "%s", f.text)
		}
	}
	listen := addressesOf(r.flags)
	if _, err := d.get("hosts", &listen); err == nil && len(listen) == 0 {
		listen = addressesOf(r.flags)
	}
	held, given := s.bySockets(listen)
	out = append(append(out, held...), s.exposed(r, p, append(given, listen...))...)
	return append(out, s.others(r, p)...)
}

func setupPuts(p renewer.Placement) string { return "renewer host setup " + p.Host + " fixes it" }

// places reports whether a file is one that renewer keeps at a placement.
func places(p renewer.Placement, name string) bool {
	for _, file := range p.Files {
		if name == path.Join(p.Dir, file) {
			return true
		}
	}
	return false
}

// bothWays are directives that are given twice.
func (s Start) bothWays(d document, p renewer.Placement) (out []renewer.Doubt) {
	var both []string
	for _, fl := range s.flags() {
		if fl.clashes(d) || fl.key == "hosts" && d.has("hosts") {
			both = append(both, fl.key)
		}
	}
	slices.Sort(both)
	for _, key := range slices.Compact(both) {
		out = append(out, renewer.Doubt{
			Sure: true, Unit: s.Unit, Text: fmt.Sprintf("%q is in %s and a flag of %s: dockerd does not start with both", key, s.Daemon.Path, s.Unit),
			Fix: fmt.Sprintf("remove %q from %s, or remove the flag from the unit; %s", key, s.Daemon.Path, setupPuts(p)),
		})
	}
	return out
}

// bySockets compares the addresses with the socket units that listen: held are ports that
// dockerd cannot have, given are addresses that it gets from systemd.
func (s Start) bySockets(listen []string) (held []renewer.Doubt, given []string) {
	for _, socket := range s.Sockets {
		at := socket.tcpAddress()
		_, port, isTCP := tcp(at)
		if at == "" || !isTCP || !socket.Active {
			continue
		}
		if slices.Contains(socket.Starts, s.Unit) && slices.Contains(listen, "fd://") {
			given = append(given, at)
		}
		for _, h := range listen {
			_, wanted, ok := tcp(h)
			if !ok || port != wanted || isLoopback(at) != isLoopback(h) && !isWildcard(at) && !isWildcard(h) {
				continue
			}
			held = append(held, renewer.Doubt{
				Sure: true, Unit: s.Unit, Text: fmt.Sprintf("%s listens on port %s, so dockerd cannot bind %s", socket.Unit, port, h),
				Fix: "on the host: systemctl disable --now " + socket.Unit + ", or take -H " + h + " out",
			})
		}
	}
	return held, given
}

// exposed are TCP addresses at which dockerd would answer who has no certificate of the
// fleet. Nothing is restarted into that, though dockerd would start.
func (s Start) exposed(r reading, p renewer.Placement, listen []string) (out []renewer.Doubt) {
	for _, h := range listen {
		if _, _, ok := tcp(h); !ok {
			continue
		}
		how := r.exposure(h)
		if how == "" {
			if on, _ := r.boolean("tls"); on && !s.Options.known() && !r.d.has("tlsverify") && !r.flagged("tlsverify") {
				out = append(out, renewer.Doubt{
					Unit: s.Unit, Text: "before version 20.10, \"tls\": true alone does not require client certificates", Fix: fmt.Sprintf("set \"tlsverify\": true in %s", s.Daemon.Path),
				})
			}
			continue
		}
		fix := fmt.Sprintf("%s: \"tlsverify\": true in %s", setupPuts(p), s.Daemon.Path)
		switch _, verified := r.tls(); {
		case verified:
			fix = fmt.Sprintf("%s: \"tlscacert\" in %s", setupPuts(p), s.Daemon.Path)
		case r.flagged("tlsverify"):
			fix = fmt.Sprintf("remove --tlsverify with systemctl edit %s; %s", s.Unit, setupPuts(p))
		}
		return append(out, renewer.Doubt{Sure: r.keeps(p, h), Opens: true, Unit: s.Unit, Text: how, Fix: fix})
	}
	return out
}

// others are files that dockerd has in the place of those that renewer keeps.
func (s Start) others(r reading, p renewer.Placement) (out []renewer.Doubt) {
	if p.Probe.Kind != renewer.ProbeDocker {
		return nil
	}
	files := r.files()
	for _, key := range []string{"tlscert", "tlskey"} {
		if file := files[key]; file != "" && !places(p, file) && !slices.Contains(s.Missing, file) {
			out = append(out, renewer.Doubt{
				Unit: s.Unit, Text: fmt.Sprintf("%q is %s: unless it points to renewer's files in %s, dockerd does not serve them", key, file, p.Dir), Fix: setupPuts(p),
			})
		}
	}
	return out
}

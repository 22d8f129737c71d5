package dockerhost

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
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
	// Refused is what dockerd --validate says; empty if nothing, or if it cannot.
	Refused string
}

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
		return s, fmt.Errorf("which file %s reads is not known: --config-file %s", unit, config)
	}
	if s.Daemon, err = readFile(ctx, m, config); err != nil {
		return s, err
	}
	if s.Sockets, err = inspectSockets(ctx, m); err != nil {
		return s, err
	}
	if s.Daemon.Exists && len(argv) > 0 && slices.Contains(validators, argv[0]) {
		out, err := m.Output(ctx, validate(argv[0], config))
		const refusal = "unable to configure the Docker daemon" // 23 and later; before, there is no such flag
		if i := strings.Index(out, refusal); err != nil && i >= 0 {
			s.Refused, _, _ = strings.Cut(out[i:], "\n")
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

// Doubts says why dockerd might not start, or not as the placement needs it.
func (s Start) Doubts(p renewer.Placement) (out []renewer.Doubt) {
	sure := func(fix, format string, a ...any) {
		out = append(out, renewer.Doubt{Sure: true, Unit: s.Unit, Text: fmt.Sprintf(format, a...), Fix: fix})
	}
	setup := "renewer host setup " + p.Host + " puts it right"
	if s.named && !s.Daemon.Exists {
		sure("put the file there, or take --config-file out with systemctl edit "+s.Unit, "--config-file names %s, which is not there", s.Daemon.Path)
		return out
	}
	d, err := parseDocument(s.Daemon)
	if err != nil {
		sure(renewer.Hint(err), "%v", err)
		return out
	}
	var both []string
	flags := s.flags()
	for _, fl := range flags {
		if fl.clashes(d) || fl.key == "hosts" && d.has("hosts") {
			both = append(both, fl.key)
		}
	}
	slices.Sort(both)
	for _, key := range slices.Compact(both) {
		sure(fmt.Sprintf("take %q out of %s, or the flag out of the unit; %s", key, s.Daemon.Path, setup),
			"%q is in %s and a flag of %s: dockerd does not start with both", key, s.Daemon.Path, s.Unit)
	}
	if s.Refused != "" && len(out) == 0 {
		sure("put it right there: dockerd --validate --config-file="+s.Daemon.Path+" tries it", "dockerd says: %s", s.Refused)
	}
	listen := addressesOf(flags)
	if _, err := d.get("hosts", &listen); err == nil && len(listen) == 0 {
		listen = addressesOf(flags)
	}
	for _, h := range listen {
		_, port, ok := tcp(h)
		if !ok {
			continue
		}
		for _, socket := range s.Sockets {
			at := socket.tcpAddress()
			if _, held, isTCP := tcp(at); at == "" || !isTCP || held != port || !socket.Active || isLoopback(at) != isLoopback(h) && !isWildcard(at) && !isWildcard(h) {
				continue
			}
			sure("on the host: systemctl disable --now "+socket.Unit+", or take -H "+h+" out", "%s listens on port %s, so dockerd cannot bind %s", socket.Unit, port, h)
		}
	}
	var verify bool
	_, _ = d.get("tlsverify", &verify)
	verify = verify || slices.ContainsFunc(flags, func(f directive) bool { return f.key == "tlsverify" && f.value != "false" })
	if _, port, err := net.SplitHostPort(p.Probe.Address); err == nil && !verify && slices.ContainsFunc(listen, func(h string) bool {
		_, at, ok := tcp(h)
		return ok && at == port
	}) {
		out = append(out, renewer.Doubt{Unit: s.Unit, Text: fmt.Sprintf("after a restart it would be open to clients without a certificate: %s has no tlsverify", s.Daemon.Path), Fix: setup})
	}
	return out
}

package hosts

import (
	"path"
	"slices"
	"strings"

	"renewer/internal/sudoers"
	"renewer/renewer"
)

// SFTPPlaces are where distributions put OpenSSH's SFTP server: Debian,
// Fedora and RHEL, Arch and FreeBSD, SUSE.
var SFTPPlaces = []string{
	"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server",
}

// SFTPServer is how an SFTP server is started: without -u it would create files that
// others can read.
func SFTPServer(server string, more ...string) []string {
	return append([]string{path.Clean(server), "-u", "077"}, more...)
}

// InDirectory has an SFTP server begin in a directory.
func InDirectory(dir string) []string { return []string{"-d", dir} }

// SFTPServers are the argument vectors of the SFTP server in its usual places,
// or in the given one; in a directory where a file of another owner than the
// directory's is to be made.
func SFTPServers(server string) [][]string {
	places := []string{server}
	if server == "" {
		places = SFTPPlaces
	}
	var out [][]string
	for _, p := range places {
		out = append(out, SFTPServer(p), SFTPServer(p, InDirectory("/"+sudoers.Any)...))
	}
	return out
}

// Commands are the argument vectors that a host's machine runs for a
// placement, as an account that uses sudo has to be allowed.
func Commands(p renewer.Placement) [][]string {
	out := [][]string{readClock, showCommand(dockerUnit, dockerProps...)}
	switch a := p.Activate; a.Kind {
	case renewer.ActivateSystemd:
		out = append(out, unitCommands(a)...)
	case renewer.ActivateSignal:
		for _, signal := range []string{strings.TrimPrefix(strings.ToUpper(a.Signal), "SIG"), AnySignal} {
			for digits := 1; digits <= 7; digits++ { // pid_max(5) of 64 bits: 4194304
				out = append(out, SignalCommand(signal, strings.Repeat(sudoers.Digit, digits)))
			}
		}
	case renewer.ActivateCommand:
		out = append(out, a.Command)
	}
	if p.GuardsDocker() {
		out = append(out, DockerCommands(p.Guard.Docker.Label)...)
	}
	if p.GuardsDagu() && p.Guard.Dagu.By == renewer.IdleByCommand {
		out = append(out, p.Guard.Dagu.Command)
	}
	if p.Probe.Kind == renewer.ProbeCommand {
		out = append(out, p.Probe.Command)
	}
	return out
}

// DockerVariables change what docker asks, and how, whatever -H says (docker(1)).
// None of them is meant for renewer.
var DockerVariables = []string{
	"DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_CERT_PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_CONFIG",
}

// AsksDocker reports whether renewer itself asks the Docker daemon with a command;
// what an entry runs has the variables that it is written for.
func AsksDocker(argv []string) bool {
	return len(argv) > 3 && argv[1] == "-H" && strings.HasPrefix(argv[2], "unix://")
}

// DialDocker is the argument vector of a connection to the Docker daemon at a socket:
// containers are activated over it, and asked for the files that they have.
func DialDocker(socket string) []string {
	return []string{"docker", "-H", "unix://" + socket, "system", "dial-stdio"}
}

// DockerCommands ask the Docker daemon; label: of the containers that count.
func DockerCommands(label string) [][]string {
	return [][]string{showCommand(dockerUnit, dockerProps...), dockerArgs(listContainers(label)...), dockerArgs(askInfo...)}
}

// What this package runs is made of these, here and where it is run.
var (
	readClock   = []string{"date", "-u", "+%s"}
	askInfo     = []string{"info", "--format", infoFormat}
	dockerProps = []string{"LoadState", "ActiveState"}
	ownerProps  = []string{"User", "Group"}
	stateProps  = []string{"LoadState", "ActiveState", "SubState", "CanReload"}
	workProps   = []string{"ActiveState", "MainPID", "ControlGroup"}
)

func dockerArgs(args ...string) []string {
	return append([]string{"docker", "-H", dockerSocket}, args...)
}

func listContainers(label string) []string {
	args := []string{"ps", "--quiet", "--filter", "status=running"}
	if label != "" {
		args = append(args, "--filter", "label="+label)
	}
	return args
}

// SignalCommand sends a signal to a process.
func SignalCommand(signal, pid string) []string { return []string{"kill", "-s", signal, pid} }

func systemctlArgs(args ...string) []string {
	return append([]string{"systemctl", "--no-ask-password", "--no-pager"}, args...)
}

func showCommand(unit string, props ...string) []string {
	return systemctlArgs(showArgs(unit, props...)...)
}

func showArgs(unit string, props ...string) []string {
	return []string{"show", "--property=" + strings.Join(props, ","), "--", unit}
}

// called is a command with its program under another name.
func called(program string, argv []string) []string {
	return append([]string{program}, argv[1:]...)
}

func unitCommands(a renewer.Activation) [][]string {
	out := [][]string{systemctlArgs("is-system-running")}
	if len(a.Units) > 0 {
		out = append(out, showCommand(a.Units[0], ownerProps...))
	}
	for _, unit := range a.Units {
		out = append(out, showCommand(unit, stateProps...), showCommand(unit, workProps...))
	}
	verbs := []string{"reset-failed", "restart"}
	if a.Action == "reload" {
		verbs = append(verbs, "reload")
	}
	for _, units := range subsets(a.Units) { // those that run
		for _, verb := range verbs {
			out = append(out, systemctlArgs(append([]string{verb, "--"}, units...)...))
		}
	}
	return out
}

// subsets are all parts of a list, in its order; of a long one each alone and
// the whole.
func subsets(list []string) (out [][]string) {
	if len(list) > 4 {
		for _, one := range list {
			out = append(out, []string{one})
		}
		return append(out, list)
	}
	for _, one := range list {
		for _, part := range slices.Clone(out) {
			out = append(out, append(slices.Clone(part), one))
		}
		out = append(out, []string{one})
	}
	return out
}

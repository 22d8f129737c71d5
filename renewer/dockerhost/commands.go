package dockerhost

import (
	"net"

	"renewer/renewer"
)

// Argument vectors that this package has run on a machine.

const (
	unitProps = "LoadState,ActiveState,SubState,Result,NRestarts,NeedDaemonReload,FragmentPath,DropInPaths"
	swarmMark = "swarm: "
)

func showUnit(unit string) []string { return systemctl("show", "--property="+unitProps, "--", unit) }

func showServices() []string {
	return systemctl("show", "--property=Id,Environment,EnvironmentFiles", "--type=service", "--state=running", "*")
}

func showSockets() []string {
	return systemctl("show", "--property=Id,LoadState,ActiveState,Listen,Triggers", "--type=socket", "--all", "*")
}

func journal(unit string) []string {
	const most = "30"
	return []string{"journalctl", "--unit=" + unit, "--lines=" + most, "--output=cat", "--no-pager", "--quiet"}
}

func askSwarm() []string {
	return []string{"docker", "-H", localSocket, "info", "--format", swarmMark + "{{.Swarm.LocalNodeState}}"}
}

func listeners(port string) []string {
	return []string{"ss", "-H", "-l", "-t", "-n", "sport", "=", ":" + port}
}

// Commands are all of them for a placement, besides what Machine.Docker runs:
// what an account that uses sudo has to be allowed.
func Commands(p renewer.Placement) [][]string {
	if p.Probe.Kind != renewer.ProbeDocker {
		return [][]string{showServices()}
	}
	unit := unitOf(p)
	out := [][]string{
		showUnit(unit), showSockets(), journal(unit), askSwarm(), systemctl("daemon-reload"),
		systemctl("reset-failed", "--", unit), systemctl("restart", "--", unit), systemctl("reload", "--", unit),
	}
	out = append(append(out, showEnvironment(unit)), firewallCommands()...)
	for _, program := range validators {
		out = append(out, validate(program, DaemonJSON), help(program))
	}
	if _, port, err := net.SplitHostPort(p.Probe.Address); err == nil {
		out = append(out, listeners(port))
	}
	return out
}

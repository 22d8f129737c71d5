package dockerhost

import (
	"fmt"
	"strings"
)

// dropped are the unit's flags that daemon.json has too.
func (pl *planner) dropped(d document) (out []directive) {
	for _, fl := range pl.cmd.flags {
		if fl.clashes(d) {
			out = append(out, fl)
		}
	}
	return out
}

// clashes reports whether daemon.json has the same directive. Runtimes may be
// in both; hosts are looked at on their own.
func (fl directive) clashes(d document) bool {
	return fl.key != "" && fl.key != "hosts" && fl.key != "runtimes" && d.has(fl.key)
}

func flagName(fl directive) string {
	for name, key := range keyOfFlag {
		if key == fl.key {
			return name
		}
	}
	return fl.key
}

// clashInEnvironment refuses flags that come out of a file that is not
// renewer's to change.
func (pl *planner) clashInEnvironment() error {
	after := pl.daemon
	for _, s := range settings(pl.p, !pl.f.Swarm) {
		after = after.set(s.key, s.value)
	}
	for _, fl := range pl.cmd.env {
		if fl.key == "hosts" && pl.samePort(fl.value) && isLoopback(fl.value) {
			name := strings.TrimPrefix(fl.words[0].raw, "$")
			return misconfigured(fmt.Sprintf("remove -H %s from %s in %s", fl.value, name, pl.cmd.envFile[name]),
				"%s in %s binds port %s on loopback only, so dockerd cannot bind it on other addresses", name, pl.cmd.envFile[name], pl.port)
		}
		if fl.clashes(after) {
			name := strings.TrimPrefix(fl.words[0].raw, "$")
			return misconfigured(fmt.Sprintf("remove --%s from %s in %s", flagName(fl), name, pl.cmd.envFile[name]),
				"%s in %s gives dockerd --%s, and %s has or needs it too; dockerd does not start with both", name, pl.cmd.envFile[name], flagName(fl), pl.f.Daemon.Path)
		}
	}
	return nil
}

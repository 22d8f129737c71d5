package configs

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"renewer/internal/pattern"
	"renewer/renewer"
)

const (
	defaultActivateTimeout = 60 * time.Second
	defaultProbeTimeout    = 30 * time.Second
)

// signalReader reads a signal that makes a service reload. Those that end a
// process, or stop it, are no way to activate anything.
var signalReader reader = func(l *loader, at pos, n *yaml.Node) (any, bool) {
	const expected = "one of HUP, USR1, USR2, WINCH"
	s, ok := l.scalar(at, n, expected, "!!str", "!!int")
	if !ok {
		return nil, false
	}
	if !slices.Contains([]string{"HUP", "USR1", "USR2", "WINCH"}, s) {
		l.fault(at, l.what()+" is "+quote(s)+", which does not make a service reload its files", "expected "+expected)
		return nil, false
	}
	return s, true
}

// argv reads an argument vector. The program is an absolute path or a bare
// name, which is looked for in the PATH of the host.
func argv(l *loader, at pos, n *yaml.Node) (any, bool) {
	if n.Kind == yaml.ScalarNode {
		l.fault(at, "the command is "+kindOf(n), "expected a list of arguments, one string each; there is no shell")
		return nil, false
	}
	v, ok := list("arguments, one string each", 1, template("an argument: one string", anything))(l, at, n)
	if !ok {
		return nil, false
	}
	first := v.([]setting)[0]
	if name := first.value.(string); !bareProgram.MatchString(name) && (!isPath(name) || name == "/") {
		program, _, _ := strings.Cut(name, " ") // what follows in a shell line may be secret
		l.fault(first.at, "the program "+quote(program)+" is neither a name nor an absolute path", "expected a program such as true or /usr/bin/true, and each argument as a separate entry")
		return nil, false
	}
	return v, true
}

var bareProgram = pattern.New(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)

var timeoutReader = duration(time.Second, day)

var activateSchemas = map[string]schema{
	"systemd": {"units": set("units", 1, template("a unit such as docker.service", unitName.MatchString)), "action": enum("restart", "reload")},
	"signal":  {"pid_file": template(aPath, isPath), "signal": signalReader},
	"docker":  {"container": template("the name of a container", containerName.MatchString), "action": enum("restart", "kill"), "signal": signalReader},
}

var activateSchema = schema{
	"systemd":    object("systemd", activateSchemas["systemd"].with(activateTimes)),
	"signal":     object("signal", activateSchemas["signal"].with(activateTimes)),
	"docker":     object("docker", activateSchemas["docker"].with(activateTimes)),
	"command":    argv,
	"kubernetes": object("kubernetes", workloadsSchema.with(activateTimes)),
}

var activateTimes = schema{"timeout": timeoutReader, "budget": duration(leastBudget, day)}

// leastBudget leaves each half time for a process to start and a handshake.
const leastBudget = 2 * time.Second

// choice reads a mapping with exactly one of the kinds, and keys beside it;
// or a single word. It returns the kind, the place of its key, its value and
// the settings of the whole mapping.
func (l *loader) choice(at pos, n *yaml.Node, what string, kinds, beside schema, words ...string) (kind string, s settings, ok bool) {
	expected := "expected " + oneOf(append(kinds.keys(), words...))
	if n.Kind == yaml.ScalarNode {
		if slices.Contains(words, n.Value) {
			return n.Value, nil, true
		}
		if kinds[n.Value] != nil {
			expected = fmt.Sprintf("expected a mapping: {%s: …}", n.Value)
		}
		l.fault(at, fmt.Sprintf("%s is %s", what, quoteScalar(n)), expected)
		return "", nil, false
	}
	before := l.wrong()
	if s, ok = l.object(at, n, what, kinds.with(beside)); !ok || l.wrong() > before {
		return "", nil, false
	}
	for k := range kinds {
		if there := s.has(k); there && kind != "" {
			l.fault(at, fmt.Sprintf("%s has both %s and %s", what, min(k, kind), max(k, kind)), expected)
			return "", nil, false
		} else if there {
			kind = k
		}
	}
	if kind == "" {
		l.fault(at, what+" has no method", expected)
	}
	return kind, s, kind != ""
}

func quoteScalar(n *yaml.Node) string {
	if n.Tag == "!!str" {
		return quote(n.Value)
	}
	return kindOf(n)
}

// readActivation returns a renewer.Activation. A systemd activation without
// units is complete only in a profile.
func readActivation(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, s, ok := l.choice(at, n, "activate", activateSchema, activateTimes, "none")
	if !ok {
		return nil, false
	}
	a := renewer.Activation{Kind: renewer.ActivationKind(kind)}
	inner := settings{}
	if kind == "command" {
		a.Command = texts(s, kind)
	} else if kind != "none" {
		inner = get[settings](s, kind)
		l.refuse(s[kind].at, "activate "+kind)
	}
	for _, k := range activateTimes.keys() {
		if inner.has(k) && s.has(k) {
			l.fault(s[k].at, k+" is given twice in activate", "expected it once")
		}
	}
	a.Timeout = getOr(inner, "timeout", getOr(s, "timeout", defaultActivateTimeout))
	a.Budget = getOr(inner, "budget", get[time.Duration](s, "budget"))
	switch a.Kind {
	case renewer.ActivateSystemd:
		a.Units, a.Action = texts(inner, "units"), getOr(inner, "action", "restart")
	case renewer.ActivateSignal:
		a.PIDFile, a.Signal = get[string](inner, "pid_file"), getOr(inner, "signal", "HUP")
		if a.PIDFile == "" {
			l.fault(s[kind].at, "signal has no pid_file", "expected pid_file: the path of the file that holds the process id")
			return nil, false
		}
		a.PIDFile = path.Clean(a.PIDFile)
	case renewer.ActivateDocker:
		a.Container, a.Action = get[string](inner, "container"), getOr(inner, "action", "restart")
		if a.Container == "" {
			l.fault(s[kind].at, "docker has no container", "expected container: the name of a container")
			return nil, false
		}
		if sig, there := inner["signal"]; there && a.Action != "kill" {
			l.fault(sig.at, "a signal without action: kill", "expected {container: NAME, action: kill, signal: HUP}")
			return nil, false
		}
		if a.Action == "kill" {
			a.Signal = getOr(inner, "signal", "HUP")
		}
	}
	return a, true
}

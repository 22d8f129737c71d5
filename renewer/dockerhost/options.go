package dockerhost

import (
	"context"
	"slices"
	"strings"

	"renewer/internal/pattern"
)

// Options are what the dockerd of a machine takes, by its own --help: the keys of
// daemon.json are the names of its flags, and a few more. The zero value: not known.
type Options struct {
	kinds map[string]string // by flag, such as string or list; empty for a boolean
}

func help(program string) []string { return []string{program, "--help"} }

// helpLine is a flag of dockerd --help: "  -D, --debug     Enable debug mode", "      --bip string    …".
var helpLine = pattern.New(`(?m)^(?:      |  -[A-Za-z], )--([a-z0-9-]+)(?: ([a-z-]+))?(?:  |$)`)

func parseOptions(text string) Options {
	o := Options{kinds: map[string]string{}}
	for _, m := range helpLine.Regexp().FindAllStringSubmatch(text, -1) {
		o.kinds[m[1]] = m[2]
	}
	if _, ok := o.kinds["config-file"]; !ok {
		return Options{} // that is no help of dockerd's
	}
	return o
}

// inspectOptions asks the program itself; one that is not where packages have it is not asked.
func inspectOptions(ctx context.Context, m Machine, program string) Options {
	program = strings.TrimPrefix(program, "-")
	if !slices.Contains(validators, program) {
		return Options{}
	}
	out, err := m.Output(ctx, help(program))
	if err != nil {
		return Options{}
	}
	return parseOptions(out)
}

func (o Options) known() bool { return len(o.kinds) > 0 }

func (o Options) has(flag string) bool { _, ok := o.kinds[flag]; return ok }

// verifiesByTLS reports whether "tls": true alone asks clients for certificates. It does from
// 20.10 on, where tlsverify is as tls where it is not given; the flag is of that version too.
func (o Options) verifiesByTLS() bool { return !o.known() || o.has("ip6tables") }

// unlisted are keys of daemon.json that no line of --help has: flags that are hidden,
// and settings that are no flags (moby, daemon/config: skipValidateOptions). Of one that this
// dockerd may not have nothing is said.
var unlisted = []string{
	"features", "builder", "deprecated-key-path", "graph", "restart", "network-diagnostic-port",
	"cluster-advertise", "cluster-store", "cluster-store-opts", "allow-nondistributable-artifacts",
	"api-cors-header", "cri-containerd", "default-network-opts", "host-gateway-ips", "cdi-spec-dirs", "firewall-backend",
}

// flagOf is the flag that a key of daemon.json stands for.
func (o Options) flagOf(key string) (flag string, ok bool) {
	for name, named := range keyOfFlag {
		if named == key && o.has(name) {
			return name, true
		}
	}
	return key, o.has(key)
}

// keys are those of daemon.json, by the names of the flags.
func (o Options) keys() (list []string) {
	for flag := range o.kinds {
		if key, ok := keyOfFlag[flag]; ok {
			flag = key
		}
		list = append(list, flag)
	}
	return list
}

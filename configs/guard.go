package configs

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"renewer/internal/pattern"
	"renewer/renewer"
)

var guardSchema = schema{
	"docker": object("docker", waitSchema.with(schema{
		"without_live_restore": enum("block", "wait_idle", "force"),
		"label":                text("the name of a label"),
	})),
	"dagu": object("dagu", schema{"wait_idle": readWaitIdle}),
}

var waitSchema = schema{"deadline": duration(time.Second, mostLifetime), "at_deadline": enum("block", "restart")}

// idleSchema are the ways to see that Dagu is idle, beside the words processes and
// coordinator.
var idleSchema = schema{
	"api": object("api", schema{
		"url": workersURL, "worker": template("the name of a worker, or *", workerName.MatchString), "token_file": pathOf(true), "ca_cert": pathOf(true),
	}),
	"command": argv,
}

var workerName = pattern.New(`^(\*|[A-Za-z0-9][A-Za-z0-9._-]*)$`)

// workersURL reads a URL of Dagu's API. It is asked with a secret, so only this machine
// itself is asked without TLS.
func workersURL(l *loader, at pos, n *yaml.Node) (any, bool) {
	if u, err := url.Parse(n.Value); err == nil && u.Scheme == "http" && isLoopbackName(u.Hostname()) && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return strings.TrimSuffix(n.Value, "/"), true
	}
	return urlReader(l, at, n)
}

func isLoopbackName(host string) bool {
	ip, ok := parseIP(host)
	return host == "localhost" || ok && ip.IsLoopback()
}

// daguDeadline is how long before its end a certificate is no longer kept from
// its service, as a share of its lifetime, where the guard does not say.
const daguDeadline = 0.1

// readGuard returns a *renewer.Guard, nil where none is named.
func readGuard(l *loader, at pos, n *yaml.Node) (any, bool) {
	v, ok := object("guard", guardSchema)(l, at, n)
	if !ok {
		return nil, false
	}
	s, g := v.(settings), &renewer.Guard{}
	if s.has("docker") {
		d := get[settings](s, "docker")
		g.Docker = &renewer.DockerGuard{
			WithoutLiveRestore: renewer.GuardChoice(getOr(d, "without_live_restore", string(renewer.GuardBlock))),
			Label:              get[string](d, "label"),
			GuardDeadline:      deadlineOf(d),
		}
	}
	if s.has("dagu") {
		d := get[settings](s, "dagu")
		if !d.has("wait_idle") {
			l.fault(s["dagu"].at, "dagu has no wait_idle", "expected dagu: {wait_idle: 2d}, or {wait_idle: {deadline: 2d, at_deadline: block, by: processes}}")
			return nil, false
		}
		g.Dagu = get[*renewer.DaguGuard](d, "wait_idle")
	}
	if g.Docker == nil && g.Dagu == nil {
		return (*renewer.Guard)(nil), true
	}
	return g, true
}

func deadlineOf(s settings) renewer.GuardDeadline {
	return renewer.GuardDeadline{Before: getOr(s, "deadline", time.Duration(0)), Then: renewer.GuardChoice(getOr(s, "at_deadline", string(renewer.GuardBlock)))}
}

// readWaitIdle returns a *renewer.DaguGuard. A duration alone is the deadline.
func readWaitIdle(l *loader, at pos, n *yaml.Node) (any, bool) {
	if n.Kind == yaml.ScalarNode {
		v, ok := waitSchema["deadline"](l, at, n)
		if !ok {
			return nil, false
		}
		return &renewer.DaguGuard{GuardDeadline: renewer.GuardDeadline{Before: v.(time.Duration), Then: renewer.GuardBlock}}, true
	}
	v, ok := object("wait_idle", waitSchema.with(schema{"by": readIdle}))(l, at, n)
	if !ok {
		return nil, false
	}
	s := v.(settings)
	g := getOr(s, "by", renewer.DaguGuard{})
	g.GuardDeadline = deadlineOf(s)
	return &g, true
}

func readIdle(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, s, ok := l.choice(at, n, "by", idleSchema, schema{}, string(renewer.IdleByProcesses), string(renewer.IdleByCoordinator))
	if !ok {
		return nil, false
	}
	g := renewer.DaguGuard{By: renewer.IdleBy(kind)}
	switch g.By {
	case renewer.IdleByCommand:
		g.Command = texts(s, kind)
	case renewer.IdleByAPI:
		api := get[settings](s, kind)
		g.URL, g.Worker = get[string](api, "url"), getOr(api, "worker", "{host}")
		g.TokenFile, g.CACert = get[string](api, "token_file"), get[string](api, "ca_cert")
		if g.URL == "" {
			l.fault(s[kind].at, "api has no url", "expected url: the list of workers, such as https://dagu:8080/api/v1/workers")
			return nil, false
		}
	}
	return g, true
}

// guard is the entry's, with placeholders replaced, for what it activates.
func (r *resolver) guard(d *draft, c *renewer.Certificate, a renewer.Activation, h *Host) *renewer.Guard {
	set := get[*renewer.Guard](&d.s, "guard")
	if set == nil {
		return nil
	}
	g, own := *set, d.own.has("guard")
	if own && g.Docker != nil && g.Docker.Label == "" && a.Kind == renewer.ActivateDocker {
		r.fault(d.where("guard"), "the docker guard of a container has no label",
			"expected label: what the containers have that must not be disturbed, such as dagster/run_id")
	}
	if g.Dagu == nil {
		return &g
	}
	dagu := *g.Dagu
	g.Dagu = &dagu
	switch { // whose worker a container's process is, only its API can be asked
	case dagu.By == "" && a.Kind == renewer.ActivateSystemd:
		dagu.By = renewer.IdleByCoordinator
	case dagu.By == "":
		dagu.By = renewer.IdleByProcesses
	case dagu.By == renewer.IdleByCoordinator && a.Kind != renewer.ActivateSystemd:
		r.fault(d.where("guard"), "by: coordinator needs activate: with a systemd unit, to find the worker's name in its settings", "expected activate: {systemd: …}, or by: {api: …}")
	}
	sees := []renewer.ActivationKind{renewer.ActivateSystemd, renewer.ActivateDocker, renewer.ActivateNone}
	if dagu.By == renewer.IdleByProcesses && !slices.Contains(sees, a.Kind) {
		if !own { // the profile's is for what the profile activates
			g.Dagu = nil
			return &g
		}
		r.fault(d.where("guard"), "the guard needs a unit or container in activate:, whose processes it can see", "expected by: {api: …} or {command: [argv...]}")
	}
	if dagu.Before == 0 {
		dagu.Before = time.Duration(daguDeadline * float64(c.Lifetime)).Truncate(time.Second)
	}
	dagu.Worker, dagu.Command = expand(dagu.Worker, h), expandAll(dagu.Command, h)
	return &g
}

package configs

import (
	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

// probeDefaultAddress is what a probe dials where it does not say.
var probeDefaultAddress = map[string]string{
	"docker":      "{address}:2376",
	"grpc_health": "{address}:50055",
}

var servedSchema = schema{
	"address":     template(aHostPort, func(s string) bool { return isHostPort(s, 1) }),
	"server_name": template("a DNS name or an IP address", isAddress),
	"mutual":      boolean,
	"client":      text("the name of a certificate"),
	"timeout":     timeoutReader,
	"via":         soon("via", enum("port-forward")),
}

var probeSchema = schema{
	"docker":      object("docker", servedSchema),
	"tls":         object("tls", servedSchema),
	"grpc_health": object("grpc_health", servedSchema),
	"command":     argv,
}

// probeSetting is a probe before its placeholders are replaced.
type probeSetting struct {
	renewer.Probe
	mutual *bool // nil: true where the placement has a ca file
	client pos   // place of the client key
}

// readProbe returns a probeSetting.
func readProbe(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, s, ok := l.choice(at, n, "probe", probeSchema, schema{"timeout": timeoutReader}, "file", "none")
	if !ok {
		return nil, false
	}
	p := probeSetting{Probe: renewer.Probe{Kind: renewer.ProbeKind(kind)}}
	inner := settings{}
	switch kind {
	case "command":
		p.Command = texts(s, kind)
	case "docker", "tls", "grpc_health":
		inner = get[settings](s, kind)
		l.refuse(s[kind].at, "probe "+kind)
		p.Address = getOr(inner, "address", probeDefaultAddress[kind])
		p.ServerName, p.Client = get[string](inner, "server_name"), get[string](inner, "client")
		p.client = inner["client"].at
		if p.Address == "" {
			l.fault(s[kind].at, "the probe has no address", "expected address: "+aHostPort)
			return nil, false
		}
		if m, there := inner["mutual"]; there {
			mutual := m.value.(bool)
			p.mutual = &mutual
			if !mutual && p.Client != "" {
				l.fault(m.at, "client is set, but mutual is false", "expected one or the other")
				return nil, false
			}
		}
	}
	if inner.has("timeout") && s.has("timeout") {
		l.fault(s["timeout"].at, "timeout is given twice in probe", "expected it once")
	}
	p.Timeout = getOr(inner, "timeout", getOr(s, "timeout", defaultProbeTimeout))
	return p, true
}

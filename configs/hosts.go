package configs

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

var anyHostSchema = schema{
	"address": textLike(anAddress, isAddress),
	"names":   set("DNS names", 0, textLike("a DNS name", func(s string) bool { return isDNSName(s) && !isIP(s) })),
	"root":    pathOf(false),
}

// hostSchemas are the keys of each type of host.
var hostSchemas = map[string]schema{
	"local":      anyHostSchema,
	"kubernetes": anyHostSchema,
	"ssh": anyHostSchema.with(schema{
		"port": integer(1, 65535), "user": named(accountName, "the name of an account"), "sudo": boolean,
		"sftp_server": pathOf(false), "identity_file": pathOf(true), "known_hosts_file": pathOf(true),
		"jump": text("the name of a host"),
	}),
}

// hostSetting is a host and the place of its jump.
type hostSetting struct {
	Host
	jump pos
}

// hostReader returns a hostSetting without its name.
func hostReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, s, ok := l.variant(at, n, "a host", "type", "ssh", hostSchemas)
	if kind == "ssh" || kind == "kubernetes" {
		l.refuse(s["type"].at.or(at), "host type "+kind)
	}
	if !ok {
		return nil, false
	}
	h := Host{
		Host: renewer.Host{Address: get[string](s, "address"), Names: texts(s, "names")},
		Type: kind, User: get[string](s, "user"), Sudo: get[bool](s, "sudo"),
		SFTPServer: get[string](s, "sftp_server"), IdentityFile: get[string](s, "identity_file"),
		KnownHostsFile: get[string](s, "known_hosts_file"), Jump: get[string](s, "jump"), Root: getOr(s, "root", "/"),
	}
	if kind == "ssh" {
		h.Port = get[int](s, "port")
	}
	return hostSetting{h, s["jump"].at}, true
}

// hosts names the hosts and follows their jumps.
func (l *loader) hosts(s settings) []Host {
	var out []Host
	by := map[string]hostSetting{}
	var names []string
	for _, it := range get[[]item](s, "hosts") {
		names = append(names, it.name)
		h, _ := it.value.(hostSetting)
		h.Name = it.name
		if h.Address == "" {
			h.Address = it.name
		}
		by[it.name] = h
		out = append(out, h.Host)
	}
	for _, name := range names {
		h := by[name]
		if h.Jump == "" {
			continue
		}
		if next, ok := by[h.Jump]; !ok {
			l.fault(h.jump, "unknown host "+quote(h.Jump), l.suggest(h.Jump, names))
		} else if next.Type != "" && next.Type != "ssh" {
			l.fault(h.jump, "host "+quote(h.Jump)+" is not reached over ssh", "expected a host of type ssh to jump over")
		} else if l.circular(name, by) {
			l.fault(h.jump, "the jumps from host "+quote(name)+" lead in a circle", "expected an end: a host without jump")
		}
	}
	return out
}

func (l *loader) circular(from string, by map[string]hostSetting) bool {
	seen := []string{}
	for at := from; at != ""; at = by[at].Jump {
		if slices.Contains(seen, at) {
			return true
		}
		seen = append(seen, at)
		if len(seen) > 16 { // deeper than any network
			return true
		}
	}
	return false
}

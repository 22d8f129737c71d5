package configs

import (
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

var anyHostSchema = schema{
	"address": textLike(anAddress, isAddress),
	"names":   set("DNS names", 0, textLike("a DNS name", func(s string) bool { return isDNSName(s) && !isIP(s) })),
	"root":    pathOf(false),
	"retired": boolean,
}

// hostVariants are the keys of each type of host.
var hostVariants = newVariants("a host", "type", "ssh", map[string]schema{
	"local":      anyHostSchema,
	"kubernetes": anyHostSchema.with(schema{"kubeconfig": pathOf(true), "context": text("the name of a context"), "namespace": textLike("the name of a namespace", isDNSName)}),
	"ssh": anyHostSchema.with(schema{
		"port": integer(1, 65535), "user": named(accountName, "the name of an account"), "sudo": boolean,
		"sftp_server": pathOf(false), "identity_file": pathOf(true), "known_hosts_file": pathOf(true),
		"jump": text("the name of a host"),
	}),
})

// hostSetting is a host and the place of its jump.
type hostSetting struct {
	Host
	jump pos
}

// hostReader returns a hostSetting without its name.
func hostReader(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, s, ok := l.variant(at, n, &hostVariants)
	l.refuse(s["type"].at.or(at), "host type "+kind)
	if !ok {
		return nil, false
	}
	h := Host{
		Host: renewer.Host{Address: get[string](s, "address"), Names: texts(s, "names")},
		Type: kind, User: get[string](s, "user"), Sudo: get[bool](s, "sudo"),
		SFTPServer: get[string](s, "sftp_server"), IdentityFile: get[string](s, "identity_file"),
		KnownHostsFile: get[string](s, "known_hosts_file"), Jump: get[string](s, "jump"), Root: getOr(s, "root", "/"), Retired: get[bool](s, "retired"),
	}
	if kind == "ssh" {
		h.Port = get[int](s, "port")
	}
	return hostSetting{h, s["jump"].at}, true
}

// hosts names the hosts and follows their jumps.
func (l *loader) hosts(list []item) ([]Host, map[string]int) {
	out, by, jumps := slices.Grow([]Host(nil), len(list))[:len(list)], make(map[string]int, len(list)), []int{}
	for i, it := range list {
		h, _ := it.value.(hostSetting)
		h.Name = it.name
		if h.Address == "" {
			h.Address = it.name
		}
		h.machine = h.Type + ":" + h.Root
		if h.Type != "local" {
			h.machine = fmt.Sprintf("%s:%s:%d%s", h.Jump, h.Address, h.Port, h.Root)
		}
		if h.Jump != "" {
			jumps = append(jumps, i)
		}
		out[i], by[it.name] = h.Host, i
	}
	for _, i := range jumps {
		h, at := &out[i], list[i].value.(hostSetting).jump
		if next, ok := by[h.Jump]; !ok {
			l.fault(at, "unknown host "+quote(h.Jump), l.suggest(h.Jump, slices.Collect(maps.Keys(by))))
		} else if t := out[next].Type; t != "" && t != "ssh" {
			l.fault(at, "host "+quote(h.Jump)+" is not reached over ssh", "expected a host of type ssh to jump over")
		} else if out[next].Retired && !h.Retired {
			l.fault(at, "host "+quote(h.Jump)+" is retired", "expected a host that is not retired")
		} else if circular(out, by, i) {
			l.fault(at, "the jump hosts from host "+quote(h.Name)+" form a loop", "expected the last one to be a host without jump")
		}
	}
	return out, by
}

func circular(hosts []Host, by map[string]int, from int) bool {
	h := hosts[from]
	for range 16 { // deeper than any network
		next, ok := by[h.Jump]
		if !ok {
			return false
		}
		h = hosts[next]
	}
	return true
}

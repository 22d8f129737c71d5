package configs

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// notYet holds the features of the fleet file whose machinery does not exist,
// each with what to write instead. Their keys are read and checked all the
// same: when the machinery comes, its row goes, and that is all.
var notYet = map[string]string{ //nolint:gosec // names of keys, and no credentials
	"store":                "expected no such key: the inventory is in state_dir",
	"watch":                noSuchKey,
	"recipients":           "expected identity_file alone",
	"host type kubernetes": "expected type: ssh or local",
	"activate kubernetes":  "expected activate: systemd, signal, command, docker or none",
	"via":                  noSuchKey,
	"secret":               "expected dir: a directory on a host",
	"file pkcs12":          "expected files in PEM",
	"file jks":             "expected files in PEM",
	"password_file":        noSuchKey,
	"file combined":        "expected bundle: the key, then the certificate",
}

const noSuchKey = "expected no such key"

// soon reads what is refused for now.
func soon(feature string, read reader) reader {
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		v, ok := read(l, at, n)
		if ok {
			l.refuse(at, feature)
		}
		return v, ok
	}
}

var storeSchema = schema{
	"etcd": object("etcd", schema{
		"endpoints": set("URLs", 1, urlReader), "prefix": pathOf(false), "ca_cert": pathOf(true), "cert": pathOf(true), "key": pathOf(true),
		"username_file": pathOf(true), "password_file": pathOf(true),
	}),
}

var watchSchema = schema{
	"name":    named(plainName, aName),
	"address": textLike(aHostPort, func(s string) bool { return isHostPort(s, 1) }), "server_name": textLike("a DNS name or an IP address", isAddress),
	"starttls": enum("smtp", "imap", "postgresql"), "ca_cert": pathOf(true),
	"host": text("the name of a host"), "file": pathOf(false), "expiring": duration(day, mostLifetime),
}

var workloadsSchema = schema{
	"workloads": set("workloads", 1, textLike("a workload such as deployment/NAME", func(s string) bool {
		kind, name, _ := strings.Cut(s, "/")
		return (kind == "deployment" || kind == "statefulset" || kind == "daemonset") && isDNSName(name)
	})),
	"action": enum("rollout-restart", "none"),
}

// keystore reads a file with a password: its name, or both.
func keystore(kind string, name reader) reader {
	keys := schema{"name": name, "password_file": pathOf(true)}
	return func(l *loader, at pos, n *yaml.Node) (any, bool) {
		if n.Kind == yaml.MappingNode {
			v, ok := l.object(at, n, kind, keys)
			return v, ok
		}
		return name(l, at, n)
	}
}

package dockerhost

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"renewer/internal/near"
	"renewer/renewer"
)

// reading is what a start of dockerd goes by: a daemon.json that can be read, and flags.
type reading struct {
	path    string
	d       document
	flags   []directive
	options Options
	missing []string // files that it names and that are not there
}

// fault is what keeps dockerd from starting, and the line to change.
type fault struct {
	text, fix string
	seen      bool // with another version of dockerd than this one
}

// faults of daemon.json, in its order. Keys and kinds are those of this dockerd; what it
// takes beyond them was seen with versions that have no --validate, and later ones say it themselves.
func (r reading) faults() (found []fault) {
	list, _ := r.d.members()
	for _, m := range list {
		line, _ := position(r.d, m.start+1)
		at := fmt.Sprintf("%s:%d", r.path, line)
		raw := json.RawMessage(r.d[m.value:m.end])
		flag, ok := r.options.flagOf(m.key)
		switch {
		case !r.options.known() || slices.Contains(unlisted, m.key):
			continue
		case !ok:
			if !r.knownIn(raw) {
				found = append(found, fault{text: fmt.Sprintf("%s: dockerd has no option %q", at, m.key), fix: r.instead(m.key, at)})
			}
			continue
		case flag == m.key && keyOfFlag[flag] != "": // the flag's own name is known, and never read
			continue
		}
		kind := r.options.kinds[flag]
		v, ok := valueOf(kind, raw)
		if !ok {
			found = append(found, fault{text: fmt.Sprintf("%s: %q is not %s", at, m.key, kinds[kind].wanted), fix: fmt.Sprintf("write %s there: %q in %s", kinds[kind].wanted, m.key, at)})
		} else if rule, ok := rules[m.key]; ok && !rule.takes(v) {
			found = append(found, fault{seen: r.options.has("validate"), text: fmt.Sprintf("%s: %q has %s, and dockerd takes %s", at, m.key, raw, rule.wanted), fix: fmt.Sprintf("correct it, or remove %q from %s", m.key, at)})
		}
	}
	return append(found, slices.Concat(r.together(), r.absent())...)
}

// knownIn reports whether an object under an unknown key holds keys that are known, which
// dockerd then looks at instead: "proxies" is one.
func (r reading) knownIn(raw json.RawMessage) bool {
	var inner map[string]json.RawMessage
	if json.Unmarshal(raw, &inner) != nil || inner == nil {
		return false
	}
	for key := range inner {
		if _, ok := r.options.flagOf(key); !ok && !slices.Contains(unlisted, key) {
			return false
		}
	}
	return true
}

func (r reading) instead(key, at string) string {
	if meant, ok := near.Word(key, r.options.keys()); ok {
		return fmt.Sprintf("write %q instead of %q in %s, or remove it", meant, key, at)
	}
	return fmt.Sprintf("remove %q from %s; dockerd --help lists the supported options", key, at)
}

// together are keys that do not go with each other.
func (r reading) together() (found []fault) {
	if r.options.has("validate") || !r.options.known() {
		return nil
	}
	clash := func(when bool, text, fix string) {
		if when {
			found = append(found, fault{text: r.path + ": " + text, fix: fix + " in " + r.path})
		}
	}
	var runtimes map[string]any
	_, _ = r.d.get("runtimes", &runtimes)
	_, reserved := runtimes["runc"]
	clash(reserved, `"runtimes" has "runc", which is dockerd's own name`, `give it another name`)
	if name := r.text("default-runtime"); name != "" && name != "runc" && !strings.HasPrefix(name, "io.containerd.") && !r.flagged("runtimes") {
		_, there := runtimes[name]
		clash(!there, fmt.Sprintf(`"default-runtime" is %q, which is not among "runtimes"`, name), `add it to "runtimes", or remove "default-runtime",`)
	}
	clash(r.text("bridge") != "" && r.text("bip") != "", `"bridge" and "bip" exclude each other`, `remove one of them`)
	clash(r.off("iptables") && r.off("icc"), `"icc": false needs "iptables"`, `set one of them to true`)
	experimental, _ := r.boolean("experimental")
	ip6tables, _ := r.boolean("ip6tables")
	clash(ip6tables && !experimental, `"ip6tables" needs "experimental": true`, `add it`)
	return found
}

// files are those that dockerd reads at its start, by key.
func (r reading) files() map[string]string {
	out := map[string]string{}
	keys := []string{"seccomp-profile"}
	if on, _ := r.tls(); on {
		keys = append(keys, "tlscacert", "tlscert", "tlskey")
	}
	for _, key := range keys {
		if file := r.text(key); strings.HasPrefix(file, "/") {
			out[key] = file
		}
	}
	return out
}

// absent are files that are needed, and not there or not named.
func (r reading) absent() (found []fault) {
	files := r.files()
	for _, key := range []string{"tlscacert", "tlscert", "tlskey", "seccomp-profile"} {
		if file := files[key]; slices.Contains(r.missing, file) && file != "" {
			found = append(found, fault{text: fmt.Sprintf("%q names %s, which does not exist", key, file), fix: fmt.Sprintf("create the file, or correct the path in %q of %s", key, r.path)})
		}
	}
	if on, _ := r.tls(); on && !r.flagged("tls") && !r.flagged("tlsverify") {
		for _, key := range []string{"tlscert", "tlskey"} {
			if r.text(key) == "" {
				found = append(found, fault{text: fmt.Sprintf("%s turns on TLS but has no %q", r.path, key), fix: fmt.Sprintf("add %q to %s", key, r.path)})
			}
		}
	}
	return found
}

// tls says what dockerd makes of tls and tlsverify (moby, cmd/dockerd: loadDaemonCliConfig): tlsverify
// switches TLS on whatever its value, and is as tls where it is not given.
func (r reading) tls() (on, verified bool) {
	on, _ = r.boolean("tls")
	verified, given := r.boolean("tlsverify")
	if given {
		return true, verified
	}
	return on, on && r.options.verifiesByTLS()
}

// flagged reports whether the key is given as a flag.
func (r reading) flagged(key string) bool {
	return slices.ContainsFunc(r.flags, func(fl directive) bool { return fl.key == key })
}

// boolean is a setting by flag or key; null is the default of tlsverify, and here true.
func (r reading) boolean(key string) (on, given bool) {
	for _, fl := range r.flags {
		if fl.key == key {
			set, err := strconv.ParseBool(fl.value)
			on, given = fl.value == "" || err == nil && set, true
		}
	}
	var set *bool
	if ok, err := r.d.get(key, &set); ok && err == nil {
		return set == nil && key == "tlsverify" || set != nil && *set, true
	}
	return on, given
}

func (r reading) off(key string) bool {
	on, given := r.boolean(key)
	return given && !on
}

// text is a setting by flag or key.
func (r reading) text(key string) (s string) {
	for _, fl := range r.flags {
		if fl.key == key {
			s = fl.value
		}
	}
	_, _ = r.d.get(key, &s)
	return s
}

// exposure says how dockerd would answer at an address without asking for a certificate of
// the fleet; empty where it asks.
func (r reading) exposure(address string) string {
	on, verified := r.tls()
	switch {
	case !on:
		return fmt.Sprintf("%s would accept every client, without TLS: %s", address, r.lacks())
	case !verified:
		return fmt.Sprintf("%s would accept clients without a certificate: %s", address, r.lacks())
	case r.text("tlscacert") == "" && !r.flagged("tls") && !r.flagged("tlsverify"):
		return fmt.Sprintf("%s would accept certificates of every public CA: %s has no \"tlscacert\"", address, r.path)
	}
	return ""
}

// lacks says where tlsverify is switched off.
func (r reading) lacks() string {
	switch {
	case r.off("tlsverify") && r.flagged("tlsverify"):
		return "it is started with --tlsverify=false"
	case r.off("tlsverify"):
		list, _ := r.d.members()
		i := slices.IndexFunc(list, func(m member) bool { return m.key == "tlsverify" })
		line, _ := position(r.d, list[i].start+1)
		return fmt.Sprintf("%s:%d has \"tlsverify\": false", r.path, line)
	}
	return fmt.Sprintf("%s has no \"tlsverify\": true", r.path)
}

// keeps reports whether that must not come about: on a port that others reach, or on one
// where the placement's own probe shows a certificate. A loopback address of another dockerd is its owner's.
func (r reading) keeps(p renewer.Placement, address string) bool {
	if on, _ := r.tls(); p.Probe.Kind == renewer.ProbeDocker {
		return p.Probe.Mutual || !on
	}
	return !isLoopback(address)
}

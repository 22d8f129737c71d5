package dockerhost

import (
	"slices"
	"strings"
)

// word is one argument of a command line: as it is written in the unit's file,
// and without its quotes.
type word struct{ raw, text string }

// split cuts a command line into words as systemd does (systemd.service(5),
// COMMAND LINES), as far as dockerd's own flags need it: an escape stays as it
// is written. ok is false for a quote that is not closed.
func split(line string) (words []word, ok bool) {
	var raw, text strings.Builder
	quote := rune(0)
	escaped := false
	end := func() {
		if raw.Len() > 0 {
			words = append(words, word{raw.String(), text.String()})
			raw.Reset()
			text.Reset()
		}
	}
	for _, r := range line {
		if quote == 0 && !escaped && (r == ' ' || r == '\t') {
			end()
			continue
		}
		raw.WriteRune(r)
		switch {
		case escaped:
			escaped = false
			text.WriteRune(r)
		case r == '\\':
			escaped = true
			text.WriteRune(r)
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case quote == r && quote != 0:
			quote = 0
		default:
			text.WriteRune(r)
		}
	}
	end()
	return words, quote == 0 && !escaped
}

// directive is one flag on a command line.
type directive struct {
	key   string // its name in daemon.json
	value string // empty where a boolean has none
	words []word // it takes one, or two
}

// parse cuts the words after the program's name into flags; what is none has
// an empty key.
func parse(words []word) []directive {
	var out []directive
	for i := 0; i < len(words); i++ {
		f := directive{words: words[i : i+1]}
		name, value, given := strings.Cut(words[i].text, "=")
		switch {
		case strings.HasPrefix(name, "--") && len(name) > 2:
			name = name[2:]
		case len(name) >= 2 && name[0] == '-' && shorthands[name[1]] != "":
			if short := name[:2]; len(name) > 2 { // -Hfd://
				value, given = words[i].text[len(short):], true
			}
			name = shorthands[name[1]]
		default:
			out = append(out, f)
			continue
		}
		f.key, f.value = name, value
		if key, ok := keyOfFlag[name]; ok {
			f.key = key
		}
		// What looks like a flag is not taken for a value: a boolean that is not
		// in the list must not swallow it.
		if !given && !slices.Contains(booleans, name) && i+1 < len(words) && !strings.HasPrefix(words[i+1].text, "-") && !strings.HasPrefix(words[i+1].text, "$") {
			f.value, f.words = words[i+1].text, words[i:i+2]
			i++
		}
		out = append(out, f)
	}
	return out
}

// dockerd's flags (dockerd(8)): those whose name in daemon.json is another,
// those of one letter, and those that take no value of their own.
var (
	keyOfFlag = map[string]string{
		"host": "hosts", "label": "labels", "dns-opt": "dns-opts", "storage-opt": "storage-opts", "exec-opt": "exec-opts",
		"log-opt": "log-opts", "insecure-registry": "insecure-registries", "registry-mirror": "registry-mirrors",
		"authorization-plugin": "authorization-plugins", "default-ulimit": "default-ulimits", "add-runtime": "runtimes",
		"cluster-store-opt": "cluster-store-opts", "default-address-pool": "default-address-pools",
		"node-generic-resource": "node-generic-resources", "cdi-spec-dir": "cdi-spec-dirs",
		"default-network-opt": "default-network-opts",
	}
	shorthands = map[byte]string{
		'H': "host", 'D': "debug", 'l': "log-level", 'G': "group", 'p': "pidfile", 's': "storage-driver", 'b': "bridge", 'g': "graph",
	}
	booleans = []string{
		"debug", "tls", "tlsverify", "live-restore", "icc", "ip-forward", "ip-masq", "iptables", "ip6tables", "ipv6",
		"userland-proxy", "selinux-enabled", "experimental", "no-new-privileges", "raw-logs", "init", "rootless", "validate",
		"disable-legacy-registry", "ip-forward-no-drop", "allow-direct-routing", "help", "version",
	}
)

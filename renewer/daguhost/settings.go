package daguhost

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting is one value and where it was found; empty if nowhere.
type Setting struct{ Value, From string }

// Settings are those of peer TLS, and of who dials whom.
type Settings struct {
	Insecure, CertFile, KeyFile, ClientCAFile, SkipTLSVerify Setting
	Coordinators, Advertise, WorkerID                        Setting // comma-separated addresses; one name each
}

// on reports whether a setting is true; what it is by default if it is unset.
func (s Setting) on(byDefault bool) bool {
	v, err := strconv.ParseBool(s.Value)
	if err != nil {
		return byDefault
	}
	return v
}

// source is one place of settings: where, and each by its key in config.yaml.
type source struct {
	from   string
	values map[string]string
}

// merge takes each setting from the first source that has it.
func merge(sources ...source) (s Settings) {
	for key, at := range map[string]*Setting{
		"peer.insecure": &s.Insecure, "peer.cert_file": &s.CertFile, "peer.key_file": &s.KeyFile,
		"peer.client_ca_file": &s.ClientCAFile, "peer.skip_tls_verify": &s.SkipTLSVerify,
		"worker.coordinators": &s.Coordinators, "coordinator.advertise": &s.Advertise,
		"worker.id": &s.WorkerID,
	} {
		for _, src := range sources {
			if v, ok := src.values[key]; ok {
				*at = Setting{v, src.from}
				break
			}
		}
	}
	return s
}

// fromEnvironment keeps what is a setting: DAGU_PEER_CERT_FILE is
// peer.cert_file.
func fromEnvironment(from string, env map[string]string) source {
	values := map[string]string{}
	for name, v := range env {
		rest, ok := strings.CutPrefix(name, "DAGU_")
		section, key, more := strings.Cut(strings.ToLower(rest), "_")
		if ok && more && slices.Contains([]string{"peer", "worker", "coordinator"}, section) && v != "" {
			values[section+"."+key] = v
		}
	}
	return source{from, values}
}

// shorthands are the flags of one letter that count here.
var shorthands = map[string]string{"-c": "--config", "-A": "--coordinator.advertise", "-w": "--worker.id"}

// fromFlags reads --peer.cert-file=FILE, with = or a space; a boolean flag
// alone is true.
func fromFlags(from string, argv []string) source {
	values := map[string]string{}
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		if len(arg) >= 2 && shorthands[arg[:2]] != "" { // -w ID, -w=ID, -wID
			value := strings.TrimPrefix(arg[2:], "=")
			if arg = shorthands[arg[:2]]; value != "" {
				arg += "=" + value
			}
		}
		name, ok := strings.CutPrefix(arg, "--")
		if !ok {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		if !given {
			value = "true"
			if i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "-") {
				i++
				value = argv[i]
			}
		}
		values[strings.ReplaceAll(name, "-", "_")] = value
	}
	return source{from, values}
}

// fromConfig reads a config.yaml.
func fromConfig(from string, text []byte) (source, error) {
	var file map[string]any
	if err := yaml.Unmarshal(text, &file); err != nil {
		return source{}, fmt.Errorf("%s: %w", from, err)
	}
	values := map[string]string{}
	for section, v := range file {
		keys, ok := v.(map[string]any)
		if !ok || !slices.Contains([]string{"peer", "worker", "coordinator"}, section) {
			continue
		}
		for key, v := range keys {
			switch v := v.(type) {
			case []any:
				var all []string
				for _, x := range v {
					all = append(all, fmt.Sprint(x))
				}
				values[section+"."+key] = strings.Join(all, ",")
			case string, bool, int:
				values[section+"."+key] = fmt.Sprint(v)
			}
		}
	}
	return source{from, values}, nil
}

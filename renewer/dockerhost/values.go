package dockerhost

import (
	"encoding/json"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"renewer/internal/pattern"
)

// kinds are the JSON values that dockerd decodes a key into, by the kind that --help
// names for its flag. Of another kind nothing is said.
var kinds = map[string]struct {
	into   func() any
	wanted string
}{
	"":             {func() any { return new(bool) }, "true or false"},
	"string":       {func() any { return new(string) }, "a string in quotes"},
	"ip":           {func() any { return new(string) }, "an IP address in quotes"},
	"bytes":        {func() any { return new(string) }, `a size in quotes, such as "64M"`},
	"int":          {func() any { return new(int64) }, "a whole number, without quotes"},
	"list":         {func() any { return new([]string) }, `a list of texts: ["…"]`},
	"map":          {func() any { return new(map[string]string) }, `an object of texts, numbers in quotes too: {"…": "…"}`},
	"ulimit":       {func() any { return new(map[string]map[string]any) }, "an object of objects"},
	"runtime":      {func() any { return new(map[string]map[string]any) }, "an object of objects"},
	"pool-options": {func() any { return new([]map[string]any) }, "a list of objects"},
}

// value is what a key holds, decoded: texts, and one number.
type value struct {
	texts  []string
	number *int64
}

// rule says which values dockerd starts with, beyond their kind.
type rule struct {
	takes  func(v value) bool
	wanted string
}

// rules are what was seen to keep dockerd 20.10 from starting, one key after the
// other; what it starts with is not here, however little sense it makes.
var rules = map[string]rule{
	"log-level":                {each(oneOf("debug", "info", "warn", "warning", "error", "fatal", "panic", "trace")), "debug, info, warn, error or fatal"},
	"dns":                      {each(isIP), "IP addresses"},
	"ip":                       {each(isIP), "an IP address"},
	"default-gateway":          {each(isIP), "an IP address"},
	"default-gateway-v6":       {each(isIP), "an IP address"},
	"host-gateway-ip":          {each(isIP), "an IP address"},
	"dns-search":               {each(domain.MatchString), "domain names"},
	"labels":                   {each(hasEquals), "key=value"},
	"node-generic-resources":   {each(hasEquals), "name=value"},
	"bip":                      {each(isCIDR), "an address with its network, such as 172.26.0.1/16"},
	"fixed-cidr":               {each(isCIDR), "a network, such as 172.26.0.0/16"},
	"fixed-cidr-v6":            {each(isCIDR), "a network, such as fd00::/64"},
	"storage-driver":           {each(storageDriver), "overlay2, fuse-overlayfs, btrfs, zfs or vfs"},
	"registry-mirrors":         {each(isMirror), "URLs without a path, such as https://mirror.example.com"},
	"default-ipc-mode":         {each(oneOf("private", "shareable")), "private or shareable"},
	"default-cgroupns-mode":    {each(oneOf("private", "host")), "private or host"},
	"exec-opts":                {each(isExecOpt), "native.cgroupdriver=systemd or native.cgroupdriver=cgroupfs"},
	"metrics-addr":             {each(hasPort), "an address with a port"},
	"default-shm-size":         {each(size.MatchString), "a size, such as 64M"},
	"hosts":                    {each(isHost), "addresses with tcp://, unix:// or fd://"},
	"max-concurrent-downloads": {between(0, math.MaxInt64), "0 or more"},
	"max-concurrent-uploads":   {between(0, math.MaxInt64), "0 or more"},
	"max-download-attempts":    {between(1, math.MaxInt64), "1 or more"},
	"oom-score-adjust":         {between(-1000, 1000), "a number from -1000 to 1000"},
}

var (
	domain = pattern.New(`^\s*(\.|[A-Za-z0-9:][A-Za-z0-9:._-]*)\s*$`)
	size   = pattern.New(`^\d+(\.\d+)* ?([kKmMgGtTpP]?[iI]?[bB]?)$`)
)

func each(good func(string) bool) func(value) bool {
	return func(v value) bool { return !slices.ContainsFunc(v.texts, func(s string) bool { return !good(s) }) }
}

func between(least, most int64) func(value) bool {
	return func(v value) bool { return v.number == nil || *v.number >= least && *v.number <= most }
}

func oneOf(words ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(words, strings.ToLower(s)) }
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(strings.TrimSpace(s))
	return err == nil
}

func isCIDR(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}

func hasEquals(s string) bool { return strings.Contains(s, "=") }

func hasPort(s string) bool { return strings.Contains(s, ":") }

// storageDriver reports whether there may be such a one: a plugin has a name of its own.
func storageDriver(s string) bool {
	return strings.ContainsAny(s, "/:") || slices.Contains([]string{"overlay2", "overlay", "fuse-overlayfs", "btrfs", "zfs", "vfs", "aufs", "devicemapper", "overlayfs"}, s)
}

func isMirror(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && (u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}

func isExecOpt(s string) bool {
	name, driver, _ := strings.Cut(s, "=")
	return !strings.EqualFold(strings.TrimSpace(name), "native.cgroupdriver") || driver == "systemd" || driver == "cgroupfs"
}

func isHost(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return !ok || slices.Contains([]string{"tcp", "unix", "fd", "vsock"}, scheme)
}

// valueOf decodes a value of one kind. ok is false where dockerd could not; null
// and an empty text are the default, and hold no value.
func valueOf(kind string, raw json.RawMessage) (v value, ok bool) {
	k, known := kinds[kind]
	if !known || string(raw) == "null" {
		return value{}, true
	}
	into := k.into()
	if err := json.Unmarshal(raw, into); err != nil {
		return value{}, false
	}
	switch got := into.(type) {
	case *string:
		if *got != "" {
			v.texts = []string{*got}
		}
	case *[]string:
		v.texts = *got
	case *int64:
		v.number = got
	}
	return v, true
}

package dockerhost

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"renewer/renewer"
)

// looked is a machine that is only looked at.
type looked struct {
	Machine
	files map[string]string
	env   string
	says  string // dockerd --validate, where it fails
	help  string // dockerd --help
}

// Has is true of all but what says that it is missing.
func (l looked) Has(_ context.Context, name string) (bool, error) {
	return !strings.Contains(name, "nope") && (!strings.HasSuffix(name, swarmState) || l.files["swarm"] == name), nil
}

func (l looked) ReadFile(_ context.Context, name string) ([]byte, fs.FileMode, error) {
	text, ok := l.files[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return []byte(text), 0o644, nil
}

func (l looked) Output(_ context.Context, argv []string) (string, error) {
	line := strings.Join(argv, " ")
	switch {
	case strings.Contains(line, "--property=Environment"):
		return l.env, nil
	case strings.Contains(line, "--type=socket"):
		return l.files["sockets"], nil
	case strings.HasSuffix(line, "--help"):
		return l.help, nil
	case strings.Contains(line, "--validate"):
		if l.says != "" {
			return l.says, errors.New("exit status 1")
		}
		return "configuration OK\n", nil
	}
	return "", errors.New("unknown command " + line)
}

// help2010 is what dockerd 20.10.24 of Debian says, one line a flag.
func help2010(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/dockerd-20.10-help")
	must(t, err)
	return string(text)
}

// Each was tried with dockerd 20.10.24: it starts with the ones, and not with the others.
func TestWhatDockerdStartsWith(t *testing.T) {
	t.Parallel()
	options := parseOptions(help2010(t))
	if !options.has("iptables") || options.kinds["iptables"] != "" || options.kinds["debug"] != "" || options.kinds["dns"] != "list" || options.has("validate") {
		t.Fatalf("options %v", options)
	}
	for _, text := range strings.Split(strings.TrimSpace(`
{"debug": true, "log-level": "TRACE", "dns": ["10.0.0.1", " ::1"], "labels": ["a=b"], "mtu": -5}
{"log-level": "", "debug": null, "default-gateway": "", "mtu": null, "max-download-attempts": null, "dns": null}
{"host": ["x"]}
{"foo": {"tls": true}}
{"bip": "10.3.0.1/24", "fixed-cidr": "10.3.0.0/25", "storage-driver": "vfs", "log-driver": "nope", "log-opts": {"max-size": "10q"}}
{"default-runtime": "io.containerd.runc.v2"}
{"runtimes": {"k": {"path": "x"}}, "default-runtime": "k"}
{"insecure-registries": ["http://x"], "registry-mirrors": ["https://x", "https://x/"]}
{"exec-opts": ["foo=bar", "native.cgroupdriver=systemd"], "metrics-addr": "127.0.0.1:9323", "default-shm-size": "64M"}
{"default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1, "Soft": 2}}, "features": {"whatever": true}}
{"default-address-pools": [{"base": "10.1.0.0/16", "size": 24}], "ipv6": true, "cpu-rt-period": 1}
{"init-path": "/nope", "userland-proxy-path": "/nope", "cgroup-parent": "x", "deprecated-key-path": "/x"}
{"graph": "/tmp", "network-diagnostic-port": 1, "restart": true}
{"iptables": false, "icc": true, "ip6tables": true, "experimental": true, "bridge": "none", "oom-score-adjust": -500}
{"tls": false, "tlscacert": "/nope", "dns-search": [".", "a.example.com"], "hosts": ["fd://", "127.0.0.1:1", "unix:///x"]}
`), "\n") {
		if found := faultsOf(t, options, text); len(found) > 0 {
			t.Errorf("%s: %v", text, found)
		}
	}
	for text, want := range map[string]string{
		`{"live-restor": true}`:                      `d.json:1: dockerd has no option "live-restor"; write "live-restore" instead`,
		`{"Debug": true}`:                            `write "debug" instead`,
		`{"wholly-unknown": {"neither": 1}}`:         "dockerd --help lists",
		`{"resolv-conf": "/x"}`:                      "resolv-conf",
		"{\n\n \"live-restore\": \"yes\"}":           `d.json:3: "live-restore" is not true or false`,
		`{"debug": 1, "debug": true}`:                "debug",
		`{"mtu": "1500"}`:                            "a whole number",
		`{"mtu": 1.5}`:                               "a whole number",
		`{"hosts": "fd://"}`:                         "a list of texts",
		`{"dns": ["x"]}`:                             "IP addresses",
		`{"dns-search": ["-x!"]}`:                    "domain names",
		`{"labels": ["x"]}`:                          "key=value",
		`{"log-level": "loud"}`:                      "debug, info",
		`{"bip": "10.0.0.1"}`:                        "an address with its network",
		`{"fixed-cidr": "10.0.0.1"}`:                 "a network",
		`{"default-runtime": "kata"}`:                "not among",
		`{"runtimes": {"runc": {"path": "x"}}}`:      "dockerd's own name",
		`{"storage-driver": "overlay3"}`:             "overlay2",
		`{"log-opts": {"max-file": 3}}`:              "numbers in quotes",
		`{"seccomp-profile": "/nope"}`:               "/nope, which does not exist",
		`{"registry-mirrors": ["x"]}`:                "URLs",
		`{"registry-mirrors": ["https://x/a"]}`:      "URLs",
		`{"default-ipc-mode": "host"}`:               "private or shareable",
		`{"default-cgroupns-mode": "x"}`:             "private or host",
		`{"max-concurrent-downloads": -1}`:           "0 or more",
		`{"max-download-attempts": 0}`:               "1 or more",
		`{"exec-opts": ["native.cgroupdriver=foo"]}`: "native.cgroupdriver=systemd",
		`{"iptables": false, "icc": false}`:          "icc",
		`{"bridge": "none", "bip": "10.3.0.1/24"}`:   "exclude each other",
		`{"metrics-addr": "nope"}`:                   "with a port",
		`{"default-shm-size": 64}`:                   "a size in quotes",
		`{"default-shm-size": "lots"}`:               "a size",
		`{"default-ulimits": {"nofile": 5}}`:         "an object of objects",
		`{"default-gateway": "x"}`:                   "an IP address",
		`{"ip": "x"}`:                                "an IP address",
		`{"host-gateway-ip": "10.0.0.300"}`:          "an IP address",
		`{"default-address-pools": {"base": "x"}}`:   "a list of objects",
		`{"oom-score-adjust": 5000}`:                 "-1000 to 1000",
		`{"node-generic-resources": ["x"]}`:          "name=value",
		`{"ip6tables": true}`:                        "experimental",
		`{"tls": true}`:                              "tlscert",
		`{"tlsverify": false}`:                       "tlscert",
		`{"tls": false, "tlsverify": true}`:          "tlskey",
		`{"hosts": ["http://x"]}`:                    "tcp://, unix:// or fd://",
	} {
		found := strings.Join(faultsOf(t, options, text), "\n")
		if !strings.Contains(found, want) {
			t.Errorf("%s: %q, want %q", text, found, want)
		}
		// Of a dockerd that could not be asked nothing is sure but its files.
		if left := faultsOf(t, Options{}, text); len(left) > 0 && !strings.Contains(text, "tls") && !strings.Contains(text, "seccomp") {
			t.Errorf("%s, of an unknown dockerd: %q", text, left)
		}
	}
}

func faultsOf(t testing.TB, o Options, text string) (out []string) {
	t.Helper()
	d, err := parseDocument(file("d.json", text))
	must(t, err)
	r := reading{path: "d.json", d: d, options: o}
	r.missing = slices.DeleteFunc(slices.Collect(maps.Values(r.files())), func(name string) bool { return !strings.Contains(name, "nope") })
	for _, f := range r.faults() {
		out = append(out, f.text+"; "+f.fix)
	}
	return out
}

func TestWouldDockerdStartAgain(t *testing.T) {
	t.Parallel()
	const files = `"tlscacert": "/etc/docker/tls/ca.pem", "tlscert": "/etc/docker/tls/server-cert.pem", "tlskey": "/etc/docker/tls/server-key.pem"`
	const tls = `{"tls": true, "tlsverify": true, ` + files + `}`
	const loopback = "/usr/bin/dockerd -H fd:// -H tcp://127.0.0.1:2375"
	const listens = "/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376"
	socket := func(address, unit string) string {
		return "Id=docker-tcp.socket\nListen=" + address + " (Stream)\nTriggers=" + unit + "\nLoadState=loaded\nActiveState=active\n"
	}
	for name, tc := range map[string]struct {
		argv  string
		files map[string]string
		env   string
		says  string
		help  string
		later bool   // it has --validate
		plain bool   // the probe is not Docker's
		dir   string // of the placement
		sure  string
		opens string
		odd   string
		fix   string
	}{
		"as set up":                                {argv: listens, files: map[string]string{DaemonJSON: tls}},
		"without daemon.json":                      {argv: "/usr/bin/dockerd -H fd://"},
		"hosts were added to daemon.json":          {argv: listens, files: map[string]string{DaemonJSON: `{"hosts": ["tcp://0.0.0.0:2375"], "tlsverify": true, ` + files + `}`}, sure: `"hosts" is in /etc/docker/daemon.json and a flag of docker.service`, fix: `remove "hosts" from /etc/docker/daemon.json`},
		"a directive in both":                      {argv: listens + " --tlsverify", files: map[string]string{DaemonJSON: tls}, sure: `"tlsverify" is in`},
		"a directive in DOCKER_OPTS":               {argv: listens + " $DOCKER_OPTS", files: map[string]string{DaemonJSON: tls, "/etc/default/docker": "DOCKER_OPTS=\"--tls=true\"\n"}, sure: `"tls" is in`},
		"a directive in Environment=":              {argv: listens + " $OPTS", env: `"OPTS=--tlscert /x"`, files: map[string]string{DaemonJSON: tls}, sure: `"tlscert" is in`},
		"runtimes may be in both":                  {argv: listens + " --add-runtime x=/y", files: map[string]string{DaemonJSON: `{"tlsverify": true, "runtimes": {}, ` + files + `}`}},
		"no JSON":                                  {argv: listens, files: map[string]string{DaemonJSON: "{\n  \"debug\": true\n  \"tls\": true\n}"}, sure: "/etc/docker/daemon.json:3:3"},
		"a byte order mark":                        {argv: listens, files: map[string]string{DaemonJSON: "\ufeff{}"}, sure: "byte order mark"},
		"another file":                             {argv: listens + " --config-file /opt/d.json", files: map[string]string{"/opt/d.json": tls, DaemonJSON: `{"hosts": []}`}},
		"another file that is not there":           {argv: listens + " --config-file=/opt/d.json", files: map[string]string{DaemonJSON: tls}, sure: "/opt/d.json, which does not exist"},
		"another file by a variable":               {argv: listens + " --config-file=${CONF}", env: "CONF=/opt/d.json", files: map[string]string{"/opt/d.json": "[]"}, sure: "/opt/d.json:1:1"},
		"what dockerd itself refuses":              {argv: listens, files: map[string]string{DaemonJSON: `{"tlsverify": true, "live-restor": true, ` + files + `}`}, later: true, says: "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives don't match any configuration option: live-restor\n", sure: "dockerd says: unable to configure"},
		"a dockerd that cannot validate":           {argv: listens, files: map[string]string{DaemonJSON: tls}, says: "unknown flag: --validate\nSee 'dockerd --help'.\n"},
		"what it would refuse, of a later version": {argv: listens, files: map[string]string{DaemonJSON: `{"tlsverify": true, "max-download-attempts": 0, ` + files + `}`}, later: true},
		"a socket unit of somebody else":           {argv: listens, files: map[string]string{DaemonJSON: tls, "sockets": socket("[::]:2376", "proxy.service")}, sure: "docker-tcp.socket listens on port 2376", fix: "systemctl disable --now docker-tcp.socket"},
		"a socket unit beside -H":                  {argv: listens, files: map[string]string{DaemonJSON: tls, "sockets": socket("2376", "docker.service")}, sure: "docker-tcp.socket listens on port 2376"},
		"a socket unit instead of -H":              {argv: "/usr/bin/dockerd -H fd://", files: map[string]string{DaemonJSON: tls, "sockets": socket("2376", "docker.service")}},
		"a socket unit of another port":            {argv: listens, files: map[string]string{DaemonJSON: tls, "sockets": socket("2377", "x.service")}},
		"a socket unit of another address":         {argv: "/usr/bin/dockerd -H tcp://10.0.0.2:2376 --tlsverify --tlscacert /c --tlscert /s --tlskey /k", odd: `"tlscert" is /s`, files: map[string]string{"sockets": socket("127.0.0.1:2376", "x.service")}},
		"TLS alone asks for certificates too":      {argv: listens, files: map[string]string{DaemonJSON: `{"tls": true, ` + files + `}`}},
		"TLS alone, before 20.10":                  {argv: listens, help: "      --config-file string    \n      --tls     \n      --tlsverify     \n      --tlscacert string  \n      --tlscert string  \n      --tlskey string  \n", files: map[string]string{DaemonJSON: `{"tls": true, ` + files + `}`}, opens: `has no "tlsverify": true`},
		"TLS alone, of an unknown version":         {argv: listens, help: "no", files: map[string]string{DaemonJSON: `{"tls": true, ` + files + `}`}, odd: "before version 20.10"},
		"no settings":                              {argv: listens, files: map[string]string{DaemonJSON: `{}`}, opens: "tcp://0.0.0.0:2376 would accept every client, without TLS", fix: `"tlsverify": true in /etc/docker/daemon.json`},
		"no daemon.json":                           {argv: listens, opens: "would accept every client, without TLS"},
		"verification is off":                      {argv: listens, files: map[string]string{DaemonJSON: "{\n\"tlsverify\": false, " + files + "}"}, opens: `clients without a certificate: /etc/docker/daemon.json:2 has "tlsverify": false`},
		"TLS is off, and verification on":          {argv: listens, files: map[string]string{DaemonJSON: `{"tls": false, "tlsverify": true, ` + files + `}`}},
		"TLS is off":                               {argv: listens, files: map[string]string{DaemonJSON: `{"tls": false, ` + files + `}`}, opens: "without TLS"},
		"verification is off by a flag":            {argv: listens + " --tlsverify=false --tlscert=/c --tlskey=/k", opens: "it is started with --tlsverify=false", fix: "remove --tlsverify", odd: "is /c"},
		"no file of roots":                         {argv: listens, files: map[string]string{DaemonJSON: `{"tlsverify": true, "tlscert": "/etc/docker/tls/server-cert.pem", "tlskey": "/etc/docker/tls/server-key.pem"}`}, opens: "accept certificates of every public CA"},
		"another port is open":                     {argv: "/usr/bin/dockerd -H fd:// -H tcp://10.0.0.1:2375", files: map[string]string{DaemonJSON: `{}`}, opens: "tcp://10.0.0.1:2375 would accept every client"},
		"by hosts":                                 {argv: "/usr/bin/dockerd", files: map[string]string{DaemonJSON: `{"hosts": ["unix://", "tcp://0.0.0.0:2376"]}`}, opens: "without TLS"},
		"by a socket unit":                         {argv: "/usr/bin/dockerd -H fd://", files: map[string]string{DaemonJSON: `{}`, "sockets": socket("2376", "docker.service")}, opens: "without TLS"},
		"a loopback address that is probed":        {argv: loopback, files: map[string]string{DaemonJSON: `{}`}, opens: "tcp://127.0.0.1:2375 would accept every client"},
		"a loopback address of somebody else":      {argv: loopback, files: map[string]string{DaemonJSON: `{}`}, plain: true, odd: "tcp://127.0.0.1:2375 would accept every client"},
		"not the probe's, and for all":             {argv: listens, files: map[string]string{DaemonJSON: `{}`}, plain: true, opens: "without TLS"},
		"only the local socket":                    {argv: "/usr/bin/dockerd -H fd://", files: map[string]string{DaemonJSON: `{}`}},
		"live-restore in a swarm":                  {argv: listens, files: map[string]string{DaemonJSON: strings.Replace(tls, "{", `{"live-restore": true, `, 1), "swarm": "/var/lib/docker/swarm/docker-state.json"}, sure: "the host is in a swarm", fix: `remove "live-restore" from`},
		"live-restore off in a swarm":              {argv: listens, files: map[string]string{DaemonJSON: tls, "swarm": "/var/lib/docker/swarm/docker-state.json"}},
		"a swarm elsewhere":                        {argv: listens + " --live-restore --data-root=/d", files: map[string]string{DaemonJSON: tls, "swarm": "/d/swarm/docker-state.json"}, sure: "the host is in a swarm"},
		"an empty file":                            {argv: listens + " --tlsverify --tlscacert=/c --tlscert=/etc/docker/tls/server-cert.pem --tlskey=/etc/docker/tls/server-key.pem", files: map[string]string{DaemonJSON: " \n"}, sure: "is empty"},
		"an empty file, for a later version":       {argv: "/usr/bin/dockerd -H fd://", files: map[string]string{DaemonJSON: ""}, later: true},
		"a file of roots that is not there":        {argv: listens, files: map[string]string{DaemonJSON: strings.Replace(tls, "tls/ca.pem", "nope/ca.pem", 1)}, sure: `"tlscacert" names /etc/docker/nope/ca.pem`},
		"a file that renewer is about to write":    {argv: listens, dir: "/etc/nope", files: map[string]string{DaemonJSON: strings.ReplaceAll(tls, "/etc/docker/tls", "/etc/nope")}},
		"another certificate":                      {argv: listens, files: map[string]string{DaemonJSON: strings.Replace(tls, "tls/server-cert", "own/server-cert", 1)}, odd: `"tlscert" is /etc/docker/own/server-cert.pem`},
		"no certificate":                           {argv: "/usr/bin/dockerd -H fd://", files: map[string]string{DaemonJSON: `{"tls": true}`}, sure: `has no "tlscert"`},
	} {
		if tc.help = cmp.Or(tc.help, help2010(t)); tc.later {
			tc.help += "      --validate     \n"
		}
		p := placement()
		if p.Dir = cmp.Or(tc.dir, p.Dir); tc.plain {
			p.Probe = renewer.Probe{Kind: renewer.ProbeFile}
		}
		s, err := InspectStart(t.Context(), looked{files: tc.files, env: tc.env, says: tc.says, help: tc.help}, "docker.service", strings.Fields(tc.argv), []string{"/etc/default/docker"})
		if err != nil {
			t.Fatal(err)
		}
		var sure, opens, odd, fix string
		for _, d := range s.Doubts(p) {
			switch fix += d.Fix; {
			case !d.Sure:
				odd += d.Text
			case d.Opens:
				opens += d.Text
			default:
				sure += d.Text
			}
			if d.Fix == "" {
				t.Errorf("%s: no fix", name)
			}
		}
		if (opens == "") != (tc.opens == "") || !strings.Contains(opens, tc.opens) {
			t.Errorf("%s: opens %q", name, opens)
		}
		if (sure == "") != (tc.sure == "") || !strings.Contains(sure, tc.sure) || (odd == "") != (tc.odd == "") || !strings.Contains(odd, tc.odd) || !strings.Contains(fix, tc.fix) {
			t.Errorf("%s: sure %q, odd %q, fix %q", name, sure, odd, fix)
		}
	}
	if held := renewer.Doubted([]renewer.Doubt{{Text: "odd"}, {Sure: true, Unit: "docker.service", Text: "no", Fix: "do"}}); held.Why != "docker.service would not start again: no" || held.Hint != "do" || !held.Blocked {
		t.Errorf("%+v", held)
	}
	if held := renewer.Doubted([]renewer.Doubt{{Text: "odd"}}); held.Why != "" {
		t.Errorf("held for what only looks odd: %+v", held)
	}
}

package dockerhost

import (
	"context"
	"errors"
	"io/fs"
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
	case strings.Contains(line, "--validate"):
		if l.says != "" {
			return l.says, errors.New("exit status 1")
		}
		return "configuration OK\n", nil
	}
	return "", errors.New("unknown command " + line)
}

func TestWouldDockerdStartAgain(t *testing.T) {
	t.Parallel()
	const tls = `{"tls": true, "tlsverify": true, "tlscert": "/etc/docker/tls/server-cert.pem"}`
	const listens = "/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376"
	socket := func(address, unit string) string {
		return "Id=docker-tcp.socket\nListen=" + address + " (Stream)\nTriggers=" + unit + "\nLoadState=loaded\nActiveState=active\n"
	}
	for name, tc := range map[string]struct {
		argv  string
		files map[string]string
		env   string
		says  string
		sure  string
		odd   string
		fix   string
	}{
		"as set up":                        {argv: listens, files: map[string]string{DaemonJSON: tls}},
		"without daemon.json":              {argv: "/usr/bin/dockerd -H fd://"},
		"hosts were added to daemon.json":  {argv: listens, files: map[string]string{DaemonJSON: `{"hosts": ["tcp://0.0.0.0:2375"], "tlsverify": true}`}, sure: `"hosts" is in /etc/docker/daemon.json and a flag of docker.service`, fix: `take "hosts" out of /etc/docker/daemon.json`},
		"a directive in both":              {argv: listens + " --tlsverify", files: map[string]string{DaemonJSON: tls}, sure: `"tlsverify" is in`},
		"a directive in DOCKER_OPTS":       {argv: listens + " $DOCKER_OPTS", files: map[string]string{DaemonJSON: tls, "/etc/default/docker": "DOCKER_OPTS=\"--tls=true\"\n"}, sure: `"tls" is in`},
		"a directive in Environment=":      {argv: listens + " $OPTS", env: `"OPTS=--tlscert /x"`, files: map[string]string{DaemonJSON: tls}, sure: `"tlscert" is in`},
		"runtimes may be in both":          {argv: listens + " --add-runtime x=/y", files: map[string]string{DaemonJSON: `{"tlsverify": true, "runtimes": {}}`}},
		"no JSON":                          {argv: listens, files: map[string]string{DaemonJSON: "{\n  \"debug\": true\n  \"tls\": true\n}"}, sure: "/etc/docker/daemon.json:3:3"},
		"a byte order mark":                {argv: listens, files: map[string]string{DaemonJSON: "\ufeff{}"}, sure: "byte order mark"},
		"another file":                     {argv: listens + " --config-file /opt/d.json", files: map[string]string{"/opt/d.json": tls, DaemonJSON: `{"hosts": []}`}},
		"another file that is not there":   {argv: listens + " --config-file=/opt/d.json", files: map[string]string{DaemonJSON: tls}, sure: "/opt/d.json, which is not there"},
		"another file by a variable":       {argv: listens + " --config-file=${CONF}", env: "CONF=/opt/d.json", files: map[string]string{"/opt/d.json": "[]"}, sure: "/opt/d.json:1:1"},
		"what dockerd itself refuses":      {argv: listens, files: map[string]string{DaemonJSON: `{"tlsverify": true, "live-restor": true}`}, says: "unable to configure the Docker daemon with file /etc/docker/daemon.json: the following directives don't match any configuration option: live-restor\n", sure: "dockerd says: unable to configure"},
		"a dockerd that cannot validate":   {argv: listens, files: map[string]string{DaemonJSON: tls}, says: "unknown flag: --validate\nSee 'dockerd --help'.\n"},
		"a socket unit of somebody else":   {argv: listens, files: map[string]string{DaemonJSON: tls, "sockets": socket("[::]:2376", "proxy.service")}, sure: "docker-tcp.socket listens on port 2376", fix: "systemctl disable --now docker-tcp.socket"},
		"a socket unit beside -H":          {argv: listens, files: map[string]string{DaemonJSON: tls, "sockets": socket("2376", "docker.service")}, sure: "docker-tcp.socket listens on port 2376"},
		"a socket unit instead of -H":      {argv: "/usr/bin/dockerd -H fd://", files: map[string]string{DaemonJSON: tls, "sockets": socket("2376", "docker.service")}},
		"a socket unit of another port":    {argv: listens, files: map[string]string{DaemonJSON: tls, "sockets": socket("2377", "x.service")}},
		"a socket unit of another address": {argv: "/usr/bin/dockerd -H tcp://10.0.0.2:2376 --tlsverify", files: map[string]string{"sockets": socket("127.0.0.1:2376", "x.service")}},
		"open to everybody":                {argv: listens, files: map[string]string{DaemonJSON: `{"tls": true}`}, odd: "open to clients without a certificate"},
	} {
		s, err := InspectStart(t.Context(), looked{files: tc.files, env: tc.env, says: tc.says}, "docker.service", strings.Fields(tc.argv), []string{"/etc/default/docker"})
		if err != nil {
			t.Fatal(err)
		}
		var sure, odd, fix string
		for _, d := range s.Doubts(placement()) {
			if fix += d.Fix; d.Sure {
				sure += d.Text
			} else {
				odd += d.Text
			}
			if d.Fix == "" {
				t.Errorf("%s: no fix", name)
			}
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

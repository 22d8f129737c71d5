package unithost

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

// As systemd 252 prints them.
const (
	dockerShow = `LoadState=loaded
ActiveState=active
NeedDaemonReload=no
ExecStart={ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
ExecStartEx={ path=/usr/sbin/dockerd ; argv[]=/usr/sbin/dockerd -H fd:// ; flags= ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
EnvironmentFiles=/etc/default/docker (ignore_errors=yes)
TimeoutStopUSec=1min 30s
RootDirectory=
DynamicUser=no
`
	workerShow = `LoadState=loaded
ActiveState=active
User=dagu
NeedDaemonReload=no
ExecStartPre={ path=/usr/bin/mkdir ; argv[]=/usr/bin/mkdir -p /run/dagu ; ignore_errors=yes ; start_time=[n/a] ; pid=0 }
ExecStart={ path=/usr/local/bin/dagu ; argv[]=/usr/local/bin/dagu worker ; ignore_errors=no ; start_time=[n/a] ; pid=0 }
EnvironmentFiles=/etc/dagu/env (ignore_errors=no)
TimeoutStopUSec=infinity
DynamicUser=no
`
)

type host struct {
	says  map[string]string // by the first word after show or --unit
	files string
	deny  bool
}

func (h host) Output(_ context.Context, argv []string) (string, error) {
	for unit, out := range h.says {
		if strings.Contains(strings.Join(argv, " "), unit) {
			return out, nil
		}
	}
	return "", errors.New("no such unit")
}

func (h host) Has(_ context.Context, path string) (bool, error) {
	if h.deny {
		return false, fs.ErrPermission
	}
	return strings.Contains(h.files, path+"\n"), nil
}

func placed(owner string, mode fs.FileMode) renewer.Placement {
	return renewer.Placement{
		Certificate: "worker", Dir: "/etc/dagu/tls", Owner: owner,
		Files: map[renewer.FileKind]string{renewer.FileKey: "worker.key"}, Modes: map[renewer.FileKind]fs.FileMode{renewer.FileKey: mode},
	}
}

func TestDoubts(t *testing.T) {
	t.Parallel()
	const all = "/usr/sbin/dockerd\n/usr/local/bin/dagu\n/usr/bin/mkdir\n/etc/dagu/env\n"
	for name, tc := range map[string]struct {
		show  string
		files string
		deny  bool
		p     renewer.Placement
		owner string
		sure  string // part of the first sure doubt; empty: there is none
		odd   string
		fix   string
	}{
		"dockerd as it is installed":         {show: dockerShow, files: all, p: placed("", 0o400), owner: "root"},
		"the guide's path on Debian":         {show: strings.ReplaceAll(dockerShow, "/usr/sbin/dockerd", "/usr/bin/dockerd"), files: all, sure: "its program /usr/bin/dockerd is not there", fix: "command -v dockerd"},
		"a program that cannot be looked at": {show: dockerShow, deny: true},
		"a worker as it should be":           {show: workerShow, files: all, p: placed("", 0o400), owner: "dagu"},
		"no environment file":                {show: workerShow, files: "/usr/local/bin/dagu\n", sure: "its EnvironmentFile /etc/dagu/env is not there", fix: "EnvironmentFile=-/etc/dagu/env"},
		"an optional one is missing":         {show: dockerShow, files: "/usr/sbin/dockerd\n"},
		"a key of root":                      {show: workerShow, files: all, p: placed("root", 0o400), owner: "dagu", sure: "it runs as dagu (User=), and /etc/dagu/tls/worker.key belongs to root with mode 0400", fix: "set owner: dagu"},
		"a key of another unit's user":       {show: workerShow, files: all, p: placed("", 0o400), owner: "web", sure: "belongs to web"},
		"a key of root for a group":          {show: workerShow, files: all, p: placed("root", 0o440), owner: "dagu"},
		"a key that systemd hands over":      {show: workerShow + "LoadCredential=key:/etc/dagu/tls/worker.key\n", files: all, p: placed("root", 0o400)},
		"a program that runs as root":        {show: workerShow + "ExecStartEx={ path=/x ; argv[]=/x ; flags=privileged ; pid=0 }\n", files: all, p: placed("root", 0o400)},
		"rights to read everything":          {show: workerShow + "AmbientCapabilities=cap_dac_read_search\n", files: all, p: placed("root", 0o400)},
		"a root of its own":                  {show: workerShow + "RootDirectory=/srv/dagu\n", p: placed("", 0o400)},
		"a unit that is gone":                {show: "LoadState=not-found\n", sure: "systemd does not know x.service"},
		"a masked unit":                      {show: "LoadState=masked\n", sure: "is masked", fix: "systemctl unmask x.service"},
		"a unit that does not parse":         {show: "LoadState=bad-setting\n", sure: `systemd calls x.service "bad-setting"`, fix: "systemd-analyze verify"},
		"edited and not read":                {show: strings.Replace(dockerShow, "NeedDaemonReload=no", "NeedDaemonReload=yes", 1), files: all, odd: "systemd has not read them yet", fix: "systemctl daemon-reload"},
	} {
		f, err := Inspect(t.Context(), host{says: map[string]string{"x.service": tc.show}, files: tc.files, deny: tc.deny}, "x.service")
		if err != nil {
			t.Fatal(err)
		}
		var sure, odd, fix string
		for _, d := range f.Doubts(tc.p, tc.owner) {
			if d.Sure && sure == "" {
				sure, fix = d.Text, d.Fix
			} else if !d.Sure {
				odd, fix = d.Text, d.Fix
			}
		}
		if (sure == "") != (tc.sure == "") || !strings.Contains(sure, tc.sure) || (odd == "") != (tc.odd == "") || !strings.Contains(odd, tc.odd) || !strings.Contains(fix, tc.fix) {
			t.Errorf("%s: sure %q, odd %q, fix %q", name, sure, odd, fix)
		}
	}
	if _, err := Inspect(t.Context(), host{}, "x.service"); err == nil {
		t.Error("no systemd, no error")
	}
}

func TestWhatAUnitNeedsIsRead(t *testing.T) {
	t.Parallel()
	f := read("docker.service", dockerShow)
	if f.StopTimeout != 90*time.Second || !f.Runs() || strings.Join(f.Argv, " ") != "/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS" {
		t.Errorf("%+v", f)
	}
	for text, want := range map[string]time.Duration{"1min 30s": 90 * time.Second, "5min": 5 * time.Minute, "100ms": 100 * time.Millisecond, "infinity": 0, "": 0, "1.5s": 1500 * time.Millisecond, "-1s": 0} {
		if got := span(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// A failure is explained with the unit's own last words: bounded, in one line, and
// nothing in them that a terminal acts on.
func TestWordsAreTheUnitsOwn(t *testing.T) {
	t.Parallel()
	journal := "Starting docker.service - Docker Application Container Engine...\n" +
		"failed to start daemon: \x1b[31munable to configure\x1b[0m the Docker daemon with file /etc/docker/daemon.json: hosts\n" +
		"docker.service: Main process exited, code=exited, status=1/FAILURE\ndocker.service: Failed with result 'exit-code'.\n" +
		"Failed to start docker.service - Docker Application Container Engine.\n" +
		"docker.service: Scheduled restart job, restart counter is at 3.\nStopped docker.service - Docker.\ndocker.service: Start request repeated too quickly.\n"
	m := host{says: map[string]string{"--unit=docker.service": journal, "--unit=long": strings.Repeat("é word\n", 3) + strings.Repeat("x", 5000) + "\n"}}
	if got, want := Words(t.Context(), m, "docker.service"), "failed to start daemon: [31munable to configure [0m the Docker daemon with file /etc/docker/daemon.json: hosts"; got != want {
		t.Errorf("got %q", got)
	}
	if got := Words(t.Context(), m, "long"); len(got) > wordBytes+len("…") {
		t.Errorf("%d bytes", len(got))
	}
	if got := Words(t.Context(), host{}, "docker.service"); got != "" {
		t.Errorf("got %q", got)
	}
}

func FuzzShow(f *testing.F) {
	f.Add(dockerShow)
	f.Add(workerShow)
	f.Add("ExecStart={ path= ; argv[]= }\nTimeoutStopUSec=1e9min 9\n")
	f.Fuzz(func(t *testing.T, text string) {
		read("x.service", text).Doubts(placed("", 0o400), "x")
		lastWords(text)
	})
}

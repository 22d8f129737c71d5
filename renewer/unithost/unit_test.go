package unithost

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	says   map[string]string // by a part of the command
	files  string
	deny   bool
	groups []int
}

func (h host) Account(_ context.Context, user string, more []string) (int, []int, error) {
	uid, ok := map[string]int{"dagu": 990, "root": 0}[user]
	if !ok {
		return 0, nil, errors.New("no such user")
	}
	groups := append([]int{990}, h.groups...)
	for _, name := range more {
		groups = append(groups, map[string]int{"ssl-cert": 115}[name])
	}
	return uid, groups, nil
}

func (h host) Output(_ context.Context, argv []string) (string, error) {
	for part, out := range h.says {
		if strings.Contains(strings.Join(argv, " "), part) {
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

func TestDoubts(t *testing.T) {
	t.Parallel()
	const all = "/usr/sbin/dockerd\n/usr/local/bin/dagu\n/usr/bin/mkdir\n/etc/dagu/env\n"
	for name, tc := range map[string]struct {
		show  string
		files string
		deny  bool
		bus   string // what busctl says of conditions and assertions
		creds string // and of credentials
		sure  string // part of the first sure doubt; empty: there is none
		odd   string
		fix   string
	}{
		"dockerd as it is installed":          {show: dockerShow, files: all},
		"the guide's path on Debian":          {show: strings.ReplaceAll(dockerShow, "/usr/sbin/dockerd", "/usr/bin/dockerd"), files: all, sure: "its program /usr/bin/dockerd does not exist", fix: "command -v dockerd"},
		"a program that cannot be looked at":  {show: dockerShow, deny: true},
		"a worker as it should be":            {show: workerShow, files: all},
		"no environment file":                 {show: workerShow, files: "/usr/local/bin/dagu\n", sure: "its EnvironmentFile /etc/dagu/env does not exist", fix: "EnvironmentFile=-/etc/dagu/env"},
		"an optional one is missing":          {show: dockerShow, files: "/usr/sbin/dockerd\n"},
		"no directory to work in":             {show: workerShow + "WorkingDirectory=/srv/none\n", files: all, sure: "/srv/none of its WorkingDirectory= does not exist", fix: "systemctl edit x.service"},
		"one that may be missing":             {show: workerShow + "WorkingDirectory=!/srv/none\n", files: all},
		"nothing to bind":                     {show: workerShow + "BindReadOnlyPaths=-/srv/a:/b:rbind /srv/none:/c:rbind\n", files: all, sure: "/srv/none of its BindReadOnlyPaths= does not exist"},
		"nothing to write in":                 {show: workerShow + "ReadWritePaths=-/srv/a +/srv/none\n", files: all, sure: "/srv/none of its ReadWritePaths= does not exist"},
		"a path with a space":                 {show: workerShow + "ReadWritePaths=/srv/my dir\n", files: all},
		"a directory that the start makes":    {show: workerShow + "RuntimeDirectory=dagu\nReadWritePaths=/run/dagu/x\n", files: all},
		"one that a program as root may make": {show: workerShow + "ExecStartPreEx={ path=/x ; argv[]=/x ; flags=privileged ; pid=0 }\nReadWritePaths=/srv/x\n", files: all},
		"a condition on a file": {
			show: workerShow, files: all, sure: "ConditionPathExists=/srv/none is not met", fix: "systemctl cat x.service",
			bus: `{"type":"a(sbbsi)","data":[["ConditionPathExists",false,false,"/srv/none",0],["ConditionHost",false,false,"other",0]]}`,
		},
		"a condition against a file":      {show: workerShow, files: all + "/srv/off\n", sure: "ConditionPathExists=!/srv/off is not met", bus: `{"type":"a(sbbsi)","data":[["ConditionPathExists",false,true,"/srv/off",0]]}`},
		"an assertion":                    {show: workerShow, files: all, sure: "AssertFileNotEmpty=/srv/none is not met", bus: "{\"type\":\"a(sbbsi)\",\"data\":[]}\n" + `{"type":"a(sbbsi)","data":[["AssertFileNotEmpty",false,false,"/srv/none",0]]}`},
		"one of two is enough":            {show: workerShow, files: all + "/srv/b\n", bus: `{"type":"a(sbbsi)","data":[["ConditionPathExists",true,false,"/srv/a",0],["ConditionPathExists",true,false,"/srv/b",0]]}`},
		"none of two":                     {show: workerShow, files: all, sure: "/srv/a or ConditionPathExists=/srv/b is not met", bus: `{"type":"a(sbbsi)","data":[["ConditionPathExists",true,false,"/srv/a",0],["ConditionPathExists",true,false,"/srv/b",0]]}`},
		"a credential whose file is gone": {show: workerShow + "LoadCredential=[unprintable]\n", files: all, sure: "/etc/none of its LoadCredential= does not exist", creds: creds(`["k","/etc/none"]`, "")},
		"one that is given otherwise":     {show: workerShow + "LoadCredential=[unprintable]\n", files: all, creds: creds(`["k","/etc/none"]`, `["k",[1]]`)},
		"an answer that is none":          {show: workerShow, files: all, bus: `{"type":"a(sbbsi)","data":[["x"],[1,2,3,4,5],[]]}` + "\nnull\n[]\n"},
		"a root of its own":               {show: workerShow + "RootDirectory=/srv/dagu\n"},
		"a unit that is gone":             {show: "LoadState=not-found\n", sure: "systemd has no unit x.service"},
		"a masked unit":                   {show: "LoadState=masked\n", sure: "is masked", fix: "systemctl unmask x.service"},
		"a unit that does not parse":      {show: "LoadState=bad-setting\n", sure: `systemd reports x.service as "bad-setting"`, fix: "systemd-analyze verify"},
		"edited and not read":             {show: strings.Replace(dockerShow, "NeedDaemonReload=no", "NeedDaemonReload=yes", 1), files: all, odd: "systemd has not loaded them", fix: "systemctl daemon-reload"},
	} {
		f, err := Inspect(t.Context(), host{says: map[string]string{"show": tc.show, "Conditions": tc.bus, "LoadCredential LoadC": tc.creds}, files: tc.files, deny: tc.deny}, "x.service")
		if err != nil {
			t.Fatal(err)
		}
		var sure, odd, fix string
		for _, d := range f.Doubts() {
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

// creds are a loaded and a set credential as busctl prints them.
func creds(load, set string) string {
	return `{"type":"a(ss)","data":[` + load + "]}\n" + `{"type":"a(ss)","data":[]}` + "\n" + `{"type":"a(say)","data":[` + set + "]}\n" + `{"type":"a(say)","data":[]}` + "\n"
}

// Whether a unit's user can read the key that will be in place is judged as the
// kernel does: by owner, groups and the way there.
func TestAKeyThatTheUnitCannotRead(t *testing.T) {
	t.Parallel()
	const way = "drwxr-xr-x 1 0 0 4096 Nov 28 07:17 /\ndrwxr-xr-x 1 0 0 4096 Nov 28 07:17 /etc\ndrwxr-xr-x 3 0 0 4096 Nov 28 07:17 /etc/dagu\n"
	const last = "drwxr-xr-x 3 0 0 4096 Nov 28 07:17 /etc/dagu/tls\n"
	none := creds("", "")
	for name, tc := range map[string]struct {
		show, ls, creds string
		uid, gid        int
		mode            fs.FileMode
		groups          []int
		sure            string
	}{
		"its own":                       {uid: 990, mode: 0o400},
		"root's":                        {mode: 0o400, sure: "/etc/dagu/tls/worker.key belongs to user 0 and group 0 with mode 0400"},
		"root's for a group it is in":   {gid: 115, mode: 0o440, groups: []int{115}},
		"for one that the unit adds":    {show: "SupplementaryGroups=adm ssl-cert\n", gid: 115, mode: 0o440},
		"for one it is not in":          {gid: 115, mode: 0o440, sure: "group 115 with mode 0440"},
		"for everybody":                 {mode: 0o444},
		"for all others than the owner": {uid: 990, mode: 0o044, sure: "mode 0044"},
		"no credentials":                {show: "LoadCredential=[unprintable]\nSetCredential=[unprintable]\n", creds: none, mode: 0o400, sure: "belongs to user 0"},
		"that systemd hands over":       {show: "LoadCredential=[unprintable]\n", creds: creds(`["key","/etc/dagu/tls/worker.key"]`, ""), mode: 0o400},
		"that may be handed over":       {show: "LoadCredential=[unprintable]\n", mode: 0o400},
		"of a program that is root":     {show: "ExecStartEx={ path=/x ; argv[]=/x ; flags=privileged ; pid=0 }\n", mode: 0o400},
		"copied by one before":          {show: "ExecStartPreEx={ path=/x ; argv[]=/x ; flags=privileged ; pid=0 }\n", mode: 0o400},
		"with rights to read all":       {show: "AmbientCapabilities=cap_dac_read_search\n", mode: 0o400},
		"of a user who comes and goes":  {show: "DynamicUser=yes\n", mode: 0o400},
		"of a number that is root":      {show: "User=root\n", mode: 0o400},
		"behind a closed directory":     {ls: strings.Replace(way, "drwxr-xr-x 3 0 0", "drwx------ 3 0 0", 1) + last, uid: 990, mode: 0o400, sure: "cannot enter /etc/dagu (mode 0700)"},
		"behind one with a list":        {ls: strings.Replace(way, "drwxr-xr-x 3 0 0", "drwx------+ 3 0 0", 1) + last, uid: 990, mode: 0o400},
		"in one with a list":            {ls: way + strings.Replace(last, "drwxr-xr-x", "drwxr-xr-x+", 1), mode: 0o400},
		"behind a link":                 {ls: "lrwxrwxrwx 1 0 0 4 Nov 28 07:17 /etc -> /x\n", uid: 990, mode: 0o400},
		"behind its own":                {ls: strings.Replace(way, "drwxr-xr-x 3 0 0", "drwx------ 3 990 0", 1) + last, uid: 990, mode: 0o400},
		"behind one of its group":       {ls: strings.Replace(way, "drwxr-xr-x 3 0 0", "drwxr-s--- 3 0 990", 1) + last, uid: 990, mode: 0o400},
	} {
		says := map[string]string{"show": workerShow + tc.show, "ls -ldn -- / /etc /etc/dagu /etc/dagu/tls": cmp.Or(tc.ls, way+last)}
		if tc.creds != "" {
			says["LoadCredential LoadC"] = tc.creds
		}
		m := host{says: says, groups: tc.groups, files: "/etc/dagu/tls/worker.key\n"}
		f, err := Inspect(t.Context(), m, "x.service")
		if err != nil {
			t.Fatal(err)
		}
		p := renewer.Placement{
			Certificate: "worker", Dir: "/etc/dagu/tls",
			Files: map[renewer.FileKind]string{renewer.FileKey: "worker.key"}, Modes: map[renewer.FileKind]fs.FileMode{renewer.FileKey: tc.mode},
		}
		doubts, err := f.KeyDoubts(t.Context(), m, p, tc.uid, tc.gid)
		var said string
		for _, d := range doubts {
			said += d.Text
		}
		if err != nil || (said == "") != (tc.sure == "") || !strings.Contains(said, tc.sure) {
			t.Errorf("a key %s: %q, %v", name, said, err)
		}
	}
}

func TestUnitNamesInPathsOfTheBus(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"web.service": "web_2eservice", "web@a-b.service": "web_40a_2db_2eservice", "3.service": "_33_2eservice", "a3.service": "a3_2eservice"} {
		if got := escape(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
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

// said is an entry of the journal as journalctl prints it.
func said(by, level, start, message string) string {
	text, _ := json.Marshal(message)
	return fmt.Sprintf(`{"__CURSOR":"s=1","_PID":%q,"PRIORITY":%q,"_SYSTEMD_INVOCATION_ID":%q,"MESSAGE":%s}`+"\n", by, level, start, text)
}

// A failure is explained with the unit's own words of its last start: errors first,
// bounded, in one line, and nothing in them that a terminal acts on.
func TestWordsAreTheUnitsOwnOfItsLastStart(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ journal, want string }{
		"a failed start": {
			said("9", "3", "a", "an error of the start before") + said("1", "6", "b", "Starting docker.service - Docker Application Container Engine...") +
				said("7", "6", "b", "Starting up") + said("7", "6", "b", "failed to start daemon: \x1b[31munable to configure\x1b[0m it: hosts") +
				said("1", "5", "b", "docker.service: Main process exited, code=exited, status=1/FAILURE") + said("1", "3", "b", "Failed to start docker.service - Docker."),
			"Starting up; failed to start daemon: [31munable to configure [0m it: hosts",
		},
		"errors first":                   {said("7", "6", "b", "one") + said("7", "3", "b", "bad") + said("7", "6", "b", "two"), "bad; one; two"},
		"a start that has said nothing":  {said("7", "6", "a", "bad key") + said("1", "6", "b", "Started web.service."), "bad key"},
		"systemd's own, about a start":   {said("7", "6", "a", "old") + `{"_PID":"12","PRIORITY":"3","INVOCATION_ID":"b","_SYSTEMD_INVOCATION_ID":"of systemd","MESSAGE":"web.service: Failed at step CHDIR"}`, "web.service: Failed at step CHDIR"},
		"repeated":                       {said("7", "6", "b", "again") + said("7", "6", "b", "again"), "again"},
		"bytes":                          {`{"_PID":"7","MESSAGE":[104,105,27,255]}`, "hi"},
		"too long for the journal":       {`{"_PID":"7","MESSAGE":null}`, ""},
		"the end of a line that was cut": {`ESSAGE":"x"}` + "\n" + said("7", "6", "b", "one"), "one"},
		"the last lines of many":         {said("7", "6", "b", "1") + said("7", "6", "b", "2") + said("7", "6", "b", "3") + said("7", "6", "b", "4") + said("7", "6", "b", "5") + said("7", "6", "b", "6"), "2; 3; 4; 5; 6"},
		"a long line":                    {said("7", "6", "b", strings.Repeat("é", 400)), strings.Repeat("é", 150) + "…"},
		"long errors, the last of which fit": {
			said("7", "3", "b", "1"+strings.Repeat("x", 400)) + said("7", "3", "b", "2"+strings.Repeat("x", 400)) + said("7", "6", "b", "3"), "2" + strings.Repeat("x", 299) + "…",
		},
	} {
		if got := Words(t.Context(), host{says: map[string]string{"--unit=x.service": tc.journal}}, "x.service"); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
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
		read("x.service", text).Doubts()
		unmet(t.Context(), host{}, text)
		readEntry(text)
		lastWords(text)
	})
}

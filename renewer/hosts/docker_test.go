package hosts

import (
	"os"
	"strings"
	"testing"
	"time"

	"renewer/renewer"
)

// What docker 20.10 prints.
const (
	twoContainers = "0123456789ab\nfedcba987654"
	notRunning    = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
	notAllowed    = "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: connect: permission denied"
)

func TestDocker(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit     string // of docker.service; empty: there is no systemd
		ps, info string
		fails    string // of docker
		label    string
		want     renewer.DockerState
		asked    bool
	}{
		{unit: "LoadState=loaded ActiveState=active", ps: twoContainers, info: "renewer: false 3", want: renewer.DockerState{Running: true, Containers: 3, Matching: 3}, asked: true},
		{unit: "LoadState=loaded ActiveState=active", ps: twoContainers, info: "WARNING: x\nrenewer: true 3", label: "dagster/run_id", want: renewer.DockerState{Running: true, LiveRestore: true, Containers: 3, Matching: 2}, asked: true},
		{ps: "", info: "renewer: false 0", label: "x", want: renewer.DockerState{Running: true}, asked: true},
		{unit: "LoadState=not-found ActiveState=inactive", ps: "", info: "renewer: false 0", want: renewer.DockerState{Running: true}, asked: true},
		{unit: "LoadState=loaded ActiveState=inactive", fails: "started by its socket"},
		{unit: "LoadState=loaded ActiveState=failed", fails: "started by its socket"},
		{unit: "LoadState=loaded ActiveState=active", fails: notRunning, asked: true},
	} {
		h := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()))
		if c.unit == "" {
			h.systemctl = "renewer-test-no-such-program"
		} else {
			systemctl(t, h, map[string]string{"docker.service": c.unit})
		}
		h.docker = stand(t, `echo "$*" >> "$0.calls"
[ -z "`+c.fails+`" ] || { echo "`+c.fails+`" >&2; exit 1; }
[ "$1 $2" = "-H unix:///var/run/docker.sock" ] || exit 98
case "$*" in
*"ps --quiet --filter status=running --filter label=`+c.label+`") [ -n "`+c.label+`" ] || exit 97; echo "`+c.ps+`" ;;
*"ps --quiet --filter status=running") [ -z "`+c.label+`" ] || exit 96; echo "`+c.ps+`" ;;
*"info --format "*) echo "`+c.info+`" ;;
*) exit 99 ;;
esac
`)
		got, err := h.Docker(t.Context(), c.label)
		must(t, err)
		equal(t, "state with "+c.unit, got, c.want)
		_, err = os.Stat(h.docker + ".calls")
		equal(t, "asked with "+c.unit, err == nil, c.asked)
	}
}

func TestDockerCannotBeAsked(t *testing.T) {
	t.Parallel()
	h := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()))
	systemctl(t, h, map[string]string{"docker.service": "LoadState=loaded ActiveState=active"})
	h.docker = stand(t, "echo '"+notAllowed+"' >&2; exit 1\n")
	_, err := h.Docker(t.Context(), "")
	fails(t, err, "host host-a: ask the Docker daemon", "permission denied")
	if !strings.Contains(renewer.Hint(err), "sudo: true") {
		t.Errorf("hint: %s", renewer.Hint(err))
	}
	h.docker = "renewer-test-no-such-program"
	_, err = h.Docker(t.Context(), "")
	fails(t, err, "renewer-test-no-such-program")
	for _, info := range []string{"", "renewer: maybe 3", "renewer: true", "renewer: true -1", "renewer: true 3 4"} {
		h.docker = stand(t, "case $* in *info*) echo '"+info+"';; esac\n")
		if _, err = h.Docker(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "docker info did not report") {
			t.Errorf("%q: %v", info, err)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	h := New(renewer.Host{Name: "host-a"}, Local("/"))
	before := time.Now().Truncate(time.Second)
	got, err := h.Clock(t.Context()) // the real date
	must(t, err)
	if got.Before(before) || got.After(time.Now()) || got.Location() != time.UTC {
		t.Errorf("%s is not between %s and now", got, before)
	}
	h.date = stand(t, "echo 1700000000\n")
	got, err = h.Clock(t.Context())
	must(t, err)
	equal(t, "clock", got, time.Unix(1700000000, 0).UTC())
	h.date = stand(t, "echo tomorrow\n")
	if _, err = h.Clock(t.Context()); err == nil || !strings.Contains(err.Error(), `host host-a: read the clock: date printed "tomorrow"`) {
		t.Error(err)
	}
	h.date = stand(t, "exit 1\n")
	if _, err = h.Clock(t.Context()); err == nil {
		t.Error("no error")
	}
}

// No variable of an account changes what docker is asked.
func TestDockerIsAskedWithoutTheVariablesOfAnAccount(t *testing.T) {
	for _, name := range DockerVariables {
		t.Setenv(name, "1")
	}
	h := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()))
	h.systemctl = "renewer-test-no-such-program"
	h.docker = stand(t, `! env | grep "^DOCKER_" >&2 || exit 1
case "$*" in *" info "*) echo "renewer: true 1";; esac
`)
	got, err := h.Docker(t.Context(), "")
	must(t, err)
	equal(t, "state", got, renewer.DockerState{Running: true, LiveRestore: true, Containers: 1, Matching: 1})
}

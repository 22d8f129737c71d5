package hosts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// systemctl writes a stand-in for systemctl and makes h use it. It notes each
// call, answers show from files named after units, and fails a verb for which
// there is a file fail-VERB.
func systemctl(t *testing.T, h *Host, units map[string]string) (calls func() []string, fail func(verb, output string)) {
	t.Helper()
	state := t.TempDir()
	for unit, props := range units {
		testpki.WriteFile(t, filepath.Join(state, unit), []byte(strings.ReplaceAll(props, " ", "\n")+"\n"), 0o600)
	}
	h.systemctl = filepath.Join(state, "systemctl")
	testpki.WriteFile(t, h.systemctl, []byte(`#!/bin/sh
cd "${0%/*}" || exit 99
shift 2 # --no-ask-password --no-pager
echo "$*" >> calls
if [ -e "fail-$1" ]; then cat "fail-$1"; exit 1; fi
if [ "$1" = show ]; then
	for unit; do :; done
	if [ -e "$unit" ]; then cat "$unit"; else echo LoadState=not-found; echo ActiveState=inactive; echo User=; fi
fi
`), 0o700)
	calls = func() []string {
		data, err := os.ReadFile(filepath.Join(state, "calls"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(state, "calls"))
		var out []string
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "show ") && !strings.HasPrefix(line, "is-system-running") {
				out = append(out, strings.TrimSpace(line))
			}
		}
		return out
	}
	fail = func(verb, output string) {
		testpki.WriteFile(t, filepath.Join(state, "fail-"+verb), []byte(output), 0o600)
	}
	return calls, fail
}

func units(action string, names ...string) renewer.Activation {
	return renewer.Activation{Kind: renewer.ActivateSystemd, Units: names, Action: action, Timeout: time.Minute}
}

func TestSystemd(t *testing.T) {
	t.Parallel()
	h := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()))
	calls, fail := systemctl(t, h, map[string]string{
		"runs.service":   "LoadState=loaded ActiveState=active SubState=running CanReload=yes",
		"plain.service":  "LoadState=loaded ActiveState=active SubState=running CanReload=no",
		"failed.service": "LoadState=loaded ActiveState=failed SubState=failed CanReload=yes",
		"again.service":  "LoadState=loaded ActiveState=activating SubState=auto-restart CanReload=yes",
		"off.service":    "LoadState=loaded ActiveState=inactive SubState=dead CanReload=no",
		"ends.service":   "LoadState=loaded ActiveState=deactivating SubState=stop-sigterm CanReload=no",
		"masked.service": "LoadState=masked ActiveState=inactive SubState=dead CanReload=no",
	})
	for _, c := range []struct {
		a          renewer.Activation
		calls      []string
		notRunning string
		says       string
	}{
		{a: units("restart", "runs.service"), calls: []string{"reset-failed -- runs.service", "restart -- runs.service"}},
		{a: units("restart", "runs.service", "failed.service"), calls: []string{"reset-failed -- runs.service failed.service", "restart -- runs.service failed.service"}},
		{a: units("reload", "runs.service"), calls: []string{"reload -- runs.service"}},
		{a: units("reload", "failed.service"), calls: []string{"reset-failed -- failed.service", "restart -- failed.service"}},
		{a: units("reload", "again.service"), calls: []string{"reset-failed -- again.service", "restart -- again.service"}},
		{a: units("restart", "off.service"), notRunning: "off.service (inactive, dead)"},
		{
			a: units("restart", "off.service", "runs.service", "ends.service"), calls: []string{"reset-failed -- runs.service", "restart -- runs.service"},
			notRunning: "off.service (inactive, dead), ends.service (deactivating, stop-sigterm)",
		},
		{a: units("reload", "plain.service"), says: "unit plain.service cannot be reloaded"},
		{a: units("restart", "runs.service", "typo.service"), says: `unit typo.service cannot be activated: systemd reports "not-found"`},
		{a: units("restart", "masked.service"), says: `systemd reports "masked"`},
		{a: units("restart", "--force"), says: "is not the name of a unit"},
		{a: units("restart", "*.service"), says: "is not the name of a unit"},
	} {
		got, err := h.Activate(t.Context(), c.a)
		if c.says == "" {
			must(t, err)
		} else if err == nil || !strings.Contains(err.Error(), c.says) || renewer.ClassOf(err) != renewer.ClassMisconfigured {
			t.Errorf("%v: error %v (%s)", c.a, err, renewer.ClassOf(err))
		}
		equal(t, "not running", got.NotRunning, c.notRunning)
		equalSlices(t, "calls for "+strings.Join(c.a.Units, " "), calls(), c.calls)
		if c.says == "" {
			stopped, err := h.Running(t.Context(), c.a)
			must(t, err)
			equal(t, "asked what does not run", stopped, c.notRunning)
			equalSlices(t, "calls of a question", calls(), nil)
		}
	}
	fail("reset-failed", "Failed to reset failed state of unit runs.service: Unit runs.service not loaded.\n")
	_, err := h.Activate(t.Context(), units("restart", "runs.service"))
	must(t, err)
	fail("restart", "Job for runs.service failed because the control process exited with error code.\n")
	_, err = h.Activate(t.Context(), units("restart", "runs.service"))
	fails(t, err, "host host-a: activate: systemctl restart runs.service", "exit status 1", "Job for runs.service failed")
	if !strings.Contains(renewer.Hint(err), "journalctl -n 50 -u runs.service") {
		t.Errorf("hint: %s", renewer.Hint(err))
	}
	fail("restart", "Failed to restart runs.service: Access denied\n")
	_, err = h.Activate(t.Context(), units("restart", "runs.service"))
	fails(t, err, "restart", "Access denied")
	fail("show", "System has not been booted with systemd as init system (PID 1). Can't operate.\n")
	_, err = h.Activate(t.Context(), units("restart", "runs.service"))
	fails(t, err, "not been booted")
	h.systemctl = "renewer-test-no-such-program"
	_, err = h.Activate(t.Context(), units("restart", "runs.service"))
	fails(t, err, "renewer-test-no-such-program")
}

func TestOwnerOfTheUnit(t *testing.T) {
	t.Parallel()
	root(t)
	b, p := newBench(t), placement()
	h := b.host()
	_, fail := systemctl(t, h, map[string]string{
		"daemon.service":  "User=daemon Group=",
		"grouped.service": "User=daemon Group=tty",
		"root.service":    "User= Group=",
		"ghost.service":   "User=renewer-test-nobody-has-this Group=",
	})
	for _, c := range []struct {
		unit, owner, group string
		want               Owner
	}{
		{unit: "daemon.service", want: Owner{1, 1}},
		{unit: "grouped.service", want: Owner{1, 5}},
		{unit: "root.service", want: Owner{0, 0}},
		{unit: "gone.service", want: Owner{0, 0}},
		{unit: "daemon.service", group: "tty", want: Owner{1, 5}},
		{unit: "daemon.service", owner: "root", want: Owner{0, 0}},
		{unit: "daemon.service", owner: "54321", group: "54322", want: Owner{54321, 54322}},
		{owner: "daemon", want: Owner{1, 1}},
	} {
		p.Owner, p.Group, p.Activate = c.owner, c.group, renewer.Activation{}
		if c.unit != "" {
			p.Activate = units("restart", c.unit)
		}
		b.place(t, h, p, b.old)
		info, err := Local(b.root).OpenDir(t.Context(), dir, false)
		must(t, err)
		got, err := info.Lstat(".renewer/" + p.Certificate + "/" + b.live(t, p) + "/server-key.pem")
		must(t, err)
		must(t, info.Close())
		equal(t, "owner for "+c.unit+" "+c.owner, got.Owner, c.want)
		on, err := h.Inspect(t.Context(), p)
		must(t, err)
		equalSlices(t, "problems", on.Texts(), nil)
	}
	p.Owner, p.Group, p.Activate = "root", "", renewer.Activation{}
	on, err := h.Inspect(t.Context(), p)
	must(t, err)
	equal(t, "problems with another owner", len(on.Deviations), 3)
	for _, c := range []struct{ owner, group, says string }{
		{"54321", "", "group is unknown"},
		{"renewer-test-nobody-has-this", "", "unknown user"},
		{"root", "renewer-test-nobody-has-this", "unknown group"},
	} {
		p.Owner, p.Group = c.owner, c.group
		_, err := h.Stage(t.Context(), p, b.content(t, p, b.old))
		fails(t, err, c.says)
	}
	p.Owner, p.Group, p.Activate = "", "", units("restart", "ghost.service")
	_, err = h.Stage(t.Context(), p, b.content(t, p, b.old))
	fails(t, err, "renewer-test-nobody-has-this")
	fail("show", "Failed to connect to bus: Host is down\n")
	_, err = h.Stage(t.Context(), p, b.content(t, p, b.old))
	fails(t, err, "find the owner of the files", "Host is down")
	equal(t, "hint", renewer.Hint(err), "this host does not run systemd: use activate: signal or command")
	fail("show", "Unit files are in disorder\n")
	_, err = h.Stage(t.Context(), p, b.content(t, p, b.old))
	equal(t, "hint", renewer.Hint(err), "set owner: of the entry")
}

// live is the revision that `current` names.
func (b *bench) live(t testing.TB, p renewer.Placement) string {
	t.Helper()
	rev, err := os.Readlink(b.path(p.Dir, ".renewer", p.Certificate, "current"))
	must(t, err)
	return rev
}

// A host that is being shut down has stopped its units and starts none: that
// says nothing about what was placed.
func TestGoingDown(t *testing.T) {
	t.Parallel()
	for what, set := range map[string]func(fail func(verb, output string)){
		"stopped": func(fail func(verb, output string)) { fail("is-system-running", "stopping\n") },
		"refused": func(fail func(verb, output string)) { fail("restart", "x"); fail("is-system-running", "stopping\n") },
		"has left": func(fail func(verb, output string)) {
			fail("show", "Failed to get properties: Connection reset by peer\n")
		},
		"has left its bus": func(fail func(verb, output string)) {
			fail("restart", "Failed to restart on.service: Transport endpoint is not connected\n")
		},
		"left late": func(fail func(verb, output string)) { fail("restart", "Connection reset by peer\n") },
	} {
		h := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()))
		_, fail := systemctl(t, h, map[string]string{
			"on.service":  "LoadState=loaded ActiveState=active SubState=running CanReload=yes",
			"off.service": "LoadState=loaded ActiveState=inactive SubState=dead",
		})
		set(fail)
		unit := "on.service"
		if what == "stopped" {
			unit = "off.service"
		}
		if _, err := h.Activate(t.Context(), units("restart", unit)); !errors.Is(err, renewer.ErrUnreachable) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

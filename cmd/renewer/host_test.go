package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"

	"renewer/renewer"
)

// fakeHosts is a service with one host.
type fakeHosts struct {
	plan    renewer.HostPlan
	found   []renewer.Finding
	err     error
	set     int
	doctors []string
}

func (f *fakeHosts) HostPlan(context.Context, renewer.SetupRequest) (renewer.HostPlan, error) {
	return f.plan, f.err
}

func (f *fakeHosts) HostSetup(_ context.Context, r renewer.SetupRequest, progress func(renewer.Event)) (renewer.HostPlan, error) {
	host, digest := r.Host, r.Digest
	if digest != f.plan.Digest {
		return renewer.HostPlan{}, fmt.Errorf("host %s: the plan is another one now", host)
	}
	f.set++
	progress(renewer.Event{Certificate: "docker@host-b", Host: host, Type: "host_setup", Message: "restart docker.service"})
	did := f.plan
	f.plan = renewer.HostPlan{Host: host, Certificate: "docker@host-b", Changes: []renewer.FileChange{}, Notes: []string{}}
	return did, nil
}

func (f *fakeHosts) Doctor(_ context.Context, host string) ([]renewer.Finding, error) {
	f.doctors = append(f.doctors, host)
	return f.found, f.err
}

func somePlan() renewer.HostPlan {
	return renewer.HostPlan{
		Host: "host-b", Certificate: "docker@host-b", Restart: true, Notes: []string{"live-restore will be turned on"},
		Changes: []renewer.FileChange{{
			Path: "/etc/docker/daemon.json", Exists: true, Before: "secret", After: "secrets", Mode: 0o644,
			Diff: "--- /etc/docker/daemon.json\n+++ /etc/docker/daemon.json\n@@ -1,1 +1,1 @@\n-{}\n+{\"tls\": true}\n",
		}},
	}.Sealed()
}

// command runs a command line against the fake; in may be nil.
func (f *fakeHosts) command(t *testing.T, in *os.File, args ...string) (code int, out, errOut string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := &cli{in: in, out: &stdout, errOut: &stderr}
	root := newRoot(c, nil)
	ask := func(_ context.Context, do func(hostService) error) error { return do(f) }
	for _, cmd := range root.Commands() { // where they are registered already
		if cmd.Name() == "host" || cmd.Name() == "doctor" {
			root.RemoveCommand(cmd)
		}
	}
	root.AddCommand(newHost(c, ask), newDoctor(c, ask))
	checkArguments(root)
	root.SetArgs(args)
	return c.report(root.ExecuteContext(t.Context())), stdout.String(), stderr.String()
}

func TestHostCheckAndSetup(t *testing.T) {
	f := &fakeHosts{plan: somePlan()}
	for _, step := range []struct {
		args     []string
		code     int
		out, err []string
		set      int
	}{
		{args: []string{"host", "check", "host-b"}, code: 1, out: []string{"-{}\n+{\"tls\": true}\n"}, err: []string{"note: live-restore will be turned on", "restarted once", "renewer host setup host-b does this"}},
		{args: []string{"host", "setup", "host-b"}, code: 2, out: []string{"+{\"tls\": true}\n"}, err: []string{"error: cannot prompt: standard input is not a terminal (do this on host-b?)", "hint: give --yes"}},
		{args: []string{"host", "setup", "host-b", "-o", "json"}, code: 2, err: []string{"-o json does not show what would be done", "give --yes"}},
		{args: []string{"host", "setup"}, code: 2},
		{args: []string{"host", "setup", "host-b", "--yes", "-v"}, code: 0, out: []string{"+{\"tls\""}, err: []string{"host setup: restart docker.service", "host-b serves Docker over TLS: verified"}, set: 1},
		{args: []string{"host", "setup", "host-b"}, code: 0, err: []string{"host-b is set up for docker@host-b; nothing to do"}, set: 1},
		{args: []string{"host", "check", "host-b"}, code: 0, err: []string{"nothing to do"}, set: 1},
	} {
		code, out, errOut := f.command(t, nil, step.args...)
		if code != step.code || f.set != step.set {
			t.Errorf("%q: exit code %d, %d setups\n%s%s", step.args, code, f.set, out, errOut)
		}
		for _, want := range step.out {
			if !strings.Contains(out, want) {
				t.Errorf("%q: no %q on stdout:\n%s", step.args, want, out)
			}
		}
		for _, want := range step.err {
			if !strings.Contains(errOut, want) {
				t.Errorf("%q: no %q on stderr:\n%s", step.args, want, errOut)
			}
		}
	}
}

func TestHostCheckAsJSON(t *testing.T) {
	code, out, _ := (&fakeHosts{plan: somePlan()}).command(t, nil, "host", "check", "host-b", "-o", "json")
	var got renewer.HostPlan
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 {
		t.Fatalf("exit code %d: %v\n%s", code, err, out)
	}
	want := somePlan()
	if want.Changes[0].Before, want.Changes[0].After = "", ""; !cmp.Equal(got, want) || strings.Contains(out, "secret") {
		t.Errorf("got %s", out)
	}
}

// On a terminal, host setup prompts the operator and goes on only after "y" or "yes".
func TestHostSetupAsks(t *testing.T) {
	for answer, want := range map[string]struct{ code, set int }{
		"y\n": {0, 1}, "YES\n": {0, 1}, "n\n": {1, 0}, "\n": {1, 0}, "yes please\n": {1, 0}, "\x04": {1, 0}, // end of file
	} {
		keyboard, screen := terminal(t)
		if _, err := keyboard.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		f := &fakeHosts{plan: somePlan()}
		code, _, errOut := f.command(t, screen, "host", "setup", "host-b")
		if code != want.code || f.set != want.set || !strings.Contains(errOut, "do this on host-b? [y/N] ") {
			t.Errorf("%q: exit code %d, %d setups\n%s", answer, code, f.set, errOut)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if yes, err := askYes(ctx, read, &bytes.Buffer{}, "?"); yes || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %t, %v", yes, err)
	}
}

// terminal opens a pseudo terminal (pty(7)).
func terminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return keyboard, screen
}

func TestDoctor(t *testing.T) {
	f := &fakeHosts{found: []renewer.Finding{
		{Check: "reach", Host: "host-b", Certificate: "docker@host-b", Level: renewer.FindingOK, Text: "the host can be reached"},
		{Check: "san-mismatch", Host: "host-b", Certificate: "docker@host-b", Level: renewer.FindingFail, Text: "clients connect to 10.0.1.2", Fix: "add it to sans:"},
	}}
	code, out, errOut := f.command(t, nil, "doctor", "host-b")
	if code != 1 || !strings.Contains(out, "san-mismatch") || strings.Contains(out, "reached") ||
		errOut != "hint: host-b san-mismatch: add it to sans:\n2 checks, 1 passed\n" {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	if _, out, _ = f.command(t, nil, "doctor", "-v"); !strings.Contains(out, "reached") {
		t.Errorf("with -v:\n%s", out)
	}
	code, out, _ = f.command(t, nil, "doctor", "-o", "json")
	var got []renewer.Finding
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 1 || !cmp.Equal(got, f.found) {
		t.Errorf("exit code %d, %v:\n%s", code, err, out)
	}
	f.found = f.found[:1]
	code, out, errOut = f.command(t, nil, "doctor")
	if code != 0 || out != "" || errOut != "no problems found\n1 check, 1 passed\n" {
		t.Errorf("no problems: exit code %d\n%s%s", code, out, errOut)
	}
	if d := cmp.Diff([]string{"host-b", "", "", ""}, f.doctors); d != "" {
		t.Error(d)
	}
	f.err = renewer.WithHint(errors.New("there is no host host-x"), "look")
	if code, _, errOut = f.command(t, nil, "doctor", "host-x"); code != 1 || !strings.Contains(errOut, "error: there is no host host-x\nhint: look\n") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

// Colours are a setting of the process: this runs before the tests beside it.
func TestDiffColours(t *testing.T) {
	text.EnableColors()
	defer text.DisableColors()
	for line, colour := range map[string]text.Color{"+a": text.FgGreen, "-a": text.FgRed, "@@ -1 +1 @@": text.FgCyan, "+++ f": text.Bold, "--- f": text.Bold} {
		if got := diffLine(line); got != colour.Sprint(line) || got == line {
			t.Errorf("%q is %q", line, got)
		}
	}
	if got := diffLine(" a"); got != " a" {
		t.Errorf("context is %q", got)
	}
}

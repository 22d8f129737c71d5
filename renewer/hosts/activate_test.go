package hosts

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func TestSignal(t *testing.T) {
	t.Parallel()
	rootDir := t.TempDir()
	h := New(renewer.Host{Name: "host-a"}, Local(rootDir))
	// A real process that says what it got.
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), signalled+"=1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	equal(t, "process", lines.Text(), "ready")

	file := func(text string) { testpki.WriteFile(t, rootDir+"/run/svc.pid", []byte(text), 0o644) }
	a := renewer.Activation{Kind: renewer.ActivateSignal, PIDFile: "/run/svc.pid", Signal: "HUP"}
	for range 2 { // missing: first the directory, then the file
		got, err := h.Activate(t.Context(), a)
		must(t, err)
		equal(t, "not running", got.NotRunning, "pid file /run/svc.pid is missing")
		must(t, os.MkdirAll(rootDir+"/run", 0o755))
	}

	file(fmt.Sprintf("%d\n", cmd.Process.Pid))
	asked, err := h.Running(t.Context(), a)
	must(t, err)
	equal(t, "asked what does not run", asked, "")
	got, err := h.Activate(t.Context(), a)
	must(t, err)
	equal(t, "not running", got.NotRunning, "")
	lines.Scan()
	equal(t, "process", lines.Text(), "reloaded")

	for text, says := range map[string]string{
		"":                          "does not hold one process id",
		"1":                         "does not hold one process id",
		"-5":                        "does not hold one process id",
		"12 13":                     "does not hold one process id",
		"99999999999":               "does not hold one process id",
		strings.Repeat("1", 100):    "larger than",
		fmt.Sprint(os.Getpid()):     "refusing to signal process",
		"\x00\x01":                  "does not hold one process id",
		fmt.Sprint(cmd.Process.Pid): "",
	} {
		file(text)
		b := a
		if says == "" {
			b.Signal, says = "NOSUCH", `signal "NOSUCH" is unknown`
		}
		if _, err := h.Activate(t.Context(), b); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v does not say %q", text, err, says)
		}
	}

	dead := exec.Command("true")
	must(t, dead.Run())
	file(fmt.Sprint(dead.Process.Pid))
	got, err = h.Activate(t.Context(), a)
	must(t, err)
	equal(t, "not running", got.NotRunning, fmt.Sprintf("process %d of /run/svc.pid is not running", dead.Process.Pid))
	asked, err = h.Running(t.Context(), a)
	must(t, err)
	equal(t, "asked what does not run", asked, got.NotRunning)
}

func TestCommandActivation(t *testing.T) {
	t.Parallel()
	rootDir := t.TempDir()
	h := New(renewer.Host{Name: "host-a"}, Local(rootDir))
	run := func(timeout time.Duration, argv ...string) error {
		_, err := h.Activate(t.Context(), renewer.Activation{Kind: renewer.ActivateCommand, Command: argv, Timeout: timeout})
		return err
	}
	must(t, run(0, "sh", "-c", `test "$1" = "a b; c" && ! [ "$NOTIFY_SOCKET" ]`, "x", "a b; c"))
	err := run(0, "sh", "-c", "echo first; echo 'the end\x1b[1m' >&2; exit 7")
	if err == nil || !strings.HasPrefix(err.Error(), "host host-a: activate: run sh: exit status 7: ") ||
		!strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "the end[1m") { // of two streams, in any order
		t.Errorf("error %v", err)
	}
	err = run(0, "sh", "-c", "yes 0123456789 | head -c 1000000; exit 1")
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
	fails(t, run(0, "renewer-test-no-such-program"), "renewer-test-no-such-program")
	if err := run(0); err == nil {
		t.Error("ran nothing")
	}
	// What it started dies with it; its output would otherwise stay open.
	err = run(time.Second, "sh", "-c", "sleep 1000 & echo $! > "+rootDir+"/pid; wait")
	if err == nil || !strings.Contains(err.Error(), "not finished within its timeout of 1s") {
		t.Errorf("error %v", err)
	}
	data, err := os.ReadFile(rootDir + "/pid")
	must(t, err)
	var pid int
	_, err = fmt.Sscan(string(data), &pid)
	must(t, err)
	if !gone(pid) {
		t.Errorf("process %d still runs", pid)
	}
	must(t, h.Run(t.Context(), []string{"true"}))
	if err := h.Run(t.Context(), []string{"false"}); err == nil || err.Error() != "host host-a: run false: exit status 1" {
		t.Errorf("error %v", err)
	}
}

// gone waits until a killed process has no state but zombie.
func gone(pid int) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(data), ") Z ") || syscall.Kill(pid, 0) != nil {
			return true
		}
	}
	return false
}

func TestOtherActivations(t *testing.T) {
	t.Parallel()
	h := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()))
	got, err := h.Activate(t.Context(), renewer.Activation{Kind: renewer.ActivateNone})
	must(t, err)
	equal(t, "not running", got.NotRunning, "")
	_, err = h.Activate(t.Context(), renewer.Activation{Kind: "incantation"})
	fails(t, err, "unknown kind of activation")
	equal(t, "class", renewer.ClassOf(err), renewer.ClassMisconfigured)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	must(t, New(renewer.Host{Name: "host-a"}, Local("")).Check(t.Context()))
	if err := New(renewer.Host{Name: "host-a"}, Local(t.TempDir()+"/missing")).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "host-a") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(renewer.Host{Name: "host-a"}, Local("")).Check(ctx); err == nil {
		t.Error("checked with a context that is done")
	}
}

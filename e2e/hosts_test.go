//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testhosts"
)

// The tests of this file are about the hosts themselves. They are not parallel,
// so what is left behind after one of them is its own.

func TestHostsComeUp(t *testing.T) {
	hosts := startAlone(t, "host-b", "host-c")
	for _, h := range hosts {
		t.Run(h.Name, func(t *testing.T) {
			expect(t, run(t, h, "systemctl", "is-system-running"), "running")
			expect(t, run(t, h, "hostname"), h.Name)
			expect(t, ssh(t, h, "id", "-un"), testhosts.User)
			expect(t, ssh(t, h, "sudo", "-n", "systemctl", "is-active", "docker"), "active")
			if conn, err := net.DialTimeout("tcp", net.JoinHostPort(h.Address, "2376"), 5*time.Second); err == nil {
				conn.Close()
				t.Error("another process already listens on port 2376 of a host that was not set up")
			}
			if _, err := h.ReadFile(t.Context(), "/etc/docker/daemon.json"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("daemon.json of a host that was not set up: got %v, want fs.ErrNotExist", err)
			}
		})
	}
	b, c := hosts[0], hosts[1]
	expect(t, strings.Fields(run(t, b, "getent", "hosts", c.Name))[0], c.Address)
}

// TestHostKeysAreChecked shows that a login that works has proven the host.
func TestHostKeysAreChecked(t *testing.T) {
	hosts := startAlone(t, "host-b", "host-c")
	b, c := hosts[0], hosts[1]
	known, err := os.ReadFile(b.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	ofC := strings.Fields(strings.Split(string(known), "\n")[1])
	for what, text := range map[string]string{
		"unknown": strings.Join(ofC, " "),
		"changed": b.Address + " " + strings.Join(ofC[1:], " "),
	} {
		other := b.Login
		other.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
		write(t, other.KnownHosts, text+"\n")
		if out, err := other.SSH(t.Context(), "true"); err == nil || !strings.Contains(err.Error(), "Host key verification failed") {
			t.Errorf("%s host key: got %q, %v; want a refusal", what, out, err)
		}
	}
	expect(t, ssh(t, c, "echo", "known"), "known")
}

func TestContainersRun(t *testing.T) {
	b := startAlone(t, "host-b")[0]
	id, err := b.StartContainer(t.Context(), "--label=dagster/run_id=42")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, run(t, b, "docker", "ps", "--quiet", "--no-trunc", "--filter=label=dagster/run_id"), id)
	expect(t, run(t, b, "docker", "exec", id, "/bin/busybox", "echo", "inside"), "inside")
	pid, err := b.ContainerPID(t.Context(), id)
	if err != nil || pid == "0" {
		t.Fatalf("process of a running container: %q, %v", pid, err)
	}
	// Without live-restore, which is how Docker comes, a restart ends it.
	restart(t, b)
	if pid, err := b.ContainerPID(t.Context(), id); err != nil || pid != "0" {
		t.Errorf("process of the container after a restart: %q, %v; want none", pid, err)
	}
	// And with it a restart does not.
	if err := b.WriteFile(t.Context(), "/etc/docker/daemon.json", []byte(`{"live-restore": true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	id, err = b.StartContainer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before, err := b.ContainerPID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	restart(t, b)
	if after, err := b.ContainerPID(t.Context(), id); err != nil || after != before || after == "0" {
		t.Errorf("process of the container after a restart with live-restore: %q, %v; before it: %q", after, err, before)
	}
}

// TestRebootKeepsTheDisk: what is on disk survives, what is in memory does not.
func TestRebootKeepsTheDisk(t *testing.T) {
	b := startAlone(t, "host-b")[0]
	off := func() error {
		if err := b.PowerOff(); err != nil {
			return err
		}
		if out, err := b.Run(t.Context(), "true"); err == nil {
			t.Errorf("a host that is off ran a command: %q", out)
		}
		return b.PowerOn(t.Context())
	}
	for what, again := range map[string]func() error{
		"reboot":    func() error { return b.Reboot(t.Context()) },
		"power cut": off,
	} {
		for _, path := range []string{"/etc/docker/tls/kept", "/run/lost"} {
			if err := b.WriteFile(t.Context(), path, []byte(what), 0o400); err != nil {
				t.Fatal(err)
			}
		}
		if err := again(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if kept, err := b.ReadFile(t.Context(), "/etc/docker/tls/kept"); err != nil || string(kept) != what {
			t.Errorf("file on disk after a %s: %q, %v", what, kept, err)
		}
		expect(t, run(t, b, "stat", "--format=%a %U", "/etc/docker/tls/kept"), "400 root")
		if _, err := b.ReadFile(t.Context(), "/run/lost"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("file in memory after a %s: %v", what, err)
		}
		expect(t, ssh(t, b, "sudo", "-n", "systemctl", "is-active", "docker"), "active")
	}
}

func TestNetworkIsCut(t *testing.T) {
	hosts := startAlone(t, "host-b", "host-c")
	b, c := hosts[0], hosts[1]
	dial := func(h *testhosts.Host) error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(h.Address, "22"), time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := b.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dial(b) == nil {
		t.Error("a host that was cut off answers")
	}
	if err := dial(c); err != nil {
		t.Errorf("its neighbour does not: %v", err)
	}
	expect(t, run(t, b, "systemctl", "is-active", "docker"), "active")
	if err := b.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, ssh(t, b, "echo", "back"), "back")
}

func TestDiskIsFull(t *testing.T) {
	b := startAlone(t, "host-b")[0]
	const dir = "/etc/docker/tls"
	if err := b.WriteFile(t.Context(), dir+"/ca.pem", []byte("old"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := b.FillDisk(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteFile(t.Context(), dir+"/new", make([]byte, 8192), 0o444); err == nil || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("write to a full disk: %v", err)
	}
	expect(t, run(t, b, "cat", dir+"/ca.pem"), "old")
	expect(t, run(t, b, "stat", "--format=%a %U", dir+"/ca.pem"), "444 root")
	if err := b.FreeDisk(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteFile(t.Context(), dir+"/new", make([]byte, 8192), 0o444); err != nil {
		t.Errorf("write after there is room again: %v", err)
	}
}

// TestACommandEndsWithItsContext: one that hangs on a host hangs no test.
func TestACommandEndsWithItsContext(t *testing.T) {
	b := startAlone(t, "host-b")[0]
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := b.Run(ctx, "sleep", "60"); err == nil {
		t.Error("a command outlived its context")
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("a command was given up after %s", took)
	}
	if out := run(t, b, "busybox", "ps", "-o", "args"); strings.Contains(out, "sleep") || !strings.Contains(out, "dockerd") {
		t.Errorf("it still runs on the host:\n%s", out)
	}
}

// TestAllThatIsSaidIsHeard: systemd tells what it does to the one who booted it, and
// waits until that was read. A queue takes ten messages; this makes more.
func TestAllThatIsSaidIsHeard(t *testing.T) {
	b := startAlone(t, "host-b")[0]
	for range 8 {
		run(t, b, "systemctl", "daemon-reexec")
	}
	expect(t, run(t, b, "systemctl", "is-active", "docker"), "active")
}

// TestClientsRun: the clients are Debian's, on the network of the tests.
func TestClientsRun(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "note"), "by the test")
	expect(t, client(t, "cat", filepath.Join(dir, "note")), "by the test")
	if got := client(t, "docker", "--version"); !strings.HasPrefix(got, "Docker version") {
		t.Errorf("docker --version: %q", got)
	}
	client(t, "python3", "-c", "import docker")
	if got := client(t, "ip", "-brief", "address"); !strings.Contains(got, testhosts.Controller) {
		t.Errorf("the addresses of a client: %q", got)
	}
}

// TestAKilledRunLeavesNothing kills a run of these tests that has a host and a
// container up: the process that go test knows, with SIGKILL.
func TestAKilledRunLeavesNothing(t *testing.T) {
	before := groupsOfRuns(t)
	cmd := anotherRun(t, "^TestContainersRun$")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	up := false
	for lines := bufio.NewScanner(out); !up && lines.Scan(); {
		up = strings.Contains(lines.Text(), "up after")
	}
	if left, err := testhosts.Leftovers(); err != nil || len(left) < 10 {
		t.Errorf("while the other run has a host: %d processes and more (%v); its host is not seen", len(left), err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if !up {
		t.Fatal("the run ended before its host was up")
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for {
		left, err := testhosts.Leftovers()
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("after the end of a killed run:\n%s", strings.Join(left, "\n"))
		}
	}
	// Its cgroup could not go with it; the next run takes it away.
	if out, err := anotherRun(t, "^TestClientsRun$").Output(); err != nil {
		t.Fatalf("the next run: %v: %s", err, out)
	}
	for _, group := range groupsOfRuns(t) {
		if !slices.Contains(before, group) {
			t.Errorf("the cgroup %s is still there", group)
		}
	}
}

// anotherRun is these tests again, as go test starts them.
func anotherRun(t *testing.T, tests string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.v", "-test.run="+tests)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "RENEWER_TESTHOSTS_TREE=")
	})
	cmd.Stderr = os.Stderr
	return cmd
}

func groupsOfRuns(t *testing.T) []string {
	t.Helper()
	groups, err := filepath.Glob("/sys/fs/cgroup/renewer-testhosts-*")
	if err != nil || len(groups) == 0 {
		t.Fatalf("the cgroups of this run and others: %q, %v", groups, err)
	}
	return groups
}

// startAlone is testhosts.Start for a test of the hosts themselves: it says how
// long it took, and after the test nothing may be left of them.
func startAlone(t *testing.T, names ...string) []*testhosts.Host {
	t.Helper()
	t.Cleanup(func() {
		left, err := testhosts.Leftovers()
		if err != nil || len(left) > 0 {
			t.Errorf("after the hosts' end (%v):\n%s", err, strings.Join(left, "\n"))
		}
	})
	begin := time.Now()
	hosts := testhosts.Start(t, names...)
	t.Logf("%s up after %s", strings.Join(names, ", "), time.Since(begin).Round(10*time.Millisecond))
	return hosts
}

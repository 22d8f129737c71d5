package testhosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tools are the programs that it takes, and Debian's package of each.
var tools = map[string]string{
	"mmdebstrap":     "mmdebstrap",
	"systemd-nspawn": "systemd-container",
	"ip":             "iproute2",
	"nsenter":        "util-linux",
	"ssh":            "openssh-client",
}

// The environment of the processes below the first one: where the hosts' tree is, and the
// name of its cgroup.
const (
	treeVariable   = "RENEWER_TESTHOSTS_TREE"
	cgroupVariable = "RENEWER_TESTHOSTS_CGROUP"
)

// Main runs the tests of a package where they can [Start] hosts, and returns
// what os.Exit wants: 1, with the reason on stderr, also where hosts cannot be
// had. The first run builds the tree of the hosts: about two minutes, and 460
// MB on disk.
func Main(m *testing.M) int {
	// The hosts' directories are for their users too, whatever the umask of the tests.
	unix.Umask(0o022)
	code, err := stage(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testhosts:", err)
		return 1
	}
	return code
}

// stage is what this process is to do: the one that go test starts keeps the
// tree and the cgroup; the one below it is PID 1 of the namespaces, prepares
// them and lets orphans end; the last one runs the tests.
func stage(m *testing.M) (int, error) {
	tree, group := os.Getenv(treeVariable), os.Getenv(cgroupVariable)
	switch {
	case tree == "":
		return outside()
	case os.Getpid() == 1:
		if err := enter(tree); err != nil {
			return 0, err
		}
		return reap()
	case os.Getppid() == 1:
		site = &controller{tree: tree, group: filepath.Join(groupsDir, group)}
		return m.Run(), nil
	default:
		return 0, fmt.Errorf("%s is set, but not by this package", treeVariable)
	}
}

// outside prepares what a run needs, has it, and cleans up after it.
func outside() (code int, err error) {
	if err := checkMachine(); err != nil {
		return 0, err
	}
	tree, release, err := openTree(context.Background())
	if err != nil {
		return 0, err
	}
	defer release()
	group, err := newRunGroup()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, group.remove()) }()
	return again(treeVariable+"="+tree, cgroupVariable+"="+group.name)
}

// again runs this test binary in namespaces of its own and returns its exit code.
func again(environment ...string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...) //nolint:noctx // it ends with its tests, or with this process
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	// Pdeathsig is sent at the end of the thread that started the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the tests in namespaces of their own: %w", err)
	}
	defer forward(cmd.Process.Pid)()
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		// Killed has the code -1, which os.Exit would make 255.
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// reap runs the tests as a child, and waits for every process whose parent
// ended before it did: a host cannot end while one of its own is not waited for.
func reap() (int, error) {
	tests, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, err
	}
	defer forward(tests.Pid)()
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the tests: %w", err)
		case pid == tests.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == tests.Pid:
			return 0, fmt.Errorf("the tests were ended by a signal: %s", status.Signal())
		}
	}
}

// forward hands the signals that end a test run on to a process, until the
// function that it returns is called.
func forward(pid int) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = syscall.Kill(pid, s.(syscall.Signal))
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// checkMachine says what is missing to start hosts here.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("hosts are started by root only: run the tests with sudo")
	}
	var programs, packages []string
	for program, pkg := range tools {
		if _, err := exec.LookPath(program); err != nil {
			programs, packages = append(programs, program), append(packages, pkg)
		}
	}
	if len(programs) > 0 {
		return fmt.Errorf("missing here: %s; apt-get install --no-install-recommends %s",
			strings.Join(programs, ", "), strings.Join(packages, " "))
	}
	return nil
}

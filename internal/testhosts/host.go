package testhosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// searchPath is PATH for what is run on a host or as a client.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Command returns a command that runs as root on the host, by a way that needs
// neither its network nor its sshd. Of the environment only PATH is there. It
// ends with its context. If the host is off it fails to start.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	leader := "0"
	b, err := h.running()
	if err == nil {
		leader = strconv.Itoa(int(b.leader.Load()))
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target=" + leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"env", "--ignore-environment", "PATH=" + searchPath, "LC_ALL=C.UTF-8",
	}, argv...)...)
	if err != nil {
		cmd.Err = err
	}
	// nsenter waits for the command as its child, and ends after it: so that is
	// the one to end. Wait ends nsenter itself if need be.
	cmd.Cancel = func() error {
		nsenter := strconv.Itoa(cmd.Process.Pid)
		children, err := os.ReadFile(filepath.Join("/proc", nsenter, "task", nsenter, "children"))
		for child := range strings.FieldsSeq(string(children)) {
			pid, failed := strconv.Atoi(child)
			if failed == nil {
				failed = syscall.Kill(pid, syscall.SIGKILL)
			}
			err = errors.Join(err, failed)
		}
		return err
	}
	cmd.WaitDelay = time.Second
	return cmd
}

// Run runs a command as root on the host and returns what it wrote to stdout.
// The error has what it wrote to stderr; it is an *exec.ExitError inside where
// the command itself failed.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	return output(h.Command(ctx, argv...), h.Name+": "+argv[0])
}

// Login is what it takes to log in on a host as [User].
type Login struct {
	Address string // an IPv4 address; the port is 22
	// KnownHosts is an OpenSSH known_hosts file with the keys of all hosts that
	// were started together, by address.
	KnownHosts string
	// IdentityFile is the private key that they let in.
	IdentityFile string
}

// SSH runs a command through the machine's own ssh(1), with strict checking of
// the host key, and returns what it wrote to stdout; the error has its stderr.
// The words are joined by spaces and read by a shell on the host, as ssh does it.
func (l Login) SSH(ctx context.Context, argv ...string) (string, error) {
	return output(exec.CommandContext(ctx, "ssh", append([]string{
		"-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
		"-o", "ConnectTimeout=10", "-o", "GlobalKnownHostsFile=none",
		"-o", "UserKnownHostsFile=" + l.KnownHosts, "-i", l.IdentityFile,
		User + "@" + l.Address, "--",
	}, argv...)...), "ssh "+l.Address)
}

// Client returns a command that runs beside the tests, on their network, but
// with the programs of the hosts' Debian: docker, python3 with python3-docker,
// openssl. Files below os.TempDir are where they are; others are not there.
func Client(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append([]string{
		"--ignore-environment", "PATH=" + searchPath, "LC_ALL=C.UTF-8", "HOME=/root",
	}, argv...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: filepath.Join(clientRoot, "root")}
	return cmd
}

func output(cmd *exec.Cmd, what string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", what, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// ReadFile returns the content of a file of the host; of a link, what it leads
// to. The error is fs.ErrNotExist where there is none.
func (h *Host) ReadFile(ctx context.Context, path string) ([]byte, error) {
	if _, err := h.Run(ctx, "test", "-e", path); err != nil {
		if _, failed := errors.AsType[*exec.ExitError](err); failed {
			return nil, fmt.Errorf("%s: read %s: %w", h.Name, path, fs.ErrNotExist)
		}
		return nil, err
	}
	content, err := h.Run(ctx, "cat", "--", path)
	return []byte(content), err
}

// WriteFile gives a file of the host this content and mode, owned by root;
// missing directories are made. A file that is there is replaced, and so is a
// link.
func (h *Host) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	cmd := h.Command(ctx, "install", "-D", "--mode="+strconv.FormatUint(uint64(mode.Perm()), 8), "/dev/stdin", path)
	cmd.Stdin = bytes.NewReader(content)
	_, err := output(cmd, h.Name+": write "+path)
	return err
}

// Cut pulls the host's network cable: its packets and those to it are dropped,
// and it is not reported.
func (h *Host) Cut(ctx context.Context) error { return ip(ctx, "link set "+h.link()+" down") }

// Heal puts the cable back.
func (h *Host) Heal(ctx context.Context) error { return ip(ctx, "link set "+h.link()+" up") }

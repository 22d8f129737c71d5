package testhosts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Where things are in the namespaces. /run is empty there, and in memory.
const (
	groupsDir  = "/sys/fs/cgroup"
	hostsDir   = "/run/testhosts"
	clientRoot = "/run/client"
)

const (
	bridge = "renewer0"
	// Controller is the address of the tests, as the hosts see them.
	Controller = "10.77.0.1"
)

// site is where this process starts its hosts; nil before Main. A process has
// one network, so there is one of them.
var site *controller

type controller struct {
	tree  string // the tree below all hosts
	group string // the directory of this run's cgroup
}

// enter furnishes the namespaces: file systems that no one else sees, a bridge
// for the hosts, a root for the clients.
func enter(tree string) error {
	// Before any other mount: none of them may reach the rest of the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	mounts := []mount{
		{source: "proc", target: "/proc", kind: "proc"},
		{source: "tmpfs", target: "/run", kind: "tmpfs", options: "mode=755"},
	}
	var there unix.Statfs_t
	if err := unix.Statfs(groupsDir, &there); err != nil || there.Type != unix.CGROUP2_SUPER_MAGIC {
		mounts = append(mounts, mount{source: "cgroup2", target: groupsDir, kind: "cgroup2"})
	}
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, arguments := range []string{
		"link set lo up",
		"link add " + bridge + " type bridge",
		"addr add " + Controller + "/24 dev " + bridge,
		"link set " + bridge + " up",
	} {
		if err := ip(context.Background(), arguments); err != nil {
			return err
		}
	}
	if err := os.Mkdir(hostsDir, 0o700); err != nil {
		return err
	}
	return mountClient(tree)
}

// mountClient makes the root of [Client]: the hosts' tree, with the directory
// for temporary files where it is here.
func mountClient(tree string) error {
	if err := mountTree(tree, clientRoot); err != nil {
		return err
	}
	root := filepath.Join(clientRoot, "root")
	temporary := os.TempDir()
	if err := os.MkdirAll(filepath.Join(root, temporary), 0o700); err != nil {
		return err
	}
	for _, m := range []mount{
		{source: "proc", target: filepath.Join(root, "proc"), kind: "proc"},
		{source: "/dev", target: filepath.Join(root, "dev"), flags: unix.MS_BIND | unix.MS_REC},
		{source: temporary, target: filepath.Join(root, temporary), flags: unix.MS_BIND | unix.MS_REC},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountTree mounts the tree at dir/root; what is written there goes to dir.
func mountTree(tree, dir string) error {
	upper, work, root := filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{upper, work, root} {
		// The upper directory is the root directory of the host: everybody's.
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	return mount{
		source: "overlay", target: root, kind: "overlay",
		options: fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", tree, upper, work),
	}.do()
}

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

func (m mount) do() error {
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s at %s: %w", m.source, m.target, err)
	}
	return nil
}

// ip runs ip(8) with arguments that have no spaces in them.
func ip(ctx context.Context, arguments string) error {
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(arguments)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", arguments, err, strings.TrimSpace(string(out)))
	}
	return nil
}

package testhosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// rebooted is nspawn's exit code when the host asked for a reboot.
const rebooted = 133

func (h *Host) path(name string) string   { return filepath.Join(h.dir, name) }
func (h *Host) namespace() string         { return "/run/netns/" + h.id }
func (h *Host) group() string             { return filepath.Join(h.site.group, h.id) }
func (h *Host) link() string              { return "to-" + h.id }
func (h *Host) inTree(name string) string { return filepath.Join(h.dir, "root", name) }

// furnish mounts the host's disk and writes what it has of its own.
func (h *Host) furnish(login, hostKey, etcHosts []byte) error {
	if err := mountTree(h.site.tree, h.dir); err != nil {
		return err
	}
	// Docker's own layers cannot lie on an overlay.
	for _, dir := range []string{"docker", "containerd"} {
		if err := os.Mkdir(h.path(dir), 0o711); err != nil {
			return err
		}
	}
	for _, file := range []struct {
		name    string
		content []byte
		mode    fs.FileMode
	}{
		{"etc/hostname", []byte(h.Name + "\n"), 0o644},
		{"etc/hosts", append([]byte("127.0.0.1 localhost\n"), etcHosts...), 0o644},
		{"etc/ssh/ssh_host_ed25519_key", hostKey, 0o600},
		{"home/" + User + "/.ssh/authorized_keys", login, 0o600},
	} {
		if err := os.WriteFile(h.inTree(file.name), file.content, file.mode); err != nil {
			return err
		}
	}
	home, err := os.Stat(h.inTree("home/" + User))
	if err != nil {
		return err
	}
	owner := home.Sys().(*syscall.Stat_t)
	return os.Chown(h.inTree("home/"+User+"/.ssh/authorized_keys"), int(owner.Uid), int(owner.Gid))
}

// create makes the host's network and cgroup.
func (h *Host) create(ctx context.Context) error {
	for _, arguments := range []string{
		"netns add " + h.id,
		"-n " + h.id + " link set lo up",
		"link add " + h.link() + " type veth peer name eth0 netns " + h.id,
		"link set " + h.link() + " master " + bridge + " up",
		"-n " + h.id + " addr add " + h.Address + "/24 dev eth0",
		"-n " + h.id + " link set eth0 up",
	} {
		if err := ip(ctx, arguments); err != nil {
			return err
		}
	}
	return os.Mkdir(h.group(), 0o755)
}

// remove ends the host and takes back all that it was made of. It begins where
// an unfinished Start or an earlier remove stopped.
func (h *Host) remove() error {
	ctx := context.Background()
	err := h.PowerOff()
	err = errors.Join(err, removeGroup(h.group()))
	// It would go with the namespace that its other end is in, but later.
	if _, missing := net.InterfaceByName(h.link()); missing == nil {
		err = errors.Join(err, ip(ctx, "link del "+h.link()))
	}
	if _, missing := os.Stat(h.namespace()); missing == nil {
		err = errors.Join(err, ip(ctx, "netns del "+h.id))
	}
	switch unmounted := unix.Unmount(h.inTree(""), 0); unmounted {
	case nil, unix.EINVAL, unix.ENOENT: // or never mounted
	default:
		return errors.Join(err, fmt.Errorf("unmount the disk: %w", unmounted))
	}
	return errors.Join(err, os.RemoveAll(h.dir))
}

// PowerOn boots a host that is off, and returns when its boot has finished.
func (h *Host) PowerOn(ctx context.Context) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.boot != nil {
		return nil
	}
	b, err := h.start()
	if err != nil {
		return fmt.Errorf("boot %s: %w", h.Name, err)
	}
	if err := b.awaitReady(ctx); err != nil {
		b.kill()
		return fmt.Errorf("boot %s: %w; its console: %s", h.Name, err, h.console())
	}
	h.boot = b
	return nil
}

// PowerOff ends a host as a power cut does: nothing is stopped, nothing said to
// peers. What it wrote is still there at the next PowerOn.
func (h *Host) PowerOff() error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.boot == nil {
		return nil
	}
	h.boot.kill()
	h.boot = nil
	return nil
}

// Reboot shuts a host down in order, boots it again, and returns when that boot
// has finished. systemd stops what runs first, which may take as long as the
// units allow.
func (h *Host) Reboot(ctx context.Context) error {
	b, err := h.running()
	if err != nil {
		return err
	}
	// The command may die with the host that it shuts down.
	_, asked := h.Run(ctx, "systemctl", "reboot")
	select {
	case <-b.ended:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("reboot %s: it does not go down: %w", h.Name, ctx.Err()), asked)
	}
	if code := b.cmd.ProcessState.ExitCode(); code != rebooted {
		return errors.Join(fmt.Errorf("reboot %s: it ended with code %d instead", h.Name, code), asked)
	}
	h.mutex.Lock()
	if h.boot == b {
		h.boot = nil
	}
	h.mutex.Unlock()
	return h.PowerOn(ctx)
}

// running returns the boot that a host is in.
func (h *Host) running() (*boot, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.boot == nil {
		return nil, fmt.Errorf("%s is off", h.Name)
	}
	return h.boot, nil
}

// nspawn is the command that boots the host.
func (h *Host) nspawn() *exec.Cmd {
	//nolint:noctx // a host lives until it is powered off
	cmd := exec.Command("systemd-nspawn", "--quiet", "--boot", "--directory="+h.inTree(""), "--machine="+h.Name,
		// No machined and no unit is behind this: all is ours.
		"--register=no", "--keep-unit", "--console=pipe", "--notify-ready=yes", "--resolv-conf=off",
		"--network-namespace-path="+h.namespace(),
		// What dockerd takes on a machine of its own.
		"--capability=all", "--system-call-filter=@keyring bpf",
		"--bind="+h.path("docker")+":/var/lib/docker", "--bind="+h.path("containerd")+":/var/lib/containerd")
	cmd.Env = append(os.Environ(),
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=1", // /proc/sys of its own network
		"SYSTEMD_NSPAWN_LOCK=0",             // no one else knows the directory
		"NOTIFY_SOCKET="+h.path("notify"))
	return cmd
}

package testhosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// groupPrefix is how the cgroup of a run begins.
const groupPrefix = "renewer-testhosts-"

// runGroup is the cgroup of one run; each host has one below it. It is locked
// as long as the run lasts.
type runGroup struct {
	name string
	// mount is a cgroup2 file system that is mounted nowhere: the machine may
	// have it in one of several places, or not at all.
	mount *os.File
	lock  *os.File
}

// newRunGroup makes the cgroup of a run, and removes those of runs that were
// killed.
func newRunGroup() (*runGroup, error) {
	mount, err := detachedCgroups()
	if err != nil {
		return nil, err
	}
	root := filepath.Join("/proc/self/fd", fmt.Sprint(mount.Fd()))
	old, err := filepath.Glob(filepath.Join(root, groupPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range old {
		if lock, err := lockFile(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			_ = removeGroup(dir)
			lock.Close()
		}
	}
	dir, err := os.MkdirTemp(root, groupPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a cgroup: %w", err)
	}
	lock, err := lockFile(dir, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return &runGroup{name: filepath.Base(dir), mount: mount, lock: lock}, delegate(dir)
}

// remove ends what is left in the group and removes it.
func (g *runGroup) remove() error {
	defer g.mount.Close()
	defer g.lock.Close()
	return removeGroup(filepath.Join("/proc/self/fd", fmt.Sprint(g.mount.Fd()), g.name))
}

func detachedCgroups() (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, fmt.Errorf("open the cgroups of version 2: %w", err)
	}
	system, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(system)
	if err := unix.FsconfigCreate(system); err != nil {
		return fail(err)
	}
	mount, err := unix.Fsmount(system, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	return os.NewFile(uintptr(mount), "cgroup2"), nil
}

// delegate lets the groups below dir have the controllers that dir has.
func delegate(dir string) error {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(available)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return fmt.Errorf("let hosts have the cgroup controller %s: %w", name, err)
		}
	}
	return nil
}

// removeGroup kills what runs in a cgroup, waits for its end, and removes it
// with all groups below it. One that is gone is no error.
func removeGroup(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("end what runs in a cgroup: %w", err)
	}
	if err := awaitEmpty(dir); err != nil {
		return err
	}
	var groups []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	for _, group := range slices.Backward(groups) {
		err = errors.Join(err, os.Remove(group))
	}
	return err
}

// awaitEmpty waits until no process is in a cgroup or below: the kernel tells
// of a change in cgroup.events by POLLPRI.
func awaitEmpty(dir string) error {
	events, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	buffer := make([]byte, 256)
	for {
		n, err := events.ReadAt(buffer, 0)
		if n == 0 {
			return fmt.Errorf("read the events of a cgroup: %w", err)
		}
		if strings.Contains(string(buffer[:n]), "populated 0") {
			return nil
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}, 10_000)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ready == 0 && err == nil {
			return fmt.Errorf("processes in %s do not end", filepath.Base(dir))
		}
	}
}

// lockFile opens a file or directory and locks it, with the flags of flock(2).
// Closing it is unlocking it.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

package inventory

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"renewer/renewer"
)

const lockTick = 20 * time.Millisecond

// lock takes the advisory lock that bbolt uses, waiting for it up to timeout.
func lock(f *os.File, path string, shared bool, timeout time.Duration) error {
	how := syscall.LOCK_EX | syscall.LOCK_NB
	if shared {
		how = syscall.LOCK_SH | syscall.LOCK_NB
	}
	for deadline := time.Now().Add(timeout); ; {
		err := syscall.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock inventory %s: %w", path, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return locked(f, path)
		}
		<-time.After(min(left, lockTick))
	}
}

func locked(f *os.File, path string) error {
	e := &LockedError{Path: path}
	if e.PID = lockHolder(f); e.PID == 0 {
		e.PID = fileHolder(path)
	}
	if e.PID == 0 {
		return renewer.WithHint(e, "if it is the daemon, use the same fleet file: the command then uses its socket; run as root: fuser "+path)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.PID))
	if e.Command = strings.TrimSpace(string(comm)); err != nil || e.Command == "" {
		e.Command = "a process"
	}
	if e.PID == os.Getpid() {
		return renewer.WithHint(e, "this process already has it open")
	}
	return renewer.WithHint(e, fmt.Sprintf("if it is the daemon, use the same fleet file: the command then uses its socket; else wait for process %d, or stop it", e.PID))
}

// lockHolder asks the kernel for the process that has the lock (proc(5),
// /proc/locks); 0 if it does not say.
func lockHolder(f *os.File) int {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return 0
	}
	list, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer func() { _ = list.Close() }()
	major, minor := devNumbers(uint64(st.Dev))
	file := fmt.Sprintf("%02x:%02x:%d", major, minor, st.Ino)
	for s := bufio.NewScanner(list); s.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF
		w := strings.Fields(s.Text())
		if len(w) < 6 || w[1] != "FLOCK" || w[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(w[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}

// devNumbers takes a device number of Linux apart (makedev(3)).
func devNumbers(dev uint64) (major, minor uint64) {
	return dev>>8&0xfff | dev>>32&^0xfff, dev&0xff | dev>>12&0xffffff00
}

// fileHolder looks for a process that has the file open; only root sees those
// of others. File systems such as btrfs and overlayfs show another device in
// /proc/locks than in stat.
func fileHolder(path string) int {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return 0
	}
	if real, err = filepath.Abs(real); err != nil {
		return 0
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is good
	mine := 0                                      // one of them is the file that waits for the lock
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || target != real {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && pid != os.Getpid() {
			return pid
		}
		mine++
	}
	if mine > 1 {
		return os.Getpid()
	}
	return 0
}

package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"renewer/internal/cleanenv"
	"renewer/internal/procgroup"
	"renewer/renewer"
)

const (
	outputKept = 16 << 10        // of what a command prints, its end
	pipeGrace  = 2 * time.Second // for what an ended command left holding its output
)

// Run runs argv in a process group of its own, which is killed when ctx ends.
// What a command leaves running on purpose must not keep its standard output:
// it is closed pipeGrace after the command ended.
func (l *local) Run(ctx context.Context, argv []string, given ...string) ([]byte, error) {
	if len(argv) == 0 {
		return nil, errors.New("run: empty command")
	}
	for _, name := range given {
		dir, err := l.OpenDir(ctx, name, false)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", argv[0], err)
		}
		_ = dir.Close() // nothing was written
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	procgroup.Own(cmd, pipeGrace)
	cmd.Env = cleanenv.Of(os.Environ())
	cmd.Dir = "/"
	answer, all := &tail{limit: outputKept}, &tail{limit: outputKept}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(answer, all), all
	err := cmd.Run()
	switch {
	case ctx.Err() != nil && err != nil:
		err = fmt.Errorf("run %s: killed: %w", argv[0], context.Cause(ctx))
	case errors.Is(err, exec.ErrNotFound):
		err = renewer.WithHint(fmt.Errorf("run: %w", err), "install the program, or give the full path of the command")
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // ended well
	case err != nil:
		err = fmt.Errorf("run %s: %w", argv[0], err)
	}
	out := answer
	if err != nil {
		out = all
	}
	out.mu.Lock() // what was left running may still write
	defer out.mu.Unlock()
	return bytes.Clone(out.buf), err
}

// tail keeps the end of what is written to it, by several at once.
type tail struct {
	limit int
	mu    sync.Mutex
	buf   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[max(0, len(p)-t.limit):]...)
	if extra := len(t.buf) - t.limit; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

// Signal refers to the process by a descriptor, so that none which came later
// gets the signal.
func (l *local) Signal(ctx context.Context, pid int, name string, user int) error {
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	switch {
	case sig == 0 && name != AnySignal:
		return renewer.WithHint(fmt.Errorf("signal %q is unknown", name), "use a name such as HUP or USR1")
	case pid <= 1 || pid == os.Getpid():
		return fmt.Errorf("refusing to signal process %d", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if user != 0 && user != os.Geteuid() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if errors.Is(err, os.ErrNotExist) {
			return os.ErrProcessDone
		}
		if err != nil || !runsAs(string(status), user) {
			return fmt.Errorf("process %d does not belong to user %d: %w", pid, user, syscall.EPERM)
		}
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return os.ErrProcessDone
}

// runsAs reports whether a process, by its status (proc_pid_status(5)), is one
// that the user could signal: its real or its saved user (kill(2)).
func runsAs(status string, user int) bool {
	for line := range strings.Lines(status) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			f := strings.Fields(ids) // real, effective, saved, for files
			is := strconv.Itoa(user)
			return len(f) == 4 && (f[0] == is || f[2] == is)
		}
	}
	return false
}

// Owner looks names up in /etc/passwd and /etc/group of this machine, also
// where the host has a root; other name services are not asked.
// Groups implements Transport.
func (l *local) Groups(ctx context.Context, user string) ([]int, error) {
	out, err := l.Run(ctx, []string{"id", "-G", "--", user})
	if err != nil {
		return nil, err
	}
	return ReadGroups(out)
}

func (l *local) Owner(_ context.Context, userName, groupName, _ string) (Owner, error) {
	o := Owner{UID: os.Geteuid(), GID: os.Getegid()}
	if userName != "" {
		uid, gid, err := lookupUser(userName)
		if err != nil {
			return Owner{}, err
		}
		if o.UID, o.GID = uid, gid; gid < 0 && groupName == "" {
			return Owner{}, renewer.WithHint(fmt.Errorf("user %s is not in /etc/passwd, so its group is unknown", userName), "set group: too")
		}
	}
	if groupName == "" {
		return o, nil
	}
	if gid, err := strconv.Atoi(groupName); err == nil && gid >= 0 {
		o.GID = gid
		return o, nil
	}
	g, err := user.LookupGroup(groupName)
	if err != nil {
		return Owner{}, renewer.WithHint(fmt.Errorf("group %s: %w", groupName, err), "create the group, or set group: to a name or number that the host has")
	}
	o.GID, err = strconv.Atoi(g.Gid)
	return o, err
}

func (l *local) Alone(_ context.Context, o Owner) bool { return alone(o) }

// alone goes by the files of this machine, as all that looks up names here.
func alone(o Owner) bool {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return false
	}
	groups, err := os.ReadFile("/etc/group")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(groups)) {
		if OwnGroup(o, string(passwd), line) {
			return true
		}
	}
	return false
}

// lookupUser returns -1 for the group of a number that has no name.
func lookupUser(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if n, nerr := strconv.Atoi(name); nerr == nil && n >= 0 {
		if u, err = user.LookupId(name); err != nil {
			return n, -1, nil //nolint:nilerr // a number needs no entry in the user database
		}
	}
	if err != nil {
		return 0, 0, renewer.WithHint(fmt.Errorf("user %s: %w", name, err), "create the user, or set owner: to a name or number that the host has")
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, fmt.Errorf("user %s: %w", name, err)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, 0, fmt.Errorf("user %s: %w", name, err)
	}
	return uid, gid, nil
}

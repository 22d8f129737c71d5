package testhosts

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// boot is one life of a host, from power on to the end of its last process.
type boot struct {
	cmd   *exec.Cmd
	ready chan struct{} // closed when the host's PID 1 has started all units
	ended chan struct{} // closed after the end of nspawn

	leader atomic.Int32 // the process id of the host's PID 1, once there is one
}

// start starts nspawn in the host's cgroup.
func (h *Host) start() (*boot, error) {
	group, err := os.Open(h.group())
	if err != nil {
		return nil, err
	}
	defer group.Close()
	console, err := os.Create(h.path("console.log"))
	if err != nil {
		return nil, err
	}
	defer console.Close()
	_ = os.Remove(h.path("notify"))
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: h.path("notify"), Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	b := &boot{cmd: h.nspawn(), ready: make(chan struct{}), ended: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = console, console
	// A session of its own: Ctrl-C is for the tests, which then end the host.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := b.cmd.Start(); err != nil {
		notify.Close()
		return nil, err
	}
	go b.listen(notify)
	go func() {
		_ = b.cmd.Wait()
		notify.Close()
		close(b.ended)
	}()
	return b, nil
}

// listen reads what nspawn tells (sd_notify) until its end: the process id of
// the host's PID 1 first, READY=1 when that one has booted, and more after
// that. It has to be read to the end, for nspawn waits until it is.
func (b *boot) listen(notify *net.UnixConn) {
	message := make([]byte, 4096)
	for booted := false; ; {
		n, err := notify.Read(message)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(message[:n])) {
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
			case "X_NSPAWN_LEADER_PID":
				if pid, err := strconv.ParseInt(value, 10, 32); err == nil {
					b.leader.Store(int32(pid))
				}
			case "READY":
				if !booted {
					close(b.ready)
				}
				booted = true
			}
		}
	}
}

// awaitReady waits for the end of the boot.
func (b *boot) awaitReady(ctx context.Context) error {
	select {
	case <-b.ready:
		return nil
	case <-b.ended:
		return fmt.Errorf("ended while booting: %s", b.cmd.ProcessState)
	case <-ctx.Done():
		return fmt.Errorf("not ready: %w", ctx.Err())
	}
}

// kill ends the host's PID 1, and all its processes with it, and waits for
// nspawn to have noticed.
func (b *boot) kill() {
	victim := int(b.leader.Load())
	if victim == 0 {
		victim = b.cmd.Process.Pid
	}
	// Not a process that ended long ago: nspawn has not been waited for.
	select {
	case <-b.ended:
	default:
		_ = syscall.Kill(victim, syscall.SIGKILL)
		<-b.ended
	}
}

// console returns the end of what the host printed while booting.
func (h *Host) console() string {
	text, err := os.ReadFile(h.path("console.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// logJournal tells a failed test what its host said.
func (h *Host) logJournal(t testing.TB) {
	var journal strings.Builder
	cmd := h.Command(context.Background(), "journalctl", "--no-pager", "--output=short-precise", "--lines=120")
	cmd.Stdout, cmd.Stderr = &journal, io.Discard
	if err := cmd.Run(); err != nil {
		t.Logf("no journal of %s (%v); its console: %s", h.Name, err, h.console())
		return
	}
	t.Logf("the journal of %s:\n%s", h.Name, journal.String())
}

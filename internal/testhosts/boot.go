package testhosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// boot is one life of a host, from power on to the end of its last process.
type boot struct {
	cmd    *exec.Cmd
	notify *net.UnixConn
	leader int           // the process id of the host's PID 1, once it is ready
	ended  chan struct{} // closed after the end of nspawn
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
	b := &boot{cmd: h.nspawn(), notify: notify, ended: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = console, console
	// A session of its own: Ctrl-C is for the tests, which then end the host.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := b.cmd.Start(); err != nil {
		notify.Close()
		return nil, err
	}
	go func() {
		_ = b.cmd.Wait()
		notify.Close()
		close(b.ended)
	}()
	return b, nil
}

// awaitReady reads what nspawn says (sd_notify): the process id of the host's
// PID 1 first, and READY=1 when that one has started all units.
func (b *boot) awaitReady(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { b.notify.Close() })
	defer stop()
	message := make([]byte, 4096)
	for {
		n, err := b.notify.Read(message)
		if err != nil {
			select {
			case <-b.ended:
				return fmt.Errorf("ended while booting: %s", b.cmd.ProcessState)
			default:
				return errors.Join(errors.New("not ready"), ctx.Err())
			}
		}
		for line := range strings.Lines(string(message[:n])) {
			switch name, value, _ := strings.Cut(strings.TrimSpace(line), "="); name {
			case "X_NSPAWN_LEADER_PID":
				if b.leader, err = strconv.Atoi(value); err != nil {
					return err
				}
			case "READY":
				if b.leader == 0 {
					return errors.New("ready, but its PID 1 is not known")
				}
				return nil
			}
		}
	}
}

// kill ends the host's PID 1, and all its processes with it, and waits for
// nspawn to have noticed.
func (b *boot) kill() {
	victim := b.leader
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

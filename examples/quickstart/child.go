package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// grace is how long a child may take to end; the daemon parks what is under
// way well within it.
const grace = 20 * time.Second

// child is a process that lives as long as the quickstart.
type child struct {
	name string
	log  string // file with all that it writes
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// startChild starts a process with its output appended to log. It gets no
// Ctrl-C from the terminal, being in a group of its own, and is ended with us
// even if we are killed. Call it from the main thread: the kernel counts the
// death of the thread that started a child as its parent's.
func startChild(name, log string, argv ...string) (*child, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of the %s: %w", name, err)
	}
	defer out.Close()
	c := &child{name: name, log: log, gone: make(chan struct{})}
	c.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx // it is ended by stop, with a signal that lets it finish
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	go func() {
		defer close(c.gone)
		_ = c.cmd.Wait() // what it says stands in ProcessState
	}()
	return c, nil
}

// stop ends the child and waits for it.
func (c *child) stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the %s: %w", c.name, err)
	}
	select {
	case <-c.gone:
		return nil
	case <-time.After(grace):
		_ = c.cmd.Process.Kill()
		<-c.gone
		return fmt.Errorf("the %s did not stop within %s and was killed; its log is %s", c.name, grace, c.log)
	}
}

// died explains an end that no one asked for, with the last lines of the log.
func (c *child) died() error {
	text, _ := os.ReadFile(c.log)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return fmt.Errorf("the %s exited (%s); the end of %s:\n  %s",
		c.name, c.cmd.ProcessState, c.log, strings.Join(lines, "\n  "))
}

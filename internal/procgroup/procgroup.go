// Package procgroup has a command end with all that it started.
package procgroup

import (
	"os/exec"
	"syscall"
	"time"
)

// Own gives a command, made by exec.CommandContext, a process group of its own, which is
// killed when its context ends. What it left running on purpose must not keep its output:
// that is closed grace after the command ended.
func Own(cmd *exec.Cmd, grace time.Duration) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = grace
}

package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
)

// defaultTimeout bounds an activation that names no timeout: as long as
// systemd gives a unit to stop and to start (systemd-system.conf(5),
// DefaultTimeoutStartSec=).
const defaultTimeout = 90 * time.Second

// Activate makes the service load what is live, within the activation's
// timeout. What does not run is left alone and named in the result.
//
//	systemd  units that run or have failed are restarted, or reloaded
//	signal   the process in the pid file gets the signal
//	command  the exit status is the result
//	docker   a container that runs is restarted, or signalled, and awaited
//
// Where another renewer keeps the placements' directory by now, nothing is done; a
// unit or a command is not even started then, where the account may look at the mark.
//
// A pid file that outlived its process can name a process that came later:
// that is not known from the file, and a signal goes to it.
func (h *Host) Activate(ctx context.Context, a renewer.Activation) (renewer.Activated, error) {
	return h.activate(ctx, a, false)
}

// Running says what Activate would leave alone because it does not run, and
// changes nothing. Of a command that is not known.
func (h *Host) Running(ctx context.Context, a renewer.Activation) (string, error) {
	if a.Kind == renewer.ActivateCommand {
		return "", nil
	}
	did, err := h.activate(ctx, a, true)
	return did.NotRunning, err
}

func (h *Host) activate(ctx context.Context, a renewer.Activation, ask bool) (renewer.Activated, error) {
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not finished within its timeout of %s", timeout))
	defer cancel()
	var out renewer.Activated
	var err error
	switch a.Kind {
	case renewer.ActivateNone, "":
		return out, nil
	case renewer.ActivateSystemd:
		out, err = h.activateUnits(ctx, a, ask)
	case renewer.ActivateSignal:
		if ask {
			a.Signal = AnySignal
		}
		out, err = h.signal(ctx, a)
	case renewer.ActivateCommand:
		var given []string
		if given, err = h.given(ctx, a.Dirs); err == nil {
			_, err = h.output(ctx, a.Command, given...)
		}
	case renewer.ActivateDocker:
		out, err = h.activateContainer(ctx, a, ask)
	default:
		err = &renewer.Error{
			Class: renewer.ClassMisconfigured, Err: fmt.Errorf("unknown kind of activation %q", a.Kind),
			Hint: "use systemd, docker, signal or command",
		}
	}
	if err == nil {
		return out, nil
	}
	if !ask && !errors.Is(err, renewer.ErrUnreachable) {
		if kept := h.allMine(ctx, a.Dirs); errors.Is(kept, renewer.ErrKept) {
			err = kept
		}
	}
	return out, fmt.Errorf("host %s: activate: %w", h.name, err)
}

func (h *Host) signal(ctx context.Context, a renewer.Activation) (renewer.Activated, error) {
	pid, writer, err := h.readPID(ctx, a.PIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return renewer.Activated{NotRunning: "pid file " + a.PIDFile + " is missing"}, nil
	}
	if err != nil {
		return renewer.Activated{}, err
	}
	if a.Signal != AnySignal {
		if err := h.allMine(ctx, a.Dirs); err != nil {
			return renewer.Activated{}, err
		}
	}
	err = h.transport.Signal(ctx, pid, a.Signal, writer)
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return renewer.Activated{NotRunning: fmt.Sprintf("process %d of %s is not running", pid, a.PIDFile)}, nil
	case a.Signal == AnySignal && (errors.Is(err, fs.ErrPermission) || renewer.ClassOf(err) == renewer.ClassMisconfigured): // another user's, or sudo does not let it be asked
		err = nil
	case errors.Is(err, fs.ErrPermission):
		err = renewer.WithHint(err, "run renewer as root or as the user of that process; a pid file that another user owns may only name processes of that user")
	}
	if err != nil {
		return renewer.Activated{}, fmt.Errorf("send %s to process %d of %s: %w", a.Signal, pid, a.PIDFile, err)
	}
	return renewer.Activated{}, nil
}

// readPID reads a pid file: one number above 1, as daemons write it (daemon(7)).
// writer is the user whose file it is.
func (h *Host) readPID(ctx context.Context, file string) (pid, writer int, err error) {
	const limit = 64
	dir, err := h.transport.OpenDir(ctx, path.Dir(file), false)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = dir.Close() }()
	info, data, err := dir.ReadFile(path.Base(file), limit)
	if err != nil {
		return 0, 0, fmt.Errorf("pid file %s: %w", file, err)
	}
	if err := h.theirsAlone(ctx, file, info, "and so choose the process that gets the signal"); err != nil {
		return 0, 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 32)
	if err != nil || n <= 1 {
		return 0, 0, renewer.WithHint(fmt.Errorf("pid file %s does not hold one process id", file), "set pid_file: to the file that the service writes")
	}
	return int(n), info.Owner.UID, nil
}

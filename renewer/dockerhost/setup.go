package dockerhost

import (
	"context"
	"fmt"
	"strings"
	"time"

	"renewer/renewer"
)

// Setup carries a plan out on a machine.
type Setup struct {
	Machine   Machine
	Placement renewer.Placement
	// Prove looks at what is served after the restart, with retries of its own.
	Prove func(context.Context) error
	// Progress gets a line for each step; nil: no process listens.
	Progress func(string)
	// Force goes on where containers will end.
	Force bool
	Now   func() time.Time // for the names of copies; nil: time.Now
	Pause time.Duration    // between two looks at a reload; 0: a fifth of a second
}

const (
	restoreTime = 3 * time.Minute // for the way back, even when ctx has ended
	reloadLooks = 25
)

// work is one plan being carried out.
type work struct {
	Setup
	plan     renewer.HostPlan
	before   renewer.DockerState
	copies   []string // made beside the files
	written  []renewer.FileChange
	interim  string // daemon.json as it was, with live-restore on; see interimOf
	settings string // the file that dockerd reads: daemon.json
	keeps    bool   // live-restore is on in the daemon that runs
	wall     bool   // the firewall\'s rules are part of the plan
	began    bool   // systemd or the daemon got a command
	restart  bool   // the daemon was restarted, or may have been
}

// Apply carries out a plan that was made of this machine: copies, files,
// daemon-reload, reset-failed, one restart, the proof. An empty plan is only
// proven. If anything fails, everything is put back; the error says what
// failed, and whether all is back.
//
// Nothing is begun where files are not as the plan has seen them, where the
// certificate's files are missing or do not make a pair, or where containers
// would end and it is not forced.
func (s Setup) Apply(ctx context.Context, plan renewer.HostPlan) error {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Progress == nil {
		s.Progress = func(string) {}
	}
	if s.Pause <= 0 {
		s.Pause = 200 * time.Millisecond
	}
	w := &work{Setup: s, plan: plan}
	err := w.preconditions(ctx)
	if err == nil && !plan.Empty() {
		if err = w.carryOut(ctx); err != nil {
			return fmt.Errorf("set up %s: %w", plan.Host, w.putBack(ctx, err))
		}
		return nil
	}
	if err == nil {
		err = w.prove(ctx)
	}
	if err != nil {
		return fmt.Errorf("set up %s: %w", plan.Host, err)
	}
	return nil
}

func (w *work) carryOut(ctx context.Context) error {
	stamp := w.Now().UTC().Format("20060102T150405Z")
	for _, c := range w.plan.Changes {
		if c.Exists {
			to := c.Path + ".renewer-backup-" + stamp
			w.copies = append(w.copies, to) // also if the answer is lost
			if err := w.Machine.WriteFile(ctx, to, []byte(c.Before), c.Mode); err != nil {
				return err
			}
		}
	}
	if w.plan.Restart {
		if err := w.keepContainers(ctx); err != nil {
			return err
		}
	}
	for _, c := range w.plan.Changes {
		w.Progress("write " + c.Path)
		w.written = append(w.written, c) // from now on it may be there
		if err := w.Machine.WriteFile(ctx, c.Path, []byte(c.After), c.Mode); err != nil {
			return err
		}
	}
	w.began = true
	if err := w.systemd(ctx, "daemon-reload"); err != nil {
		return err
	}
	if w.wall { // before the port is open
		w.Progress("open the port for the known clients only")
		for _, args := range [][]string{{"enable", "--now", "--", firewallUnit}, {"restart", "--", firewallUnit}} {
			if err := w.systemd(ctx, args...); err != nil {
				return err
			}
		}
	}
	if w.restart = w.plan.Restart; w.restart {
		if err := w.bring(ctx); err != nil {
			return err
		}
	}
	return w.prove(ctx)
}

func (w *work) prove(ctx context.Context) error {
	if w.Prove == nil {
		return nil
	}
	w.Progress("check the served certificate")
	if err := w.Prove(ctx); err != nil {
		return fmt.Errorf("the service does not serve the expected certificate: %w", err)
	}
	return nil
}

// bring starts dockerd with the files that are there. A unit at its start
// limit stays down without reset-failed.
func (w *work) bring(ctx context.Context) error {
	unit := unitOf(w.Placement)
	if err := w.systemd(ctx, "reset-failed", "--", unit); err != nil {
		return err
	}
	w.Progress("restart " + unit)
	return w.systemd(ctx, "restart", "--", unit)
}

func (w *work) systemd(ctx context.Context, args ...string) error {
	if _, err := w.Machine.Output(ctx, systemctl(args...)); err != nil {
		err = fmt.Errorf("systemctl %s: %w", strings.ReplaceAll(strings.Join(args, " "), "-- ", ""), err)
		if renewer.Hint(err) == "" && (args[0] == "restart" || args[0] == "reload") {
			err = renewer.WithHint(err, "run on the host: journalctl -n 50 -u "+unitOf(w.Placement))
		}
		return err
	}
	return nil
}

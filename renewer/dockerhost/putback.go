package dockerhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"renewer/renewer"
)

// putBack undoes what was begun, and returns why it had to, with what it came
// to. It goes on where something cannot be put back.
func (w *work) putBack(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), restoreTime, fmt.Errorf("not back within %s", restoreTime))
	defer cancel()
	if len(w.written) == 0 {
		return w.ended(ctx, cause, nil)
	}
	w.Progress("setup failed: rolling back all changes")
	var failed []error
	note := func(err error) {
		if err != nil {
			failed = append(failed, err)
		}
	}
	// A restart without live-restore would end the containers.
	soften := w.restart && w.keeps && w.interim != "" && w.before.Containers > 0
	if w.wall && w.began { // while the unit still says how
		note(w.systemd(ctx, "disable", "--now", "--", firewallUnit))
	}
	done := map[string]bool{}
	for _, c := range w.written {
		if done[c.Path] {
			continue
		}
		done[c.Path] = true
		if soften && c.Path == w.settings {
			note(w.Machine.WriteFile(ctx, c.Path, []byte(w.interim), c.Mode))
			continue
		}
		note(w.original(ctx, c))
	}
	if w.began {
		note(w.systemd(ctx, "daemon-reload"))
		if i := slices.IndexFunc(w.written, func(c renewer.FileChange) bool { return c.Path == firewallFile }); i >= 0 && w.written[i].Exists {
			note(w.systemd(ctx, "enable", "--now", "--", firewallUnit))
		}
	}
	var down error
	if w.restart {
		down = w.runAsBefore(ctx)
	}
	if soften {
		for _, c := range w.written {
			if c.Path == w.settings {
				note(w.original(ctx, c))
				break
			}
		}
	}
	if unit := unitOf(w.Placement); down != nil && len(failed) == 0 && w.before.Running {
		w.dropCopies(ctx)
		return renewer.WithHint(fmt.Errorf("%w; the rollback is INCOMPLETE: the files are restored, but %s does not start with them either: %w", cause, unit, down),
			"run on the host: journalctl -n 50 -u "+unit+"; then systemctl reset-failed "+unit+" and systemctl restart "+unit)
	}
	note(down)
	return w.ended(ctx, cause, failed)
}

// original gives a file its old bytes, or removes one that was not there.
func (w *work) original(ctx context.Context, c renewer.FileChange) error {
	if !c.Exists {
		return w.Machine.Remove(ctx, c.Path)
	}
	return w.Machine.WriteFile(ctx, c.Path, []byte(c.Before), c.Mode)
}

// runAsBefore brings the daemon to where it was. One that did not run before
// is stopped: it may be unable to run with its old files.
func (w *work) runAsBefore(ctx context.Context) error {
	if w.before.Running {
		return w.bring(ctx)
	}
	return errors.Join(w.systemd(ctx, "stop", "--", unitOf(w.Placement)), w.systemd(ctx, "reset-failed", "--", unitOf(w.Placement)))
}

// dropCopies takes the copies away once the files are back; one too many does no harm.
func (w *work) dropCopies(ctx context.Context) {
	for _, c := range w.copies {
		if err := w.Machine.Remove(ctx, c); err != nil {
			return
		}
	}
}

// ended says how the way back went. Copies are of use only where it failed.
func (w *work) ended(ctx context.Context, cause error, failed []error) error {
	hint := renewer.Hint(cause)
	if len(failed) == 0 {
		w.dropCopies(ctx)
		back := "all changes were rolled back"
		if !w.before.Running && w.restart {
			back += ", and " + unitOf(w.Placement) + " is not running, as before"
		}
		if w.keeps && !w.before.LiveRestore {
			back += ", except that live-restore stays on in the daemon until its next restart; its containers kept running"
		}
		return renewer.WithHint(fmt.Errorf("%w; %s", cause, back), hint)
	}
	back := errors.Join(failed...)
	if len(w.copies) > 0 {
		hint = "restore by hand from " + strings.Join(w.copies, ", ") + ", then systemctl daemon-reload, systemctl reset-failed " +
			unitOf(w.Placement) + ", systemctl restart " + unitOf(w.Placement)
	}
	return renewer.WithHint(fmt.Errorf("%w; the rollback is INCOMPLETE: %w", cause, back), hint)
}

package dockerhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
)

// keepContainers switches live-restore on in the daemon that runs.
func (w *work) keepContainers(ctx context.Context) error {
	if !w.before.Running || w.before.LiveRestore {
		return nil
	}
	err := w.switchOn(ctx)
	if err == nil || w.before.Containers == 0 || w.Force {
		return nil // nothing ends, or it is meant to
	}
	return renewer.WithHint(fmt.Errorf("live-restore could not be turned on, and a restart would stop %d containers: %w", w.before.Containers, err),
		"stop the containers first, or allow it with guard: {docker: {without_live_restore: force}}")
}

func (w *work) switchOn(ctx context.Context) error {
	i := slices.IndexFunc(w.plan.Changes, func(c renewer.FileChange) bool { return c.Path == w.settings })
	if i >= 0 && w.interim == "" {
		return errors.New("dockerd did not apply it from daemon.json: the host is in a swarm, or a flag overrides it")
	}
	w.Progress("turn on live-restore, so that containers keep running while dockerd restarts")
	if i >= 0 {
		c := w.plan.Changes[i]
		w.written = append(w.written, c)
		if err := w.Machine.WriteFile(ctx, w.settings, []byte(w.interim), c.Mode); err != nil {
			return err
		}
	}
	if err := w.systemd(ctx, "reload", "--", unitOf(w.Placement)); err != nil {
		return err
	}
	for range reloadLooks { // dockerd reads the file after the signal was sent
		st, err := w.Machine.Docker(ctx, "")
		if w.keeps = st.LiveRestore; err != nil || w.keeps {
			return err
		}
		if err := wait(ctx, w.Pause); err != nil {
			return err
		}
	}
	return renewer.WithHint(errors.New("dockerd was reloaded, but live-restore is still off"),
		"run on the host: journalctl -n 50 -u "+unitOf(w.Placement))
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

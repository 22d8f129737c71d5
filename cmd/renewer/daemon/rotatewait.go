package daemon

import (
	"context"
	"slices"

	"renewer/configs"
	"renewer/renewer"
)

// awaitRotation waits until a rotation is complete or needs manual action. Without a
// daemon it runs the passes itself, and also returns when the remaining steps must wait.
func (a *App) awaitRotation(ctx context.Context, is configs.Issuer, tell func() error) (renewer.RotationView, error) {
	for {
		moved := a.rotations.change()
		one, wait, _ := a.rotations.of(is.Name)
		if err := tell(); err != nil || one.Stage.Over() || wait.Blocked() {
			return a.rotationView(is.Name), err
		}
		if a.daemon.Load() == nil {
			if _, err := a.RunOnce(ctx, nil); err != nil {
				return a.rotationView(is.Name), err
			}
			after, left, _ := a.rotations.of(is.Name)
			if after.Stage == one.Stage && slices.Equal(namesOf(left.For), namesOf(wait.For)) { // nothing more can be done now
				return a.rotationView(is.Name), tell()
			}
			continue
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return a.rotationView(is.Name), ctx.Err()
		}
	}
}

// rotationProgress returns a function that passes new events of the issuer to progress.
func (a *App) rotationProgress(issuer string, after uint64, progress func(renewer.Event)) func() error {
	return func() error {
		if progress == nil {
			return nil
		}
		events, err := a.store.Events(renewer.EventFilter{After: after})
		for _, e := range events {
			if after = max(after, e.Seq); e.Issuer == issuer {
				progress(e)
			}
		}
		return err
	}
}

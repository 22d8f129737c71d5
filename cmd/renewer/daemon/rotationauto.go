package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/rotation"
)

// beginRotation does what the fleet file asks for without an operator: a next CA
// whose root is trusted ahead of time (standby_root), and a rotation when the CA has
// lived long enough (rotate_at).
func (a *App) beginRotation(ctx context.Context, is configs.Issuer) (began bool, err error) {
	if one, _, ok := a.rotations.of(is.Name); !is.StandbyRoot && is.RotateAt == 0 || ok && !one.Stage.Over() {
		return false, nil
	}
	cfg := localConfig(is)
	lazy, _ := engine.Can[*lazyCA](a.parts.Load().issuers[is.Name])
	signing, err := lazy.open()
	if err != nil {
		return false, nil //nolint:nilerr // the issuer's health says so
	}
	_, _, err = local.NextRoot(cfg)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, err
	}
	if is.StandbyRoot && missing {
		if _, err := local.CreateNext(cfg, local.NextOptions{Accept: func(ca *local.Authority) error { return accept(a.parts.Load().fleet, is.Name, ca) }}); err != nil {
			return false, err
		}
		return true, a.rotated(ctx, is.Name)
	}
	i := signing.Info()
	at := i.NotBefore.Add(time.Duration(float64(i.NotAfter.Sub(i.NotBefore)) * float64(is.RotateAt)))
	if is.RotateAt == 0 || time.Now().Before(at) {
		return false, nil
	}
	one, err := a.nextCA(is, renewer.RotateRequest{Kind: string(rotation.Made)}, false)
	if err != nil {
		return false, err
	}
	one.Why = fmt.Sprintf("rotate_at: %g%% of its lifetime had passed at %s", float64(is.RotateAt)*100, at.UTC().Format(time.RFC3339))
	return true, a.recordStart(ctx, one)
}

// keepRotations steps rotations when something they may wait for was recorded, and
// every minute for what only time changes.
func (a *App) keepRotations(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if _, err := a.stepRotations(ctx); err != nil && ctx.Err() == nil {
			a.opts.log().Error("could not replace a CA", "error", err, "hint", renewer.Hint(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.rotations.wake:
			select { // what follows at once is looked at together
			case <-ctx.Done():
				return
			case <-time.After(rotationPause):
			}
		}
	}
}

// rotationPause is how long commits are gathered before a rotation looks at them.
const rotationPause = 250 * time.Millisecond

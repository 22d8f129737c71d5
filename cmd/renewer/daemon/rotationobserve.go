package daemon

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/rotation"
)

// observeRotation looks at what is in place. acting: what waits for a window is
// hurried where that was asked for.
func (a *App) observeRotation(ctx context.Context, is configs.Issuer, one rotation.Rotation, acting bool) (o rotation.Observed, err error) {
	lazy, _ := engine.Can[*lazyCA](a.parts.Load().issuers[is.Name])
	ca, err := lazy.open()
	if err != nil {
		return o, err
	}
	info := ca.Info()
	o.Signing = info.Fingerprint
	switch signs, _, err := local.NextRoot(localConfig(is)); {
	case err == nil:
		o.Next = renewer.Fingerprint(signs.Raw)
		if next, err := lazy.openNext(); err != nil {
			o.NextErr = err
		} else {
			o.NextErr = next.Health(ctx)
		}
	case !errors.Is(err, fs.ErrNotExist):
		o.NextErr = err
	}
	o.SwitchBy = info.NotAfter.Add(-a.longest(is.Name))
	at, err := a.eng.Succession(ctx, engine.Succeeding{
		Issuer: is.Name, From: one.From.Root, To: one.To.Root, Switched: o.Signing == one.To.Fingerprint, Cancelled: !one.CancelledAt.IsZero(),
	})
	if err != nil {
		return o, err
	}
	if acting && (one.Now || one.Compromised) {
		if err := a.hurryRotation(ctx, one, at); err != nil {
			return o, err
		}
	}
	down := a.down()
	for _, h := range at.Lacking {
		why := h.Name + " does not have the root of " + one.To.Subject + " yet"
		if h.InPlace {
			why = h.Name + " has the root of " + one.To.Subject + ", and is not known to have loaded it"
		}
		o.Lacking = append(o.Lacking, holder(h, why, down))
	}
	for _, h := range at.Presenting {
		o.Presenting = append(o.Presenting, holder(h, h.Name+" presents a certificate under "+one.From.Subject, down))
	}
	whose := one.From.Subject
	if o.Signing != one.To.Fingerprint {
		whose = one.To.Subject
	}
	for _, h := range at.Holding {
		o.Holding = append(o.Holding, holder(h, h.Name+" has the root of "+whose+" still", down))
	}
	return o, nil
}

func holder(h engine.Held, why string, down map[string]bool) rotation.Holder {
	away := h.Lost || down[h.Host]
	switch {
	case h.Why != "":
		why += ": " + h.Why
	case away:
		why += ": " + h.Host + " cannot be reached"
	}
	return rotation.Holder{Name: h.Name, Certificate: h.Certificate, Host: h.Host, Why: why, Away: away, Blocked: h.Blocked, Until: h.Until, Left: h.Left}
}

// down are the hosts that did not answer last.
func (a *App) down() map[string]bool {
	out := map[string]bool{}
	_, hosts := a.health.all()
	for _, h := range hosts {
		out[h.Name] = !h.Up
	}
	return out
}

// longest is the longest life of a certificate of an issuer.
func (a *App) longest(issuer string) (life time.Duration) {
	for _, c := range a.parts.Load().fleet.Certificates {
		if c.Issuer == issuer {
			life = max(life, c.Lifetime)
		}
	}
	return life
}

// hurryRotation has what a rotation waits for done whatever its window.
func (a *App) hurryRotation(ctx context.Context, one rotation.Rotation, at engine.Progress) error {
	switch one.Stage {
	case rotation.AddRoot:
		return a.eng.Hurry(ctx, at.Lacking)
	case rotation.DropRoot:
		return a.eng.Hurry(ctx, at.Holding)
	case rotation.Reissue:
	default:
		return nil
	}
	var names []string
	for _, h := range at.Presenting {
		if _, ok := a.parts.Load().fleet.Certificate(h.Certificate); ok && !h.Hurried && !h.Blocked && !slices.Contains(names, h.Certificate) {
			names = append(names, h.Certificate)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if _, err := a.eng.Renew(ctx, names, renewer.Overrides{}, false, nil); err == nil {
		return nil
	}
	for _, name := range names { // one that is busy now is asked with the next step
		if _, err := a.eng.Renew(ctx, []string{name}, renewer.Overrides{}, false, nil); err != nil && ctx.Err() == nil {
			a.opts.log().Debug("issue anew", "certificate", name, "error", err)
		}
	}
	return ctx.Err()
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/rotation"
)

// stepRotations brings every rotation as far as it goes now, and reports whether any
// changed.
func (a *App) stepRotations(ctx context.Context) (changed bool, err error) {
	a.rotations.stepping.Lock()
	defer a.rotations.stepping.Unlock()
	var errs []error
	for _, is := range a.parts.Load().fleet.Issuers {
		if is.Type != "local" {
			continue
		}
		began, err := a.beginRotation(ctx, is)
		if err != nil {
			errs = append(errs, err)
		}
		moved, err := a.stepRotation(ctx, is)
		if err != nil {
			errs = append(errs, err)
		}
		changed = changed || began || moved
	}
	return changed, errors.Join(errs...)
}

// stepRotation moves a rotation past the stages that are complete, and reports
// whether there is new work.
func (a *App) stepRotation(ctx context.Context, is configs.Issuer) (changed bool, err error) {
	for {
		one, _, ok := a.rotations.of(is.Name)
		if !ok || one.Stage.Over() {
			return changed, nil
		}
		o, err := a.observeRotation(ctx, is, one, true)
		if err != nil {
			return changed, errors.Join(ctx.Err(), a.waitRotation(ctx, one, rotation.Wait{Err: err}))
		}
		changed = changed || o.Hurried
		if !one.CancelledAt.IsZero() && o.Next == one.To.Fingerprint { // the command was cut short
			if err := local.DropNext(localConfig(is)); err != nil {
				return changed, err
			}
			if err := a.rotated(ctx, is.Name); err != nil {
				return changed, err
			}
			continue
		}
		d := rotation.Decide(one, o, time.Now())
		if d.Switch {
			if err := local.Switch(localConfig(is), one.To.Fingerprint); err != nil {
				return changed, a.waitRotation(ctx, one, rotation.Wait{Err: err})
			}
			lacking := o.Lacking
			if o, err = a.observeRotation(ctx, is, one, true); err != nil {
				return changed, err
			}
			o.Lacking = lacking
			d = rotation.Decide(one, o, time.Now())
		}
		if one.Compromised && !one.Listed && !one.SwitchedAt.IsZero() && d.Stage != rotation.Reissue {
			var said []renewer.Event
			for _, old := range one.Replaced() {
				if old.TakenBack {
					continue
				}
				n, err := a.listOld(ctx, is, old)
				if err != nil && !errors.Is(err, local.ErrNoCRL) {
					return changed, a.waitRotation(ctx, one, rotation.Wait{Err: err})
				}
				text := fmt.Sprintf("%d certificates of %s are on its CRL", n, old.Subject)
				if err != nil {
					text = fmt.Sprintf("%s may not sign a CRL: its %d certificates are on none", old.Subject, n)
				}
				said = append(said, renewer.Event{Type: renewer.EventCARotationStage, Message: text})
			}
			one.Listed = true
			if err := a.recordRotation(ctx, one, d.Wait, said...); err != nil {
				return changed, err
			}
		}
		next, events := advance(one, d, o, time.Now())
		if len(events) == 0 {
			return changed, a.waitRotation(ctx, one, d.Wait)
		}
		changed = true
		if err := a.recordRotation(ctx, next, d.Wait, events...); err != nil {
			return changed, err
		}
		if err := a.rotated(ctx, is.Name); err != nil {
			return changed, err
		}
	}
}

// rotated tells the engine, and has what is shown of the issuer follow.
func (a *App) rotated(ctx context.Context, issuer string) error {
	a.health.askAnew(ctx, a.parts.Load(), issuer)
	return a.eng.Rotate(ctx, a.rotations.engine(), issuer)
}

// advance is the record after a decision, and the events of what changed.
func advance(r rotation.Rotation, d rotation.Decision, o rotation.Observed, now time.Time) (rotation.Rotation, []renewer.Event) {
	var events []renewer.Event
	if r.Switched(o) && r.SwitchedAt.IsZero() {
		r.SwitchedAt = now.UTC()
		text := fmt.Sprintf("%s signs now, in the place of %s", r.To.Subject, r.From.Subject)
		if o.Followed {
			text = fmt.Sprintf("%s signed in the place of %s, and another CA does since", r.To.Subject, r.From.Subject)
		} else if n := len(o.Lacking); n > 0 && !r.Compromised {
			text += fmt.Sprintf("; without the new root are still %d: %s", n, strings.Join(namesOf(o.Lacking[:min(n, mostWaits)]), ", "))
		}
		events = append(events, renewer.Event{Type: renewer.EventCARotationSwitched, Message: text})
	}
	if d.Stage == r.Stage {
		return r, events
	}
	r.Stage, r.StageAt = d.Stage, now.UTC()
	switch d.Stage {
	case rotation.Done, rotation.Cancelled:
		r.EndedAt, r.Left = now.UTC(), nil
		if d.Stage == rotation.Done {
			r.Left = o.Trusting
		}
		kind, text := renewer.EventCARotationDone, fmt.Sprintf("%s is the CA of every host; the key of %s is kept", r.To.Subject, r.From.Subject)
		if d.Stage == rotation.Cancelled {
			kind, text = renewer.EventCARotationCancelled, fmt.Sprintf("the root of %s is in no ca file any more", r.To.Subject)
		} else if o.Followed {
			text = fmt.Sprintf("the root of %s is in no ca file any more", r.From.Subject)
		} else if r.Compromised && len(r.Old()) == 0 {
			text = fmt.Sprintf("%s is the CA of every host; the root above %s is trusted still: what looks at no CRL accepts what its key signs", r.To.Subject, r.From.Subject)
		} else if r.Compromised && len(r.Left) > 0 {
			text = fmt.Sprintf("%s is the CA of every host that was not excluded; the root of %s is trusted nowhere else", r.To.Subject, r.From.Subject)
		} else if r.Compromised {
			text = fmt.Sprintf("%s is the CA of every host; %s is trusted nowhere, %s after the command", r.To.Subject, r.From.Subject, r.EndedAt.Sub(r.CompromisedAt()).Round(time.Second))
		}
		if len(r.Left) > 0 {
			text += "; these have that root in place or loaded still: " + strings.Join(renewer.Members(r.Left, mostWaits), ", ")
		}
		events = append(events, renewer.Event{Type: kind, Message: text})
	default:
		if d.Stage != rotation.Reissue && r.ReissuedAt.IsZero() && !r.SwitchedAt.IsZero() {
			r.ReissuedAt = now.UTC()
		}
		text := stageText(r, d.Stage)
		if stuck := stuckOf(o.Presenting); r.Compromised && d.Stage == rotation.DropRoot && len(stuck) > 0 {
			text += "; replaced there, and not known to be loaded: " + strings.Join(namesOf(stuck), ", ")
		}
		events = append(events, renewer.Event{Type: renewer.EventCARotationStage, Message: fmt.Sprintf("%s: %s", d.Stage, text)})
	}
	return r, events
}

// stageText says what is done in a stage.
func stageText(r rotation.Rotation, s rotation.Stage) string {
	switch s {
	case rotation.AddRoot:
		return "the root of " + r.To.Subject + " goes into every ca file"
	case rotation.Reissue:
		return "certificates are reissued by " + r.To.Subject
	case rotation.Keep:
		return "the root of " + r.From.Subject + " stays trusted until " + r.KeepUntil().UTC().Format(time.RFC3339)
	case rotation.DropRoot:
		return "the root of " + r.From.Subject + " leaves every ca file"
	case rotation.Cancel:
		return "the root of " + r.To.Subject + " leaves every ca file again"
	}
	return ""
}

// stuckOf are those whose service alone is not as it should be.
func stuckOf(list []rotation.Holder) []rotation.Holder {
	return slices.DeleteFunc(slices.Clone(list), func(h rotation.Holder) bool { return !h.Stuck() })
}

func namesOf(list []rotation.Holder) (names []string) {
	for _, h := range list {
		names = append(names, h.Name)
	}
	return names
}

// waitRotation notes what a rotation waits for. That it needs somebody is an event,
// once for each thing that it is.
func (a *App) waitRotation(ctx context.Context, one rotation.Rotation, wait rotation.Wait) error {
	_, was, _ := a.rotations.of(one.Issuer)
	said, now := blockedText(was), blockedText(wait)
	if now == "" || now == said || now == one.Said {
		if !slices.Equal(was.For, wait.For) || now != said {
			a.rotations.put(one, wait)
		}
		return nil
	}
	one.Said = now
	return a.recordRotation(ctx, one, wait, renewer.Event{
		Type: renewer.EventCARotationWaiting, Message: fmt.Sprintf("%s waits", one.Stage), Error: now, Hint: endsText(one, wait),
	})
}

// blockedText says what the operator has to do; empty: nothing.
func blockedText(w rotation.Wait) string {
	var out []string
	if w.Err != nil {
		out = append(out, w.Err.Error())
	}
	for _, h := range w.For {
		if h.Away || h.Blocked {
			out = append(out, h.Why)
		}
	}
	return strings.Join(out, "; ")
}

package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/pki"
	"renewer/renewer/rotation"
)

// Rotate implements server.Service.
func (a *App) Rotate(ctx context.Context, r renewer.RotateRequest, progress func(renewer.Event)) (v renewer.RotationView, err error) {
	is, err := a.rotatable(r)
	if err != nil {
		return renewer.RotationView{}, err
	}
	after, err := a.inv.LastSeq()
	if err == nil && !r.Plan {
		err = a.requested(ctx, renewer.Event{Issuer: is.Name, Message: said("CA rotation", "kind", r.Kind, "now", r.Now, "compromised", r.Compromised,
			"without", r.Without, "keep", r.Keep, "cancel", r.Cancel, "destroy_old", r.DestroyOld)})
	}
	if err != nil {
		return renewer.RotationView{}, err
	}
	switch {
	case r.Plan:
		return a.planRotation(ctx, is, r)
	case r.Cancel:
		err = a.cancelRotation(ctx, is)
	case r.DestroyOld:
		err = a.destroyOld(ctx, is)
	default:
		err = a.startRotation(ctx, is, r)
	}
	if err != nil {
		return renewer.RotationView{}, err
	}
	a.rotations.poke()
	tell := a.rotationProgress(is.Name, after, progress)
	if err = tell(); err != nil || !r.Wait {
		v = a.rotationView(is.Name)
	} else {
		v, err = a.awaitRotation(ctx, is, tell)
	}
	v.Warnings = append(v.Warnings, staysStrict(is, r)...)
	return v, err
}

// staysStrict warns of what reissuing a CA by the same name does not fix.
func staysStrict(is configs.Issuer, r renewer.RotateRequest) []string {
	ca, err := local.Signing(localConfig(is))
	if r.Kind != string(rotation.Reissued) || err != nil || !slices.Contains(pki.StrictFaults(ca), pki.EmptySubject) {
		return nil
	}
	return []string{"peers that verify strictly, such as Python 3.13 and later, refuse the CA all the same: " + pki.EmptySubject + ", and stays so; renewer ca rotate " + is.Name + " replaces it with a CA that has a name"}
}

// rotatable returns the issuer that a request is about, if its CA is ours to replace.
func (a *App) rotatable(r renewer.RotateRequest) (configs.Issuer, error) {
	fleet := a.parts.Load().fleet
	is, ok := fleet.Issuer(r.Issuer)
	switch {
	case !ok:
		return is, noIssuer(fleet, r.Issuer)
	case is.Type != "local":
		return is, renewer.WithHint(fmt.Errorf("the CA of issuer %s is replaced at its server: it is of type %s", is.Name, is.Type),
			"change it there; renewer adds the new root everywhere, renews, and takes the old root out: renewer plan shows it")
	}
	for _, host := range r.Without {
		if _, ok := fleet.Host(host); !ok {
			return is, noHost(fleet, host)
		}
	}
	return is, nil
}

// startRotation makes the next CA, unless it is there, and records that it is to
// take over. A request about the one under way may only let it go on faster.
func (a *App) startRotation(ctx context.Context, is configs.Issuer, r renewer.RotateRequest) error {
	a.rotations.stepping.Lock()
	defer a.rotations.stepping.Unlock()
	was, wait, ok := a.rotations.of(is.Name)
	underWay := ok && !was.Stage.Over()
	var unfit error
	if underWay {
		var err error
		if unfit, err = a.cannotGoOn(is, was, r); err != nil {
			return err
		}
		if unfit == nil {
			err := a.amendRotation(ctx, was, wait, r)
			if err != nil && r.Kind == string(rotation.Imported) && !was.SwitchedAt.IsZero() {
				err = errors.Join(err, local.DropNext(localConfig(is))) // it was brought for this
			}
			if err == nil && !was.CancelledAt.IsZero() {
				_, err = a.stepRotation(ctx, is) // it may be over with that
			}
			return err
		}
	}
	one, err := a.nextCA(is, r, false)
	if err != nil {
		return err
	}
	one.Why = requestedWhy
	if r.Compromised {
		one.Why = compromisedWhy
	}
	one.Now, one.Compromised, one.Without, one.Keep = r.Now, r.Compromised, r.Without, r.Keep
	if underWay {
		one = one.TakeOver(was)
		one.Why += "; it takes over: " + unfit.Error()
	}
	return a.recordStart(ctx, one)
}

// Why a CA is replaced.
const (
	requestedWhy   = "requested by operator"
	compromisedWhy = "its key is compromised"
)

// cannotGoOn says why a rotation under way gives way to the one that is asked for: it is
// being taken back, or its CA signs and cannot sign all that is asked for.
func (a *App) cannotGoOn(is configs.Issuer, one rotation.Rotation, r renewer.RotateRequest) (why, err error) {
	if !one.CancelledAt.IsZero() {
		if onlyWithout(r) {
			return nil, nil
		}
		return fmt.Errorf("the rotation to %s was cancelled", one.To.Subject), nil
	}
	lazy, _ := engine.Can[*lazyCA](a.parts.Load().issuers[is.Name])
	ca, err := lazy.open()
	if err != nil || ca.Info().Fingerprint != one.To.Fingerprint {
		return nil, err
	}
	return a.signingErr(is.Name, one.To, lazy)
}

// onlyWithout reports whether a request only names hosts that are not to be waited for.
func onlyWithout(r renewer.RotateRequest) bool {
	return len(r.Without) > 0 && r.Kind == string(rotation.Made) && !r.Now && !r.Compromised && r.Key == "" && r.Lifetime == 0 && r.Keep == 0
}

func (a *App) recordStart(ctx context.Context, one rotation.Rotation) error {
	now := time.Now().UTC()
	one.Stage, one.StartedAt, one.StageAt = rotation.AddRoot, now, now
	if len(one.Replaced()) == 0 && one.Compromised {
		return renewer.WithHint(fmt.Errorf("%s has the same key as %s", one.To.Subject, one.From.Subject),
			"import a CA with another key: renewer ca import "+one.Issuer+" --as-next --cert FILE --key FILE")
	}
	err := a.recordRotation(ctx, one, rotation.Wait{}, renewer.Event{
		Type: renewer.EventCARotationStarted, Message: fmt.Sprintf("%s takes the place of %s: %s", one.To.Subject, one.From.Subject, one.Why),
	})
	if err != nil {
		return err
	}
	return a.rotated(ctx, one.Issuer)
}

// cancelRotation takes a rotation back: the next CA is removed, and its root leaves
// the ca files.
func (a *App) cancelRotation(ctx context.Context, is configs.Issuer) error {
	a.rotations.stepping.Lock()
	defer a.rotations.stepping.Unlock()
	cfg := localConfig(is)
	one, _, ok := a.rotations.of(is.Name)
	if !ok || one.Stage.Over() {
		if _, _, err := local.NextRoot(cfg); err != nil {
			return renewer.WithHint(fmt.Errorf("the CA of issuer %s is not being replaced", is.Name), "renewer ca show "+is.Name+" shows it")
		}
		if is.StandbyRoot {
			return renewer.WithHint(fmt.Errorf("the next CA of issuer %s is there because of standby_root: true", is.Name), "take standby_root out of the fleet file first")
		}
		if err := local.DropNext(cfg); err != nil {
			return err
		}
		return a.rotated(ctx, is.Name)
	}
	signing, err := local.Signing(cfg) // its key is not needed
	if err != nil {
		return err
	}
	if now := renewer.Fingerprint(signing.Raw); now == one.To.Fingerprint || !one.SwitchedAt.IsZero() && now != one.From.Fingerprint {
		return renewer.WithHint(fmt.Errorf("%s signs already: what it signed is in place", one.To.Subject),
			"wait until it completes; to go back then: renewer ca rotate "+is.Name)
	}
	if one.CancelledAt.IsZero() {
		one.CancelledAt = time.Now().UTC()
		err := a.recordRotation(ctx, one, rotation.Wait{}, renewer.Event{Type: renewer.EventCARotationCancelled, Message: "cancelled by operator: " + stageText(one, rotation.Cancel)})
		if err != nil {
			return err
		}
	}
	if err := local.DropNext(cfg); err != nil {
		return err
	}
	if err := a.rotated(ctx, is.Name); err != nil {
		return err
	}
	_, err = a.stepRotation(ctx, is) // it is complete if no ca file has the root
	return err
}

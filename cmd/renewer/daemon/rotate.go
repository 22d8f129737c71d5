package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"renewer/configs"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/rotation"
)

// Rotate implements server.Service.
func (a *App) Rotate(ctx context.Context, r renewer.RotateRequest, progress func(renewer.Event)) (renewer.RotationView, error) {
	is, err := a.rotatable(r)
	if err != nil {
		return renewer.RotationView{}, err
	}
	after, err := a.inv.LastSeq()
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
	if err := tell(); err != nil || !r.Wait {
		return a.rotationView(is.Name), err
	}
	return a.awaitRotation(ctx, is, tell)
}

// rotatable returns the issuer that a request is about, if its CA is ours to replace.
func (a *App) rotatable(r renewer.RotateRequest) (configs.Issuer, error) {
	fleet := a.parts.Load().fleet
	is, ok := fleet.Issuer(r.Issuer)
	switch {
	case !ok:
		return is, unknown(fmt.Errorf("%s has no issuer %q", fleet.Path, r.Issuer))
	case is.Type != "local":
		return is, renewer.WithHint(fmt.Errorf("the CA of issuer %s is replaced at its server: it is of type %s", is.Name, is.Type),
			"change it there; renewer adds the new root everywhere, renews, and takes the old root out: renewer plan shows it")
	}
	for _, host := range r.Without {
		if _, ok := fleet.Host(host); !ok {
			return is, unknown(fmt.Errorf("%s has no host %q", fleet.Path, host))
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
		if unfit, err = a.cannotGoOn(is, was); err != nil {
			return err
		}
		if unfit == nil {
			err := a.amendRotation(ctx, was, wait, r)
			if err != nil && r.Kind == string(rotation.Imported) && !was.SwitchedAt.IsZero() {
				err = errors.Join(err, local.DropNext(localConfig(is))) // it was brought for this
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

// cannotGoOn says why a rotation under way cannot come to its end: its CA signs, and
// cannot sign all that is asked for. Another one may take over.
func (a *App) cannotGoOn(is configs.Issuer, one rotation.Rotation) (why, err error) {
	lazy, _ := engine.Can[*lazyCA](a.parts.Load().issuers[is.Name])
	ca, err := lazy.open()
	if err != nil || ca.Info().Fingerprint != one.To.Fingerprint {
		return nil, err
	}
	return a.signingErr(is.Name, one.To, lazy)
}

func (a *App) recordStart(ctx context.Context, one rotation.Rotation) error {
	now := time.Now().UTC()
	one.Stage, one.StartedAt, one.StageAt = rotation.AddRoot, now, now
	if len(one.Old()) == 0 && one.Compromised {
		return renewer.WithHint(fmt.Errorf("%s is under the same root as %s, which stays trusted", one.To.Subject, one.From.Subject),
			"import a CA under another root: renewer ca import "+one.Issuer+" --as-next --cert FILE --key FILE")
	}
	err := a.recordRotation(ctx, one, rotation.Wait{}, renewer.Event{
		Type: renewer.EventCARotationStarted, Message: fmt.Sprintf("%s takes the place of %s: %s", one.To.Subject, one.From.Subject, one.Why),
	})
	if err != nil {
		return err
	}
	return a.rotated(ctx, one.Issuer)
}

// amendRotation takes a second request into the rotation under way.
func (a *App) amendRotation(ctx context.Context, one rotation.Rotation, wait rotation.Wait, r renewer.RotateRequest) error {
	next, said, err := amended(one, wait, r)
	if err != nil || len(said) == 0 {
		return err // or it is only waited for
	}
	next.Said = ""
	err = a.recordRotation(ctx, next, rotation.Wait{}, renewer.Event{Type: renewer.EventCARotationStage, Message: fmt.Sprintf("%s: %s", next.Stage, strings.Join(said, "; "))})
	if err != nil {
		return err
	}
	return a.rotated(ctx, next.Issuer)
}

// amended is the rotation under way after a second request, and what is new of it. Such
// a request may only let it go on faster.
func amended(one rotation.Rotation, wait rotation.Wait, r renewer.RotateRequest) (next rotation.Rotation, said []string, err error) {
	text := strings.Join(waitTexts(one, wait), "; ")
	if text != "" {
		text = ": " + text
	}
	under := fmt.Errorf("the CA of issuer %s is being replaced since %s, and is at stage %s%s", one.Issuer, one.StartedAt.Format(time.RFC3339), stageOf(one), text)
	hint := "renewer ca show " + one.Issuer + " shows it; --wait waits for its end, --without HOST goes on without a host"
	if one.SwitchedAt.IsZero() {
		hint += ", --cancel takes it back"
	}
	more := slices.DeleteFunc(slices.Clone(r.Without), func(host string) bool { return slices.Contains(one.Without, host) })
	now, compromised := r.Now && !one.Now, r.Compromised && !one.Compromised
	switch {
	case !one.CancelledAt.IsZero():
		return one, nil, renewer.WithHint(under, "renewer ca show "+one.Issuer+" shows when that is over; then give the command again")
	case one.Kind == rotation.Reissued && r.Kind == string(rotation.Made) && (now || compromised):
		return one, nil, renewer.WithHint(fmt.Errorf("%w; that has the same key", under),
			"renewer ca rotate "+one.Issuer+" --cancel takes it back, or let it come to its end; then give the command again for another key")
	case r.Key != "" || r.Lifetime > 0 || r.Keep > 0 || r.Kind != string(one.Kind) && r.Kind != string(rotation.Made),
		len(more) == 0 && !now && !compromised && !r.Wait && !r.Plan:
		return one, nil, renewer.WithHint(under, hint)
	}
	one.Without, one.Now = append(slices.Clone(one.Without), more...), one.Now || r.Now
	if len(more) > 0 {
		said = append(said, "it goes on without "+strings.Join(more, ", "))
	}
	if now {
		said = append(said, "certificates are issued anew now, whatever their window")
	}
	if compromised {
		one.Compromised, one.ToldAt, one.Why = true, time.Now().UTC(), compromisedWhy+" (before: "+one.Why+")"
		said = append(said, "the key of "+one.From.Subject+" is compromised")
	}
	return one, said, nil
}

// nextCA returns the next CA beside the signing one, and makes it where it is not
// there yet, unless that is only planned. One that cannot sign what the issuer is asked
// for is refused, and what was brought for this is removed.
func (a *App) nextCA(is configs.Issuer, r renewer.RotateRequest, plan bool) (one rotation.Rotation, err error) {
	cfg := localConfig(is)
	signing, err := local.Open(cfg)
	if err != nil {
		return one, err
	}
	var to rotation.CA
	take := func(ca *local.Authority) error {
		to = rotationCA(ca)
		if err := accept(a.parts.Load().fleet, is.Name, ca); err != nil || !plan {
			return err
		}
		to.Fingerprint = "" // another one will be made
		return errPlanned
	}
	o := local.NextOptions{Key: r.Key, Lifetime: r.Lifetime, Accept: take}
	next, err := local.OpenNext(cfg)
	kind := rotation.Kind(r.Kind)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case err != nil && !missing:
		return one, err
	case !missing && (r.Key != "" && next.Info().Key != string(r.Key) || kind == rotation.Reissued && next.Info().Key != signing.Info().Key):
		return one, renewer.WithHint(fmt.Errorf("issuer %s has a next CA already: %s with a key of type %s", is.Name, next.Info().Subject, next.Info().Key),
			"renewer ca rotate "+is.Name+" uses it; renewer ca rotate "+is.Name+" --cancel removes it")
	case !missing:
		switch err = take(next); {
		case err == nil || errors.Is(err, errPlanned):
			to = rotationCA(next)
		case kind == rotation.Imported:
			err = errors.Join(err, local.DropNext(cfg))
		default:
			err = renewer.WithHint(err, "renewer ca rotate "+is.Name+" --cancel removes it (take standby_root out of the fleet file first); or change what the entry asks for")
		}
	case kind == rotation.Imported:
		return one, err
	case kind == rotation.Reissued:
		_, err = local.Reissue(cfg, o)
	default:
		_, err = local.CreateNext(cfg, o)
	}
	if err != nil && !errors.Is(err, errPlanned) {
		return one, err
	}
	return rotation.Rotation{Issuer: is.Name, Kind: kind, From: rotationCA(signing), To: to}, nil
}

var errPlanned = errors.New("it is only planned")

func rotationCA(a *local.Authority) rotation.CA {
	i := a.Info()
	return rotation.CA{Subject: i.Subject, Fingerprint: i.Fingerprint, Root: renewer.RootID(a.Root().Raw), Key: i.Key, NotAfter: i.NotAfter}
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
	signing, err := local.Open(cfg)
	if err != nil {
		return err
	}
	if signing.Info().Fingerprint == one.To.Fingerprint {
		return renewer.WithHint(fmt.Errorf("%s signs already: what it signed is in place", one.To.Subject),
			"let it come to its end; to go back, then: renewer ca rotate "+is.Name)
	}
	if one.CancelledAt.IsZero() {
		one.CancelledAt = time.Now().UTC()
		err := a.recordRotation(ctx, one, rotation.Wait{}, renewer.Event{Type: renewer.EventCARotationCancelled, Message: "taken back by operator: " + stageText(one, rotation.Cancel)})
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
	_, err = a.stepRotation(ctx, is) // it is over where no ca file has the root
	return err
}

// awaitRotation waits until a rotation is over or needs manual action. Without a daemon
// it makes the passes itself, and returns as well when what is left waits for a time.
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
			if after.Stage == one.Stage && slices.Equal(namesOf(left.For), namesOf(wait.For)) { // all was done that can be done now
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

// rotationProgress returns what hands events that were not told yet to somebody.
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

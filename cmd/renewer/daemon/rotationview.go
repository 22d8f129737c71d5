package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/rotation"
)

// Rotation is how the replacement of an issuer's CA stands; without a stage where there
// never was one.
func (a *App) Rotation(ctx context.Context, issuer string) (renewer.RotationView, error) {
	is, ok := a.parts.Load().fleet.Issuer(issuer)
	if !ok {
		return renewer.RotationView{}, noIssuer(a.parts.Load().fleet, issuer)
	}
	a.lookAtRotation(ctx, is)
	v := a.rotationView(issuer)
	if one, _, ok := a.rotations.of(issuer); ok && one.Stage == rotation.Done && (len(one.Without) > 0 || one.Compromised) && len(one.Replaced()) > 0 {
		o, err := a.observeRotation(ctx, is, one, false)
		if err != nil {
			return v, err
		}
		for _, h := range append(o.Presenting, o.Holding...) {
			if !h.Left || len(one.Without) > 0 { // else TrustedBy has it
				v.LeftBehind = append(v.LeftBehind, h.Why)
			}
		}
	}
	return v, nil
}

// lookAtRotation finds out what a rotation waits for now. What cannot be read of the CAs
// is part of that.
func (a *App) lookAtRotation(ctx context.Context, is configs.Issuer) {
	one, _, ok := a.rotations.of(is.Name)
	if !ok || one.Stage.Over() {
		return
	}
	o, err := a.observeRotation(ctx, is, one, false)
	if ctx.Err() != nil {
		return
	}
	wait := rotation.Wait{Err: err}
	if err == nil {
		wait = rotation.Decide(one, o, time.Now()).Wait
	}
	a.rotations.waits(is.Name, wait)
}

// rotationView is what people see of the rotation of an issuer; its zero value where
// there never was one.
func (a *App) rotationView(issuer string) renewer.RotationView {
	one, wait, ok := a.rotations.of(issuer)
	if !ok {
		return renewer.RotationView{Issuer: issuer}
	}
	v := renewer.RotationView{
		Issuer: one.Issuer, Kind: string(one.Kind), Why: one.Why, Stage: string(stageOf(one)), Since: one.StageAt,
		From: viewCA(one.From), To: viewCA(one.To), Compromised: one.Compromised, Without: one.Without, KeepUntil: one.KeepUntil(),
		StartedAt: one.StartedAt, SwitchedAt: one.SwitchedAt, EndedAt: one.EndedAt, TrustedBy: one.Left,
	}
	v.SameRoot = one.From.Root != "" && one.From.Root == one.To.Root
	if !one.SwitchedAt.IsZero() {
		if v.OldKey = "kept"; one.KeyGone {
			v.OldKey = "destroyed"
		}
	}
	if one.Compromised && one.Stage == rotation.Done && len(one.Left) == 0 && len(one.Old()) > 0 {
		v.TrustedNowhere = one.EndedAt.Sub(one.CompromisedAt()).Seconds()
	}
	if !one.Stage.Over() {
		v.Waiting, v.Ends, v.Blocked = waitTexts(one, wait), endsText(one, wait), wait.Blocked()
	}
	return v
}

// stageOf is the stage that a rotation is shown at: it is taken back from the moment that
// an operator said so.
func stageOf(one rotation.Rotation) rotation.Stage {
	if one.Stage == rotation.AddRoot && !one.CancelledAt.IsZero() {
		return rotation.Cancel
	}
	return one.Stage
}

// issuerStatuses is what was last known of the issuers, with the replacement of their
// CA.
func (a *App) issuerStatuses() []renewer.IssuerStatus {
	issuers, _ := a.health.all()
	for i := range issuers {
		if v := a.rotationView(issuers[i].Name); v.Stage != "" {
			issuers[i].Rotation = &v
		}
	}
	return issuers
}

// blockedRotations are those that only manual action brings on: waiting for a host, or
// for what left the fleet file, is none of that.
func (a *App) blockedRotations() (list []renewer.RotationView) {
	for _, is := range a.parts.Load().fleet.Issuers {
		one, wait, ok := a.rotations.of(is.Name)
		apart := slices.ContainsFunc(wait.For, func(h rotation.Holder) bool { return h.Away || h.Left })
		if ok && !one.Stage.Over() && (wait.Err != nil || wait.Blocked() && !apart) {
			list = append(list, a.rotationView(is.Name))
		}
	}
	return list
}

func viewCA(c rotation.CA) renewer.RotationCA {
	return renewer.RotationCA{Subject: c.Subject, Fingerprint: c.Fingerprint, Key: c.Key, NotAfter: c.NotAfter}
}

// mostWaits is how many placements are named that a rotation waits for.
const mostWaits = 10

// waitTexts says what a rotation waits for.
func waitTexts(r rotation.Rotation, w rotation.Wait) (out []string) {
	if w.Err != nil {
		out = append(out, w.Err.Error())
	}
	for i, h := range w.For {
		if i == mostWaits {
			return append(out, fmt.Sprintf("and %d more", len(w.For)-i))
		}
		out = append(out, h.Why)
	}
	if r.Stage == rotation.Keep && !r.KeepUntil().IsZero() {
		out = append(out, stageText(r, rotation.Keep))
	}
	return out
}

// endsText says what ends the waiting. Of what is waited for, that comes first which
// does not change by itself.
func endsText(r rotation.Rotation, w rotation.Wait) string {
	stuck := func(is func(rotation.Holder) bool) (h rotation.Holder, found bool) {
		if i := slices.IndexFunc(w.For, is); i >= 0 {
			return w.For[i], true
		}
		return h, false
	}
	away, isAway := stuck(func(h rotation.Holder) bool { return h.Away })
	left, hasLeft := stuck(func(h rotation.Holder) bool { return h.Left })
	blocked, isBlocked := stuck(func(h rotation.Holder) bool { return h.Blocked })
	kept, isKept := stuck(func(h rotation.Holder) bool { return !h.Kept.IsZero() })
	failing, isFailing := stuck(func(h rotation.Holder) bool { return h.Hint != "" })
	var text string
	switch {
	case w.Err != nil:
		text = "ends when that is fixed"
		if hint := renewer.Hint(w.Err); hint != "" {
			text += ": " + hint
		}
	case isAway:
		text = fmt.Sprintf("ends when %s can be reached; or renewer ca rotate %s --without %s; or retired: true in the fleet file", away.Host, r.Issuer, away.Host)
	case hasLeft:
		text = fmt.Sprintf("ends when the entry of %s is in the fleet file again; or renewer forget %s", left.Certificate, left.Certificate)
	case isBlocked:
		text = fmt.Sprintf("ends when %s is fixed", blocked.Name)
		if blocked.Hint != "" {
			text += " (" + blocked.Hint + ")"
		}
		text += fmt.Sprintf("; renewer renew %s tries at once; or renewer ca rotate %s --without %s", blocked.Certificate, r.Issuer, blocked.Host)
	case isFailing:
		text = fmt.Sprintf("ends when %s is fixed (%s); it is retried automatically", failing.Name, failing.Hint)
	case isKept:
		if text = fmt.Sprintf("ends by itself when they are renewed; renewer renew %s does that at once", kept.Certificate); !r.Now {
			text += fmt.Sprintf(", renewer ca rotate %s --now for all of them", r.Issuer)
		}
	case len(w.For) > 0:
		text = "ends by itself when they have it"
		if r.Stage == rotation.Reissue || r.Stage == rotation.DropRoot || r.Stage == rotation.Cancel {
			text = "ends by itself when they have changed"
		}
	}
	if !w.Until.IsZero() && len(w.For) > 0 {
		text += ", at the latest at " + w.Until.UTC().Format(time.RFC3339)
	}
	return text
}

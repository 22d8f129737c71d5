package daemon

import (
	"context"
	"fmt"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/rotation"
)

// Rotation implements server.Service.
func (a *App) Rotation(ctx context.Context, issuer string) (renewer.RotationView, error) {
	is, ok := a.parts.Load().fleet.Issuer(issuer)
	if !ok {
		return renewer.RotationView{}, unknown(fmt.Errorf("%s has no issuer %q", a.parts.Load().fleet.Path, issuer))
	}
	if err := a.lookAtRotation(ctx, is); err != nil {
		return renewer.RotationView{}, err
	}
	return a.rotationView(issuer), nil
}

// lookAtRotation finds out what a rotation waits for where no daemon knows it.
func (a *App) lookAtRotation(ctx context.Context, is configs.Issuer) error {
	one, _, ok := a.rotations.of(is.Name)
	if a.daemon.Load() != nil || !ok || one.Stage.Over() {
		return nil
	}
	o, err := a.observeRotation(ctx, is, one, false)
	if err == nil {
		a.rotations.put(one, rotation.Decide(one, o, time.Now()).Wait)
	}
	return err
}

// rotationView is what people see of the rotation of an issuer; its zero value where
// there never was one.
func (a *App) rotationView(issuer string) renewer.RotationView {
	one, wait, ok := a.rotations.of(issuer)
	if !ok {
		return renewer.RotationView{Issuer: issuer}
	}
	v := renewer.RotationView{
		Issuer: one.Issuer, Kind: string(one.Kind), Why: one.Why, Stage: string(one.Stage), Since: one.StageAt,
		From: viewCA(one.From), To: viewCA(one.To), Compromised: one.Compromised, Without: one.Without, KeepUntil: one.KeepUntil(),
		StartedAt: one.StartedAt, SwitchedAt: one.SwitchedAt, EndedAt: one.EndedAt,
	}
	if !one.SwitchedAt.IsZero() {
		if v.OldKey = "kept"; one.KeyGone {
			v.OldKey = "destroyed"
		}
	}
	if one.Compromised && one.Stage == rotation.Done {
		v.TrustedNowhere = one.EndedAt.Sub(one.StartedAt).Seconds()
	}
	if !one.Stage.Over() {
		v.Waiting, v.Ends, v.Blocked = waitTexts(one, wait), endsText(one, wait), wait.Blocked()
	}
	return v
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
	if r.Stage == rotation.Keep {
		out = append(out, stageText(r, rotation.Keep))
	}
	return out
}

// endsText says what ends the waiting.
func endsText(r rotation.Rotation, w rotation.Wait) string {
	var away, left string
	for _, h := range w.For {
		if h.Away {
			away = h.Host
		}
		if h.Left {
			left = h.Certificate
		}
	}
	var text string
	switch {
	case w.Err != nil:
		text = "ends when the files of the CA are put right"
		if hint := renewer.Hint(w.Err); hint != "" {
			text += ": " + hint
		}
	case away != "":
		text = fmt.Sprintf("ends when %s can be reached; or renewer ca rotate %s --without %s; or retired: true in the fleet file", away, r.Issuer, away)
	case left != "":
		text = fmt.Sprintf("ends when the entry of %s is in the fleet file again; or renewer forget %s", left, left)
	case len(w.For) > 0 && w.Blocked():
		text = "ends when the rollout that is blocked is renewed: renewer renew " + firstBlocked(w)
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

func firstBlocked(w rotation.Wait) string {
	for _, h := range w.For {
		if h.Blocked {
			return h.Certificate
		}
	}
	return ""
}

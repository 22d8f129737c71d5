package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	if one.CancelledAt.IsZero() { // else no key is needed any more
		if _, err := lazy.open(); err != nil {
			return o, err
		}
	}
	ca, err := local.Signing(localConfig(is))
	if err != nil {
		return o, err
	}
	o.Signing = renewer.Fingerprint(ca.Raw)
	ours := func(c rotation.CA) bool { return c.Fingerprint == o.Signing }
	if !slices.ContainsFunc(append([]rotation.CA{one.From, one.To}, one.Before...), ours) {
		before, _ := local.OldCAs(localConfig(is)) // what cannot be read is left out
		o.Followed = slices.ContainsFunc(before, func(old local.Old) bool { return renewer.Fingerprint(old.Cert.Raw) == one.To.Fingerprint })
	}
	signs, _, err := local.NextRoot(localConfig(is)) // where it signs, or was taken back, there is none
	if err == nil {
		o.Next = renewer.Fingerprint(signs.Raw)
		var judge func(renewer.Request) error
		if judge, err = lazy.judgeNext(); err == nil {
			err = cannotSign(a.parts.Load().fleet, is.Name, judge, "change what the entry asks for, or renewer ca rotate "+is.Name+" --cancel")
		}
	}
	o.NextErr = err
	o.SwitchBy = ca.NotAfter.Add(-a.longest(is.Name))
	s := engine.Succeeding{
		Issuer: is.Name, From: rootsOf(one.Old()), To: one.To.Root, Switched: one.Switched(o), Cancelled: !one.CancelledAt.IsZero(), Loaded: one.Compromised,
	}
	for _, old := range one.Old() {
		if old.Root == old.Fingerprint[:min(len(old.Root), len(old.Fingerprint))] {
			s.Own = append(s.Own, old.Root)
		}
	}
	if one.Anew {
		if s.Anew = one.SwitchedAt; s.Anew.IsZero() {
			s.Anew = time.Now()
		}
	}
	at, err := a.eng.Succession(ctx, s)
	if err != nil {
		return o, err
	}
	o.Trusting = at.Trusting
	if acting && (one.Now || one.Compromised) {
		if o.Hurried, err = a.hurryRotation(ctx, one, at); err != nil {
			return o, err
		}
	}
	down := a.down()
	for _, h := range at.Lacking {
		why := h.Name + " does not have the root of " + one.To.Subject + " yet"
		if h.InPlace {
			why = h.Name + " has the root of " + one.To.Subject + ", and is not known to have loaded it"
		}
		if h.Blocked && !h.Left && one.Kind != rotation.Reissued && reissueFixes(ca) {
			h.Hint += fmt.Sprintf("; if it verifies strictly it refuses %s: renewer ca rotate %[2]s --cancel, renewer ca reissue %[2]s --wait, and then rotate", one.From.Subject, is.Name)
			h.Hint = strings.TrimPrefix(h.Hint, "; ")
		}
		o.Lacking = append(o.Lacking, holder(h, why, down))
	}
	for _, h := range at.Presenting {
		o.Presenting = append(o.Presenting, holder(h, h.Name+" presents a certificate under "+one.From.Subject, down))
	}
	if slices.ContainsFunc(o.Presenting, func(h rotation.Holder) bool { return h.Blocked }) {
		if o.SigningErr, err = a.signingErr(is.Name, one.To, lazy); err != nil {
			return o, err
		}
	}
	whose := one.From.Subject
	if !one.Switched(o) {
		whose = one.To.Subject
	}
	for _, h := range at.Holding {
		why := h.Name + " has the root of " + whose + " still"
		if h.Replaced {
			why = h.Name + " is not known to have loaded that the root of " + whose + " is gone"
		}
		o.Holding = append(o.Holding, holder(h, why, down))
	}
	return o, nil
}

func rootsOf(list []rotation.CA) (roots []string) {
	for _, ca := range list {
		roots = append(roots, ca.Root)
	}
	return roots
}

// signingErr says why the CA that signs cannot sign what its issuer is asked for.
func (a *App) signingErr(issuer string, ca rotation.CA, lazy *lazyCA) (why, err error) {
	judge, err := lazy.judge()
	if err != nil {
		return nil, err
	}
	err = cannotSign(a.parts.Load().fleet, issuer, judge, "renewer ca rotate "+issuer+" makes a CA without limits, which takes its place (or renewer ca import "+issuer+" --as-next); or change what the entry asks for")
	if err == nil {
		return nil, nil
	}
	return fmt.Errorf("%s signs, and cannot sign what is asked for: %w", ca.Subject, err), nil
}

func holder(h engine.Blocker, why string, down map[string]bool) rotation.Holder {
	away := h.Lost || down[h.Host]
	switch {
	case h.Why != "":
		why += ": " + h.Why
	case away:
		why += ": " + h.Host + " cannot be reached"
	case !h.Kept.IsZero():
		why += ": it was rolled back, and is renewed at " + h.Kept.UTC().Format(time.RFC3339)
	}
	return rotation.Holder{Name: h.Name, Certificate: h.Certificate, Host: h.Host, Why: why, Hint: h.Hint, Away: away, Blocked: h.Blocked, Until: h.Until, Left: h.Left, Replaced: h.Replaced, Kept: h.Kept}
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

// hurryRotation has what a rotation waits for done whatever its window, and reports
// whether that is news to anybody.
func (a *App) hurryRotation(ctx context.Context, one rotation.Rotation, at engine.Progress) (news bool, err error) {
	switch one.Stage {
	case rotation.AddRoot:
		return a.eng.Hurry(ctx, at.Lacking)
	case rotation.DropRoot:
		return a.eng.Hurry(ctx, at.Holding)
	case rotation.Reissue:
	default:
		return false, nil
	}
	var names []string
	for _, h := range at.Presenting {
		if _, ok := a.parts.Load().fleet.Certificate(h.Certificate); ok && !h.Hurried && !h.Blocked && !slices.Contains(names, h.Certificate) {
			names = append(names, h.Certificate)
		}
	}
	if len(names) == 0 {
		return false, nil
	}
	if _, err := a.eng.Renew(ctx, names, renewer.Overrides{}, false, nil); err == nil {
		return true, nil
	}
	for _, name := range names { // one that is busy now is asked with the next step
		if _, err := a.eng.Renew(ctx, []string{name}, renewer.Overrides{}, false, nil); err == nil {
			news = true
		} else if ctx.Err() == nil {
			a.opts.log().Debug("reissue failed", "certificate", name, "error", err)
		}
	}
	return news, ctx.Err()
}

package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/rotation"
)

// amendRotation takes a second request into the rotation under way.
func (a *App) amendRotation(ctx context.Context, one rotation.Rotation, wait rotation.Wait, r renewer.RotateRequest) error {
	next, said, err := amended(one, wait, r)
	if err != nil || len(said) == 0 {
		return err // or it is only waited for
	}
	next.Said = ""
	err = a.recordRotation(ctx, next, rotation.Wait{}, renewer.Event{Type: renewer.EventCARotationStage, Message: fmt.Sprintf("%s: %s", stageOf(next), strings.Join(said, "; "))})
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
	under := fmt.Errorf("the CA of issuer %s is being replaced since %s (stage %s)%s", one.Issuer, one.StartedAt.Format(time.RFC3339), stageOf(one), text)
	hint := "renewer ca show " + one.Issuer + " shows it; --wait waits until it completes, --without HOST excludes a host"
	if one.SwitchedAt.IsZero() && one.CancelledAt.IsZero() {
		hint += ", --cancel cancels it"
	}
	more := slices.DeleteFunc(slices.Clone(r.Without), func(host string) bool { return slices.Contains(one.Without, host) })
	now, compromised := r.Now && !one.Now, r.Compromised && !one.Compromised
	switch {
	case compromised && len(one.Replaced()) == 0:
		return one, nil, renewer.WithHint(fmt.Errorf("%w; %s has the same key", under, one.To.Subject),
			"wait until it completes, then import a CA with another key: renewer ca import "+one.Issuer+" --as-next --cert FILE --key FILE")
	case one.Kind == rotation.Reissued && r.Kind == string(rotation.Made) && (now || compromised):
		return one, nil, renewer.WithHint(fmt.Errorf("%w; that has the same key", under),
			"renewer ca rotate "+one.Issuer+" --cancel cancels it; when it is cancelled or complete, run the command again for another key")
	case r.Key != "" || r.Lifetime > 0 || r.Keep > 0 || r.Kind != string(one.Kind) && r.Kind != string(rotation.Made),
		len(more) == 0 && !now && !compromised && !r.Wait && !r.Plan:
		return one, nil, renewer.WithHint(under, hint)
	}
	one.Without, one.Now = append(slices.Clone(one.Without), more...), one.Now || r.Now
	if len(more) > 0 {
		said = append(said, "it continues without "+strings.Join(more, ", "))
	}
	if now {
		said = append(said, "certificates are renewed now, outside their windows")
	}
	if compromised {
		one.Compromised, one.ToldAt, one.Why = true, time.Now().UTC(), compromisedWhy+" (before: "+one.Why+")"
		said = append(said, "the key of "+one.From.Subject+" is compromised")
	}
	return one, said, nil
}

package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"renewer/configs"
	"renewer/inventory"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/rotation"
)

// rotations carries out what package rotation decides: it observes, switches the
// signing CA, records each stage with its event, and tells the engine which roots
// there are. A step is repeated after a crash: each of its effects is done once.
type rotations struct {
	stepping sync.Mutex // one step, or one request, at a time

	mu    sync.Mutex
	last  map[string]rotation.Rotation // by issuer: the one under way, or the last one
	wait  map[string]rotation.Wait     // of those under way, as of the last step
	moved chan struct{}                // closed when anything of these changes
	wake  chan struct{}                // something was recorded that a rotation may wait for
}

func newRotations(inv *inventory.Inventory) (*rotations, error) {
	r := &rotations{
		last: map[string]rotation.Rotation{}, wait: map[string]rotation.Wait{}, moved: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	stored, err := inv.Rotations()
	if err != nil {
		return nil, err
	}
	for issuer, text := range stored {
		var one rotation.Rotation
		if err := json.Unmarshal(text, &one); err != nil {
			return nil, fmt.Errorf("read the rotation of issuer %s from the inventory: %w", issuer, err)
		}
		r.last[issuer] = one
	}
	return r, nil
}

// of returns the rotation of an issuer that is under way, or was the last one.
func (r *rotations) of(issuer string) (one rotation.Rotation, wait rotation.Wait, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one, ok = r.last[issuer]
	return one, r.wait[issuer], ok
}

// trusted names the CAs before that are trusted because somebody asked for it.
func (r *rotations) trusted(issuer string) []string {
	one, _, ok := r.of(issuer)
	if !ok || !one.Trusts(time.Now()) {
		return nil
	}
	return []string{one.From.Fingerprint}
}

// engine is what they ask of the engine.
func (r *rotations) engine() map[string]engine.Rotation {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]engine.Rotation{}
	for issuer, one := range r.last {
		if e := (engine.Rotation{Without: one.Without, Gone: one.Gone()}); !one.Stage.Over() || e.Gone != "" {
			out[issuer] = e
		}
	}
	return out
}

// open reports whether a rotation is under way.
func (r *rotations) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Values(r.last)), func(one rotation.Rotation) bool { return !one.Stage.Over() })
}

// poke has a daemon look soon whether a rotation can go on.
func (r *rotations) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// heard has rotations looked at after each commit.
type heard struct {
	engine.Store
	rotations *rotations
}

func (h heard) Commit(ctx context.Context, changes ...engine.Change) ([]renewer.Event, error) {
	events, err := h.Store.Commit(ctx, changes...)
	if h.rotations.open() {
		h.rotations.poke()
	}
	return events, err
}

// change returns a channel that is closed at the next change.
func (r *rotations) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

func (r *rotations) put(one rotation.Rotation, wait rotation.Wait) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[one.Issuer], r.wait[one.Issuer] = one, wait
	close(r.moved)
	r.moved = make(chan struct{})
}

// record writes a rotation with the events that explain it, and only then lets it
// hold.
func (a *App) recordRotation(ctx context.Context, one rotation.Rotation, wait rotation.Wait, events ...renewer.Event) error {
	text, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("encode the rotation of issuer %s: %w", one.Issuer, err)
	}
	for i := range events {
		events[i].Issuer, events[i].Time = one.Issuer, time.Now()
	}
	_, err = a.store.Commit(ctx, engine.Change{Rotation: &renewer.RotationRecord{Issuer: one.Issuer, Record: text}, Events: events})
	if err != nil {
		return fmt.Errorf("record the rotation of issuer %s: %w", one.Issuer, err)
	}
	for _, e := range events {
		a.opts.log().Info(string(e.Type), "issuer", e.Issuer, "message", e.Message, "error", e.Error)
	}
	a.rotations.put(one, wait)
	return nil
}

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

// stepRotation takes a rotation through the stages that are over already.
func (a *App) stepRotation(ctx context.Context, is configs.Issuer) (changed bool, err error) {
	for {
		one, _, ok := a.rotations.of(is.Name)
		if !ok || one.Stage.Over() {
			return changed, nil
		}
		o, err := a.observeRotation(ctx, is, one)
		if err != nil {
			return changed, err
		}
		d := rotation.Decide(one, o, time.Now())
		if d.Switch {
			if err := local.Switch(localConfig(is), one.To.Fingerprint); err != nil {
				return changed, a.waitRotation(ctx, one, rotation.Wait{Err: err})
			}
			lacking := o.Lacking
			if o, err = a.observeRotation(ctx, is, one); err != nil {
				return changed, err
			}
			o.Lacking = lacking
			d = rotation.Decide(one, o, time.Now())
		}
		if one.Compromised && !one.Listed && !one.SwitchedAt.IsZero() && d.Stage != rotation.Reissue {
			n, err := a.listOld(ctx, is, one)
			if err != nil && !errors.Is(err, local.ErrNoCRL) {
				return changed, a.waitRotation(ctx, one, rotation.Wait{Err: err})
			}
			one.Listed = true
			if err := a.recordRotation(ctx, one, d.Wait, renewer.Event{Type: renewer.EventCARotationStage, Message: fmt.Sprintf("%d certificates of %s are on its CRL", n, one.From.Subject)}); err != nil {
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
		if next.Stage == rotation.Reissue && (next.Now || next.Compromised) {
			a.hurryReissue(ctx, o.Presenting)
		}
	}
}

// rotated tells the engine.
func (a *App) rotated(ctx context.Context, issuer string) error {
	return a.eng.Rotate(ctx, a.rotations.engine(), issuer)
}

// advance is the record after a decision, and the events of what changed.
func advance(r rotation.Rotation, d rotation.Decision, o rotation.Observed, now time.Time) (rotation.Rotation, []renewer.Event) {
	var events []renewer.Event
	if o.Signing == r.To.Fingerprint && r.SwitchedAt.IsZero() {
		r.SwitchedAt = now.UTC()
		text := fmt.Sprintf("%s signs now, in the place of %s", r.To.Subject, r.From.Subject)
		if n := len(o.Lacking); n > 0 && !r.Compromised {
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
		r.EndedAt = now.UTC()
		kind, text := renewer.EventCARotationDone, fmt.Sprintf("%s is the CA of every host; the key of %s is kept", r.To.Subject, r.From.Subject)
		if d.Stage == rotation.Cancelled {
			kind, text = renewer.EventCARotationCancelled, fmt.Sprintf("the root of %s is in no ca file any more", r.To.Subject)
		} else if r.Compromised {
			text = fmt.Sprintf("%s is the CA of every host; %s is trusted nowhere, %s after the command", r.To.Subject, r.From.Subject, r.EndedAt.Sub(r.StartedAt).Round(time.Second))
		}
		events = append(events, renewer.Event{Type: kind, Message: text})
	default:
		if d.Stage != rotation.Reissue && r.ReissuedAt.IsZero() && !r.SwitchedAt.IsZero() {
			r.ReissuedAt = now.UTC()
		}
		events = append(events, renewer.Event{Type: renewer.EventCARotationStage, Message: fmt.Sprintf("%s: %s", d.Stage, stageText(r, d.Stage))})
	}
	return r, events
}

// stageText says what is done in a stage.
func stageText(r rotation.Rotation, s rotation.Stage) string {
	switch s {
	case rotation.AddRoot:
		return "the root of " + r.To.Subject + " goes into every ca file"
	case rotation.Reissue:
		return "certificates are issued anew by " + r.To.Subject
	case rotation.Keep:
		return "the root of " + r.From.Subject + " stays trusted until " + r.KeepUntil().UTC().Format(time.RFC3339)
	case rotation.DropRoot:
		return "the root of " + r.From.Subject + " leaves every ca file"
	case rotation.Cancel:
		return "the root of " + r.To.Subject + " leaves every ca file again"
	}
	return ""
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
		if now != said || len(was.For) != len(wait.For) {
			a.rotations.put(one, wait)
		}
		return nil
	}
	one.Said = now
	return a.recordRotation(ctx, one, wait, renewer.Event{
		Type: renewer.EventCARotationWaiting, Message: fmt.Sprintf("%s waits", one.Stage), Error: now, Hint: endsText(one, wait),
	})
}

// blockedText says who has to do something; empty where nobody has.
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

// observeRotation looks at what is in place.
func (a *App) observeRotation(ctx context.Context, is configs.Issuer, one rotation.Rotation) (o rotation.Observed, err error) {
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
	if hurried := one.Now || one.Compromised; hurried && one.Stage == rotation.AddRoot {
		err = a.eng.Hurry(ctx, at.Lacking)
	} else if hurried && one.Stage == rotation.DropRoot {
		err = a.eng.Hurry(ctx, at.Holding)
	}
	if err != nil {
		return o, err
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
	return rotation.Holder{Name: h.Name, Certificate: h.Certificate, Host: h.Host, Why: why, Away: away, Blocked: h.Blocked, Until: h.Until}
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

// hurryReissue asks for the renewals that the old CA's certificates need now. One that
// is busy is asked again with the next step.
func (a *App) hurryReissue(ctx context.Context, presenting []rotation.Holder) {
	done := map[string]bool{}
	for _, h := range presenting {
		if _, ok := a.parts.Load().fleet.Certificate(h.Certificate); !ok || done[h.Certificate] {
			continue
		}
		done[h.Certificate] = true
		if _, err := a.eng.Renew(ctx, []string{h.Certificate}, renewer.Overrides{}, false, nil); err != nil && ctx.Err() == nil {
			a.opts.log().Debug("issue anew", "certificate", h.Certificate, "error", err)
		}
	}
}

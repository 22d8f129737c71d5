package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"renewer/inventory"
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
func (r *rotations) trusted(issuer string) (list []string) {
	one, _, ok := r.of(issuer)
	if !ok || !one.Trusts(time.Now()) {
		return nil
	}
	for _, ca := range one.Old() {
		list = append(list, ca.Fingerprint)
	}
	return list
}

// engine is what they ask of the engine.
func (r *rotations) engine() map[string]engine.Rotation {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]engine.Rotation{}
	for issuer, one := range r.last {
		e := engine.Rotation{WithoutLeft: one.Compromised, Gone: one.Gone(), Spare: !one.Compromised, Switched: one.SwitchedAt}
		if !one.SwitchedAt.IsZero() {
			e.Replaced, e.Revoked = rootsOf(one.Old()), one.Revoked()
		}
		e.AtOnce = one.Compromised && !one.Stage.Over()
		if one.Anew {
			e.Anew = one.SwitchedAt
		}
		if !one.Stage.Over() || e.Gone != nil {
			e.Without = one.Without
		}
		out[issuer] = e
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

// waits notes what the rotation of an issuer waits for, whatever it has come to meanwhile.
func (r *rotations) waits(issuer string, wait rotation.Wait) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait[issuer] = wait
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

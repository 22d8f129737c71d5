package hosts

import (
	"context"
	"fmt"

	"renewer/renewer"
)

// Reacher is a Transport that can ask whether its machine answers, without
// logging in there.
type Reacher interface {
	Reach(ctx context.Context) error
}

// wrapper is a Transport around another one.
type wrapper interface{ Under() Transport }

// Find returns what a Transport, or one that it is wrapped around, can do
// beyond a Transport.
func Find[T any](t Transport) (can T, ok bool) {
	for t != nil {
		if can, ok = t.(T); ok {
			return can, true
		}
		w, wraps := t.(wrapper)
		if !wraps {
			break
		}
		t = w.Under()
	}
	return can, false
}

// Reach reports whether the host answers at all: less than Check, and for
// next to nothing. This machine always does.
func (h *Host) Reach(ctx context.Context) error {
	r, ok := Find[Reacher](h.transport)
	if !ok {
		return nil
	}
	if err := r.Reach(ctx); err != nil {
		return fmt.Errorf("host %s: %w", h.name, err)
	}
	return nil
}

// besider is a Transport that may turn out to run no command while files are
// open.
type besider interface {
	RunsBeside(ctx context.Context) error
}

// runsBeside finds out before anything is in place whether it could be
// activated.
func (h *Host) runsBeside(ctx context.Context, a renewer.Activation) error {
	b, ok := Find[besider](h.transport)
	if !ok || a.Kind == renewer.ActivateNone || a.Kind == "" {
		return nil
	}
	return b.RunsBeside(ctx)
}

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

// Reach reports whether the host answers at all: less than Check, and for
// next to nothing. This machine always does.
func (h *Host) Reach(ctx context.Context) error {
	r, ok := h.transport.(Reacher)
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
	b, ok := h.transport.(besider)
	if !ok || a.Kind == renewer.ActivateNone || a.Kind == "" {
		return nil
	}
	return b.RunsBeside(ctx)
}

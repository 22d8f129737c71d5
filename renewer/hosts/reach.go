package hosts

import (
	"context"
	"fmt"
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

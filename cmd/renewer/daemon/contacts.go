package daemon

import (
	"context"
	"errors"
	"time"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// contacts is a transport that tells how each contact with its host ended.
type contacts struct {
	hosts.Transport
	host string
	met  func(host string, err error)
}

func (c contacts) tell(ctx context.Context, err error) {
	if ctx.Err() == nil { // else it was given up, which says nothing
		c.met(c.host, err)
	}
}

// OpenDir implements hosts.Transport.
func (c contacts) OpenDir(ctx context.Context, path string, create bool, first ...hosts.Ahead) (hosts.Dir, error) {
	d, err := c.Transport.OpenDir(ctx, path, create, first...)
	c.tell(ctx, err)
	return d, err
}

// Run implements hosts.Transport.
func (c contacts) Run(ctx context.Context, argv []string, given ...string) ([]byte, error) {
	out, err := c.Transport.Run(ctx, argv, given...)
	c.tell(ctx, err)
	return out, err
}

// Under returns the wrapped transport. Results of quick looks over it are not
// recorded: they prove nothing, and a host that fails a second one gets a full check.
func (c contacts) Under() hosts.Transport { return c.Transport }

// met takes over what a contact says of a host. One that answers is up, whatever
// it says.
func (h *health) met(host string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	st, ok := h.hosts[host]
	if !ok || errors.Is(renewer.Local(err), renewer.ErrLocal) {
		return // not asked yet, or no longer in the fleet file
	}
	was := st.Up
	st.Up, st.Error, st.Hint = true, "", ""
	if errors.Is(err, renewer.ErrUnreachable) {
		st.Up, st.Error, st.Hint = false, err.Error(), renewer.Hint(err)
	}
	if st.Up != was {
		st.Since = time.Now().UTC()
	}
	h.hosts[host] = st
}

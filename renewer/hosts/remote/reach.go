package remote

import (
	"context"
	"fmt"

	"renewer/renewer/hosts"
)

var _ hosts.Reacher = (*Transport)(nil)

// Reach reports whether the host's SSH port answers, without logging in: a
// connection that is open says so by itself. To a host behind a jump it goes
// over the connection to that one. Over a command of ProxyCommand something has to
// arrive: that the command was started says nothing about the host.
func (t *Transport) Reach(ctx context.Context) error {
	t.mu.Lock()
	c, closed := t.current, t.closed
	t.mu.Unlock()
	if closed {
		return errClosed
	}
	if c != nil && c.use() {
		c.release()
		return nil
	}
	to, err := t.client.resolve(t.cfg)
	if err != nil {
		return notReached{err}
	}
	raw, free, err := t.reach(ctx, to)
	if err != nil {
		return notReached{fmt.Errorf("connect to %s: %w", to.address(), err)}
	}
	defer free()
	if _, over := raw.(*proxied); over {
		_, err = await(ctx, func() (int, error) { return raw.Read(make([]byte, 1)) }, nil)
	}
	if closed := raw.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return notReached{fmt.Errorf("connect to %s: %w", to.address(), err)}
	}
	return nil
}

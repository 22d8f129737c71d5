package probes

import (
	"context"
	"fmt"
	"net"
)

// Reach reports whether anybody listens at host:port. It closes the connection
// at once and says nothing on it, so it proves nothing about a certificate. A
// server may log that.
func (p *Prober) Reach(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: p.step}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("reach %s: %w", address, err)
	}
	return conn.Close()
}

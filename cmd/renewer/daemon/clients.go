package daemon

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"renewer/renewer"
)

// clientsOf are the addresses from which a Docker daemon is used: of the hosts that have
// a client certificate which it accepts, and this machine's own on the way there.
func (a *App) clientsOf(ctx context.Context, server renewer.Certificate, host string) (out []netip.Addr) {
	fleet := a.parts.Load().fleet
	add := func(text string) {
		if ip, err := netip.ParseAddr(text); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() {
			out = append(out, ip.Unmap().WithZone(""))
		}
	}
	for _, c := range fleet.Certificates {
		if !slices.Contains(c.Usages, renewer.UsageClient) || !slices.Contains(server.Trust, c.Issuer) {
			continue
		}
		for _, p := range c.Placements {
			if h, ok := fleet.Host(p.Host); ok && p.Host != host {
				for _, address := range resolved(ctx, h.Address) {
					add(address)
				}
			}
		}
	}
	if h, ok := fleet.Host(host); ok {
		for _, address := range resolved(ctx, h.Address) {
			// Nothing is sent: the kernel says which of our addresses it would be.
			if conn, err := new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(address, "2376")); err == nil {
				if from, _, err := net.SplitHostPort(conn.LocalAddr().String()); err == nil {
					add(from)
				}
				_ = conn.Close()
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// resolved are the addresses of a name; none where it is not known.
func resolved(ctx context.Context, name string) []string {
	if name == "" {
		return nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return []string{name}
	}
	found, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return nil
	}
	return found
}

package configs

import (
	"net"
	"net/netip"
)

// http reads the port of metrics, health and status page. Who may read it is
// required where other machines can reach it: access without authentication has to
// be allowed explicitly.
func (l *loader) http(f *Fleet, s settings) {
	f.HTTP.Listen, f.HTTP.WebConfig = getOr(s, "listen", defaultListen), get[string](s, "web_config")
	f.HTTP.AllowUnauthenticated = get[bool](s, "allow_unauthenticated")
	if s.has("listen") && !s.has("web_config") && !f.HTTP.AllowUnauthenticated && beyondLoopback(f.HTTP.Listen) {
		l.fault(s["listen"].at, "listen is "+quote(f.HTTP.Listen)+", which other machines can reach, without authentication",
			"expected a loopback address, or web_config: FILE with basic_auth_users or client certificates, or allow_unauthenticated: true beside it")
	}
}

// beyondLoopback reports whether other machines can reach an address, as far
// as it says: what a name stands for is found out when it is listened on.
func beyondLoopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && !ip.Unmap().IsLoopback()
}

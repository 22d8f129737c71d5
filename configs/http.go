package configs

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// http reads the port of metrics, health and status page. Who may read it is
// required where other machines can reach it: access without authentication has to
// be allowed explicitly.
func (l *loader) http(f *Fleet, s settings) {
	f.HTTP.Listen, f.HTTP.WebConfig = getOr(s, "listen", defaultListen), get[string](s, "web_config")
	f.HTTP.AllowUnauthenticated = get[bool](s, "allow_unauthenticated")
	f.HTTP.AllowedHosts = texts(s, "allowed_hosts")
	f.HTTP.ExternalURL = strings.TrimRight(get[string](s, "external_url"), "/")
	if s.has("listen") && !s.has("web_config") && !f.HTTP.AllowUnauthenticated && beyondLoopback(f.HTTP.Listen) {
		l.fault(s["listen"].at, "listen is "+quote(f.HTTP.Listen)+", which other machines can reach, without authentication",
			"expected a loopback address, or web_config: FILE with basic_auth_users or client certificates, or allow_unauthenticated: true beside it")
	}
}

// isPageURL reports whether a text is a URL that paths can be added to.
func isPageURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isAddress(u.Hostname()) && u.User == nil && u.RawQuery == "" && u.Fragment == "" &&
		(u.Port() == "" || isHostPort("host:"+u.Port(), 1))
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

package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"renewer/renewer"
)

// allows reports whether a request may name host in its Host header. A page of
// another site can make a browser ask this port under that site's name, once its
// DNS points here (DNS rebinding), and then read the answer. So a name has to be
// one of the loopback, the one that is listened on, or one of AllowedHosts. An
// address cannot be rebound: where all addresses are listened on, each is allowed.
// What sends no Host header is no browser.
func (p Port) allows(host string) bool {
	name := hostOf(host)
	if name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ours := hostOf(p.Listen)
	same := func(allowed string) bool { return hostOf(allowed) == name }
	if name == ours || slices.ContainsFunc(p.AllowedHosts, same) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	listening, err := netip.ParseAddr(ours)
	return ip.IsLoopback() || ours == "" || err == nil && listening.IsUnspecified()
}

// hostOf returns the name or address of a host with or without a port, as it is
// compared: in lower case, an address in its shortest form.
func hostOf(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	s = strings.TrimSuffix(strings.ToLower(strings.Trim(s, "[]")), ".")
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Unmap().WithZone("").String()
	}
	return s
}

// openToAnyName begins the paths that are answered whatever the Host header
// says: lists of revoked certificates are public, signed, and asked for by
// the name that stands in certificates.
const openToAnyName = "/crl/"

// named refuses requests under a name that is not allowed.
func (p Port) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.allows(r.Host) && !strings.HasPrefix(r.URL.Path, openToAnyName) {
			refuse(w, r, http.StatusMisdirectedRequest, renewer.WithHint(fmt.Errorf("the host name %q is not allowed here", hostOf(r.Host)),
				"in the fleet file, set http: {allowed_hosts: [NAME]} to the names of this server, and restart renewer"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

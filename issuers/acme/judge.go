package acme

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"renewer/renewer"
)

// Judge returns a function that says what a server would refuse of a request, before it
// is asked. It looks at the configuration alone.
func Judge(cfg Config) func(renewer.Request) error {
	return func(r renewer.Request) error {
		if _, err := names(cfg, r); err != nil {
			return renewer.WithHint(fmt.Errorf("issuer %s: %w", cfg.Name, err), renewer.Hint(err))
		}
		return nil
	}
}

// names returns what a server is asked to prove and to sign: the SANs or, where there is
// none, the common name. They are in lower case, as identifiers are compared.
func names(cfg Config, r renewer.Request) ([]string, error) {
	asked := r.SANs
	if len(asked) == 0 && isName(r.CommonName) {
		asked = []string{r.CommonName}
	}
	if slices.ContainsFunc(asked, func(name string) bool { return strings.HasSuffix(strings.ToLower(name), ".invalid") }) {
		return nil, refused("remove it from sans:", "%w, and %s is a reserved name (RFC 2606)", renewer.ErrNoNames, strings.Join(asked, ", "))
	}
	if len(asked) == 0 {
		return nil, refused("set sans: to names that can be validated with "+cfg.Challenge.Type+"; or use an issuer of another type, and for a probe set client: to an entry of such an issuer",
			"%w, and the entry has none: the common name %q is not a DNS name", renewer.ErrNoNames, r.CommonName)
	}
	out := make([]string, 0, len(asked))
	for _, name := range asked {
		if name = strings.ToLower(name); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if err := provable(cfg.Challenge, out); err != nil {
		return nil, err
	}
	if cfg.Public() {
		if err := public(r, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '*'
	})
}

// provable refuses names that a type of challenge cannot prove (RFC 8555, section 8.3;
// RFC 8737; RFC 8738, section 7).
func provable(c Challenge, names []string) error {
	kind := c.Type
	dns := kind == DNS01 || kind == DNSPersist01
	for _, name := range names {
		_, err := netip.ParseAddr(name)
		switch ip := err == nil; {
		case ip && dns:
			return refused("use http-01 or tls-alpn-01, or remove the address: default_sans: false, and sans: with the names", "%s cannot validate the IP address %s", kind, name)
		case !dns && strings.HasPrefix(name, "*."):
			return refused("use challenge: {dns-01: {…}} or {dns-persist-01: {}}", "%s cannot validate the wildcard %s", kind, name)
		case c.RFC2136.Server != "" && !c.RFC2136.covers(name):
			return refused("use another issuer for this name, with the zone of the name", "%s is not in the zone %s that renewer updates", name, c.RFC2136.Zone)
		}
	}
	return nil
}

// public refuses what no public CA signs any more (CA/Browser Forum, Baseline
// Requirements, section 7.1).
func public(r renewer.Request, names []string) error {
	var bad []string
	if slices.Contains(r.Usages, renewer.UsageClient) {
		bad = append(bad, "the usage client")
	}
	if r.Key == renewer.Ed25519 {
		bad = append(bad, "a key of type "+string(r.Key))
	}
	client := len(bad)
	for _, name := range names {
		if why := private(name); why != "" {
			bad = append(bad, name+", "+why)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	hint := "default_sans: false, and sans: with the public names"
	if client > 0 {
		hint = "set usages: [server] and key: ecdsa-p256; for client certificates, use a private issuer"
		if client < len(bad) {
			hint += "; " + "default_sans: false, and sans: with the public names"
		}
	}
	return refused(hint, "a public CA does not sign %s", strings.Join(bad, "; "))
}

// unroutable are the addresses that are not of the public internet and that netip does
// not name (IANA's registries of special-purpose addresses).
var unroutable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("3fff::/20"),
}

// notDelegated are top-level names that the public DNS will not have: RFC 6761, 6762, 7686,
// 8375, 9476, ICANN's internal, and those that SAC 045 and BR appendices name.
var notDelegated = []string{"alt", "corp", "example", "home", "home.arpa", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost", "mail", "onion", "private", "test"}

// private says why a name is none of the public internet; empty where it may be one.
func private(name string) string {
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap()
		switch {
		case ip.IsLoopback():
			return "a loopback address"
		case ip.IsPrivate():
			return "a private address"
		case !ip.IsGlobalUnicast(), slices.ContainsFunc(unroutable, func(p netip.Prefix) bool { return p.Contains(ip) }):
			return "an address that is not on the public internet"
		}
		return ""
	}
	if !strings.Contains(name, ".") {
		return "a name without a domain"
	}
	for _, top := range notDelegated {
		if strings.HasSuffix(name, "."+top) {
			return "a name that is not in the public DNS"
		}
	}
	return ""
}

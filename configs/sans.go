package configs

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"renewer/renewer"
)

// sans returns the DNS names and then the IP addresses of a certificate for
// the hosts: those of the profile, and those that the certificate adds.
func (r *resolver) sans(d *draft, c *renewer.Certificate, hosts []*Host) []string {
	var given []san
	add := func(t setting) {
		text := t.value.(string)
		for _, h := range hosts {
			names := h.Names // of {names}
			if text != "{names}" {
				names = []string{expand(text, h)}
			}
			for _, name := range names {
				if s, ok := canonical(name); ok {
					given = append(given, s)
				} else {
					r.fault(t.at.or(d.at), quote(name)+", the value of "+text+" on host "+quote(h.Name)+", is not a valid name for a certificate",
						"expected a DNS name or an IP address; default_sans: false leaves out those of the profile")
				}
			}
			if !hasPlaceholder(text) {
				break // the same on every host
			}
		}
	}
	if getOr(&d.s, "default_sans", true) {
		for _, t := range get[[]setting](d.profile.settings, "sans") {
			add(t)
		}
	}
	for _, t := range get[[]setting](&d.extra, "sans") {
		add(t)
	}
	slices.SortFunc(given, san.compare)
	given = slices.Compact(given)
	x, there := d.s.find("sans")
	if broken := there && x.value == nil; len(given) == 0 && !broken && slices.Contains(c.Usages, renewer.UsageServer) {
		r.fault(d.at, "certificate "+quote(c.Name)+" is for a server, but has no name for clients to check", "expected sans: one or more DNS names or IP addresses")
	}
	if len(given) == 0 {
		return nil
	}
	out := make([]string, len(given))
	for i, s := range given {
		out[i] = s.name
	}
	return out
}

// san is a name in a certificate in the form in which two that mean the same
// are equal.
type san struct {
	name string
	ip   netip.Addr // zero for a DNS name
}

func canonical(s string) (san, bool) {
	if a, ok := parseIP(s); ok {
		a = a.Unmap()
		return san{a.String(), a}, true
	}
	return san{name: strings.ToLower(s)}, isSAN(s)
}

// compare puts DNS names before IP addresses.
func (s san) compare(other san) int {
	return cmp.Or(s.ip.Compare(other.ip), cmp.Compare(s.name, other.name))
}

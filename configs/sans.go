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
func (r *resolver) sans(d *draft, c renewer.Certificate, hosts []Host) []string {
	var templates []setting
	if getOr(d.s, "default_sans", true) {
		templates = append(templates, get[[]setting](d.profile.settings, "sans")...)
	}
	templates = append(templates, get[[]setting](d.extra, "sans")...)
	var out []string
	for _, t := range templates {
		text := t.value.(string)
		for _, h := range hosts {
			for _, name := range fill(text, h) {
				if san, ok := canonical(name); ok {
					out = append(out, san)
				} else {
					r.fault(t.at.or(d.at), quote(name)+", which "+text+" stands for on host "+quote(h.Name)+", cannot be a name in a certificate",
						"expected a DNS name or an IP address; default_sans: false leaves out those of the profile")
				}
			}
			if !placeholderForm.MatchString(text) {
				break // the same on every host
			}
		}
	}
	slices.SortFunc(out, compareSANs)
	out = slices.Compact(out)
	broken := d.s.has("sans") && d.s["sans"].value == nil
	if len(out) == 0 && !broken && slices.Contains(c.Usages, renewer.UsageServer) {
		r.fault(d.at, "certificate "+quote(c.Name)+" is for a server and has no name to be checked", "expected sans: one or more DNS names or IP addresses")
	}
	return out
}

// fill replaces placeholders; {names} stands for several names, or none.
func fill(text string, h Host) []string {
	if text == "{names}" {
		return h.Names
	}
	return []string{expand(text, h)}
}

// canonical returns a SAN in the form in which two that mean the same are equal.
func canonical(s string) (string, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap().String(), true
	}
	return strings.ToLower(s), isSAN(s)
}

func compareSANs(a, b string) int {
	x, xerr := netip.ParseAddr(a)
	y, yerr := netip.ParseAddr(b)
	switch {
	case xerr == nil && yerr == nil:
		return x.Compare(y)
	case xerr == nil:
		return 1
	case yerr == nil:
		return -1
	}
	return cmp.Compare(a, b)
}

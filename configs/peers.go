package configs

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"renewer/renewer"
)

// member is a certificate of a peer group, before its placements are known.
type member struct {
	renewer.Certificate
	d     *draft
	dials []setting // with the placeholders replaced
}

// join notes a certificate as a member of its group, with what it dials.
func (r *resolver) join(d *draft, c renewer.Certificate, hosts []Host) {
	m := member{Certificate: c, d: d}
	for _, x := range get[[]setting](d.s, "dials") {
		text, _ := x.value.(string)
		for _, h := range hosts {
			at := x.at.or(d.where("dials"))
			full := expandHostPort(text, h)
			if text == "" || !isHostPort(full, 1) {
				if text != "" {
					r.fault(at, "the address "+quote(full)+" of dials cannot be dialled", "expected "+aHostPort)
				}
				continue
			}
			m.dials = append(m.dials, setting{at, full})
			if !placeholderForm.MatchString(text) {
				break
			}
		}
	}
	r.groups[c.PeerGroup] = append(r.groups[c.PeerGroup], m)
}

// peers refuses groups whose members could not talk to each other.
func (r *resolver) peers() {
	for i := range r.fleet.Certificates { // each group once, in the order of the file
		members := r.groups[r.fleet.Certificates[i].PeerGroup]
		delete(r.groups, r.fleet.Certificates[i].PeerGroup)
		var servers, clients []member
		for _, m := range members {
			c := &r.fleet.Certificates[r.fleet.index[m.Name]]
			for _, x := range m.dials {
				c.Dials = append(c.Dials, x.value.(string))
			}
			if slices.Contains(m.Usages, renewer.UsageServer) {
				servers = append(servers, m)
			}
			if !slices.Equal(m.Usages, []renewer.Usage{renewer.UsageServer}) { // a trust bundle too
				clients = append(clients, m)
			}
		}
		r.dialled(members, servers)
		servers, clients = oneAnEntry(servers), oneAnEntry(clients)
		r.trusted(servers, clients)
		r.sends(servers, clients)
	}
}

// oneAnEntry leaves one member of each entry: issuer and trust are the entry's.
func oneAnEntry(members []member) []member {
	return slices.CompactFunc(members, func(a, b member) bool { return a.Entry == b.Entry })
}

// dialled checks that what is dialled is covered by a server of the group. One
// that is a server itself, and the only one, dials something outside.
func (r *resolver) dialled(members, servers []member) {
	for _, m := range members {
		if slices.Contains(m.Usages, renewer.UsageServer) && !slices.ContainsFunc(servers, func(s member) bool { return s.Entry != m.Entry }) {
			continue
		}
		for _, x := range m.dials {
			name, _, _ := net.SplitHostPort(x.value.(string))
			if len(servers) == 0 {
				r.fault(x.at, fmt.Sprintf("%s dials %s, and group %s has no server", m.Name, quote(x.value.(string)), m.PeerGroup), "expected a certificate with usage server in the group")
				break
			}
			if slices.ContainsFunc(servers, func(s member) bool { return covers(s.SANs, name) }) {
				continue
			}
			var have []string
			for _, s := range servers {
				have = append(have, s.Name+" has "+strings.Join(s.SANs, ", "))
			}
			r.fault(x.at, fmt.Sprintf("%s dials %s, which no server of group %s covers: %s", m.Name, quote(x.value.(string)), m.PeerGroup, strings.Join(have, "; ")),
				fmt.Sprintf("expected sans: [%s] at %s, or another address", name, servers[0].Entry))
		}
	}
}

// trusted checks that each side has the roots of the other's issuer.
func (r *resolver) trusted(servers, clients []member) {
	check := func(one, other member, what string) {
		if one.Name == other.Name && len(one.Usages) < 2 || slices.Contains(one.Trust, other.Issuer) || !one.hasCA() {
			return
		}
		r.fault(one.d.where("trust"), fmt.Sprintf("%s trusts %s, and %s %s is signed by %s", one.Entry, strings.Join(one.Trust, ", "), what, other.Entry, other.Issuer),
			fmt.Sprintf("expected trust: [%s]", strings.Join(append(slices.Clone(one.Trust), other.Issuer), ", ")))
	}
	for _, s := range servers {
		for _, c := range clients {
			check(c, s, "its server")
			if slices.Contains(c.Usages, renewer.UsageClient) {
				check(s, c, "its client")
			}
		}
	}
}

// sends refuses a client without a certificate where every server asks for one.
func (r *resolver) sends(servers, clients []member) {
	if slices.ContainsFunc(servers, func(s member) bool { return !r.fleet.asksClients(s.Name) }) {
		return
	}
	for _, c := range clients {
		if len(c.Usages) == 0 && len(c.dials) > 0 && len(servers) > 0 {
			r.fault(c.d.at, fmt.Sprintf("%s dials %s and has no certificate to send, and %s asks its clients for one", c.Entry, quote(c.dials[0].value.(string)), servers[0].Entry),
				"expected a profile with usage client, or files: {ca: null} at "+servers[0].Entry)
		}
	}
}

// asksClients reports whether the service of a certificate has to refuse
// clients without one: so its probes prove.
func (f *Fleet) asksClients(name string) bool {
	placed := f.Certificates[f.index[name]].Placements
	return !slices.ContainsFunc(placed, func(p renewer.Placement) bool { return !p.Probe.Mutual })
}

// hasCA reports whether the member places a trust bundle: without one it
// authenticates nobody.
func (m member) hasCA() bool {
	return get[string](get[settings](m.d.s, "files"), string(renewer.FileCA)) != ""
}

// covers reports whether SANs cover a name as a TLS client checks it (RFC 6125,
// section 6.4.3: a wildcard stands for one label).
func covers(sans []string, name string) bool {
	if a, err := netip.ParseAddr(name); err == nil {
		return slices.Contains(sans, a.Unmap().String())
	}
	name = strings.ToLower(name)
	_, rest, _ := strings.Cut(name, ".")
	return slices.Contains(sans, name) || rest != "" && slices.Contains(sans, "*."+rest)
}

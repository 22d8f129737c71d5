package configs

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"renewer/renewer"
)

// member is a certificate of a peer group.
type member struct {
	*renewer.Certificate
	d     *draft
	dials []setting // with the placeholders replaced
}

// join notes what a certificate of a group dials.
func (r *resolver) join(d *draft, c *renewer.Certificate, hosts []*Host) {
	var dials []setting
	for _, x := range get[[]setting](&d.s, "dials") {
		text, _ := x.value.(string)
		for _, h := range hosts {
			at := x.at.or(d.where("dials"))
			full := expandHostPort(text, h)
			if text == "" || !isHostPort(full, 1) {
				if text != "" {
					r.fault(at, "the address "+quote(full)+" of dials is not a valid address", "expected "+aHostPort)
				}
				continue
			}
			dials = append(dials, setting{at, full})
			c.Dials = append(c.Dials, full)
			if !hasPlaceholder(text) {
				break
			}
		}
	}
	r.peering[c.PeerGroup] = append(r.peering[c.PeerGroup], joining{len(r.fleet.Certificates) - 1, d, dials})
}

// joining is a member before all certificates are in their places.
type joining struct {
	certificate int
	d           *draft
	dials       []setting
}

// peers refuses groups whose members could not talk to each other.
func (r *resolver) peers() {
	for i := range r.fleet.Certificates { // each group once, in the order of the file
		group := r.fleet.Certificates[i].PeerGroup
		if r.peering[group] == nil {
			continue
		}
		var members, servers, clients []member
		for _, j := range r.peering[group] {
			m := member{&r.fleet.Certificates[j.certificate], j.d, j.dials}
			members = append(members, m)
			if slices.Contains(m.Usages, renewer.UsageServer) {
				servers = append(servers, m)
			}
			if !slices.Equal(m.Usages, []renewer.Usage{renewer.UsageServer}) { // a trust bundle too
				clients = append(clients, m)
			}
		}
		delete(r.peering, group)
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
	several, covered := false, map[string]bool{}
	for _, s := range servers {
		several = several || s.Entry != servers[0].Entry
		for _, name := range s.SANs {
			covered[name] = true
		}
	}
	for _, m := range members {
		if slices.Contains(m.Usages, renewer.UsageServer) && !several {
			continue
		}
		for _, x := range m.dials {
			name, _, _ := net.SplitHostPort(x.value.(string))
			if len(servers) == 0 {
				r.fault(x.at, fmt.Sprintf("%s dials %s, but group %s has no server", m.Name, quote(x.value.(string)), m.PeerGroup), "expected a certificate with usage server in the group")
				break
			}
			if covers(covered, name) {
				continue
			}
			var have []string
			for _, s := range servers[:min(len(servers), mostShown)] {
				have = append(have, s.Name+" has "+strings.Join(s.SANs, ", "))
			}
			if len(servers) > mostShown {
				have = append(have, "…")
			}
			r.fault(x.at, fmt.Sprintf("%s dials %s, which no server of group %s covers: %s", m.Name, quote(x.value.(string)), m.PeerGroup, strings.Join(have, "; ")),
				fmt.Sprintf("expected sans: [%s] at %s, or another address", name, servers[0].Entry))
		}
	}
}

// mostShown bounds what a message lists.
const mostShown = 20

// trusted checks that each side has the roots of the other's issuer.
func (r *resolver) trusted(servers, clients []member) {
	check := func(one member, others []member, what string) { // each issuer once
		known := slices.Clone(one.Trust)
		for _, other := range others {
			if one.Name == other.Name && len(one.Usages) < 2 || slices.Contains(known, other.Issuer) {
				continue
			}
			known = append(known, other.Issuer)
			r.fault(one.d.where("trust"), fmt.Sprintf("%s trusts %s, but %s %s is signed by %s", one.Entry, written(one.Trust), what, other.Entry, other.Issuer),
				fmt.Sprintf("expected trust: [%s]", written(append(slices.Clone(one.Trust), other.Issuer))))
		}
	}
	presenting := slices.DeleteFunc(slices.Clone(clients), func(c member) bool { return !slices.Contains(c.Usages, renewer.UsageClient) })
	byServers, byClients := issuersOf(servers), issuersOf(presenting)
	for _, c := range clients {
		if c.lacks(byServers) {
			check(c, servers, "its server")
		}
	}
	for _, s := range servers {
		if s.lacks(byClients) {
			check(s, presenting, "its client")
		}
	}
}

func issuersOf(members []member) []string {
	var out []string
	for _, m := range members {
		if !slices.Contains(out, m.Issuer) {
			out = append(out, m.Issuer)
		}
	}
	return out
}

// lacks reports whether the member places a trust bundle, without which it
// authenticates no one, and trusts not all of the issuers.
func (m member) lacks(issuers []string) bool {
	return slices.ContainsFunc(issuers, func(name string) bool { return !slices.Contains(m.Trust, name) }) &&
		get[string](get[settings](&m.d.s, "files"), string(renewer.FileCA)) != ""
}

// sends refuses a client without a certificate where every server asks for one.
func (r *resolver) sends(servers, clients []member) {
	servers = slices.DeleteFunc(slices.Clone(servers), func(s member) bool { return len(s.Placements) == 0 })
	if len(servers) == 0 || slices.ContainsFunc(servers, func(s member) bool { return !asksClients(s.Certificate) }) {
		return
	}
	for _, c := range clients {
		if len(c.Usages) == 0 && len(c.dials) > 0 {
			r.fault(c.d.at, fmt.Sprintf("%s dials %s without a client certificate, but %s requires one", c.Entry, quote(c.dials[0].value.(string)), servers[0].Entry),
				"expected a profile with usage client, or files: {ca: null} at "+servers[0].Entry)
		}
	}
}

// asksClients reports whether the service of a certificate has to refuse
// clients without one: so its probes prove.
func asksClients(c *renewer.Certificate) bool {
	return !slices.ContainsFunc(c.Placements, func(p renewer.Placement) bool { return !p.Probe.Mutual })
}

// covers reports whether SANs cover a name as a TLS client checks it (RFC 6125,
// section 6.4.3: a wildcard stands for one label).
func covers(sans map[string]bool, name string) bool {
	if a, ok := parseIP(name); ok {
		return sans[a.Unmap().String()]
	}
	name = strings.ToLower(name)
	_, rest, _ := strings.Cut(name, ".")
	return sans[name] || rest != "" && sans["*."+rest]
}

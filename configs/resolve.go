package configs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
)

// mostPlacements bounds what a few lines (a list of hosts under defaults, and
// many certificates) can grow to.
const mostPlacements = 1_000_000

// resolver turns the entries of certificates into what they stand for.
type resolver struct {
	*loader
	fleet    *Fleet
	defaults settings
	profiles map[string]*Profile
	known    map[string][]string // names that settings refer to, by kind
	claims   map[claim]*renewer.Placement
	clients  []clientUse
	peering  map[string][]joining // members of peer groups
	named    []item               // groups of hosts
	groups   map[string]group
	listed   []int                          // by host, the entry that had it last
	turn     int                            // that of the entry
	layouts  map[*Profile]renewer.Placement // files and modes where only the profile says them
	count    int                            // of placements
	own      map[string][]string            // trust of those that trust their issuer alone, by issuer
	moving   []moving                       // entries that had another name
	hosts    []*Host                        // of the entry
	spare    *draft                         // of an entry that is done
	shut     map[string]time.Duration       // by window, the longest time that it is closed; of those that were asked about
}

// clientUse is a certificate that a probe presents.
type clientUse struct {
	certificate, host string // the placement whose probe it is
	name              string
	at                pos
}

func newResolver(l *loader, f *Fleet, s settings) *resolver {
	r := &resolver{
		loader: l, fleet: f, defaults: get[settings](s, "defaults"), profiles: map[string]*Profile{},
		peering: map[string][]joining{}, layouts: map[*Profile]renewer.Placement{}, own: map[string][]string{}, shut: map[string]time.Duration{}, named: get[[]item](s, "groups"),
		known: map[string][]string{"issuer": f.issuerNames(), "host": f.HostNames()},
	}
	r.groups, r.listed = l.groups(f, r.named), make([]int, len(f.Hosts))
	for _, w := range get[[]item](s, "windows") { // those with faults too
		r.known["window"] = append(r.known["window"], w.name)
	}
	for i := range f.Profiles {
		p := &f.Profiles[i]
		r.profiles[p.Name] = p
		r.known["profile"] = append(r.known["profile"], p.Name)
	}
	f.entries, f.tolerate = map[string][]string{}, map[string]time.Duration{}
	return r
}

// certificates resolves every entry, then what they say of each other.
func (r *resolver) certificates(list []setting) {
	refers := r.references()
	refers(r.defaults)
	names := make(map[string]pos, len(list))
	r.claims = make(map[claim]*renewer.Placement, 3*len(list))
	r.fleet.Certificates = slices.Grow(r.fleet.Certificates, len(list))
	r.fleet.index = make(map[string]int, len(list))
	for i, c := range list {
		own, ok := c.value.(settings)
		if !ok {
			continue
		}
		list[i].value = nil // of no more use when it is resolved
		refers(own)
		name := get[string](own, "name")
		if !own.has("name") {
			r.fault(c.at, "the certificate has no name", "expected name: "+aCertificateName)
		} else if first, twice := names[name]; twice && name != "" {
			r.fault(own["name"].at, "a second certificate named "+quote(name), "expected a unique name; "+r.first(first, own["name"].at))
			continue
		} else {
			names[name] = c.at
		}
		r.entry(c.at, own)
		if r.count > mostPlacements {
			r.fault(c.at, "the certificates up to here have more than 1000000 placements", "expected less; split the fleet over several fleet files")
			return
		}
	}
	r.presentClients(names)
	r.peers()
	r.moves(names)
	r.fleet.leaveRetired()
}

// leaveRetired drops the certificates whose hosts are all retired.
func (f *Fleet) leaveRetired() {
	gone := func(c renewer.Certificate) bool { return len(c.Placements) == 0 }
	if !slices.ContainsFunc(f.Certificates, gone) {
		return
	}
	f.Certificates = slices.DeleteFunc(f.Certificates, gone)
	clear(f.index)
	for i, c := range f.Certificates {
		f.index[c.Name] = i
	}
	for entry, names := range f.entries {
		f.entries[entry] = slices.DeleteFunc(names, func(name string) bool { _, ok := f.index[name]; return !ok })
	}
}

// references returns a check of the names that settings refer to.
func (r *resolver) references() func(settings) {
	sets := map[string]map[string]bool{}
	for kind, names := range r.known {
		sets[kind] = map[string]bool{}
		for _, n := range names {
			sets[kind][n] = true
		}
	}
	check := func(kind string, x setting) {
		if name, ok := x.value.(string); ok && !sets[kind][name] {
			r.fault(x.at, "unknown "+kind+" "+quote(name), r.suggest(name, r.known[kind]))
		}
	}
	return func(s settings) {
		for _, kind := range []string{"issuer", "profile", "window"} {
			check(kind, s[kind])
		}
		for _, x := range get[[]setting](s, "hosts") {
			text := x.value.(string)
			name, isGroup := strings.CutPrefix(text, "@")
			_, known := r.groups[name]
			switch {
			case isGroup && !known:
				r.unknownGroup(x.at, text, r.named)
			case !isGroup && hasMeta(text):
				r.fault(x.at, quote(text)+" is a pattern, and here are names", fmt.Sprintf("expected groups: {NAME: [%q]} in the fleet file, and \"@NAME\" here", text))
			case known && !isGroup && !sets["host"][text]:
				r.fault(x.at, "unknown host "+quote(text), "did you mean the group, "+quote("@"+text)+"?")
			case !isGroup:
				check("host", x)
			}
		}
		for _, x := range get[[]setting](s, "trust") {
			if name, _ := x.value.(string); !r.trustFile(x.at, name) {
				check("issuer", x)
			}
		}
	}
}

// presentClients finds the certificates that probes present: a probe runs
// here, so the certificate has to be on a local host.
func (r *resolver) presentClients(entries map[string]pos) {
	const expected = "expected a certificate with usage client on a host of type local"
	var known []string
	for _, use := range r.clients {
		p := r.fleet.placement(use.certificate, use.host)
		full := r.fleet.stands(use.name)
		if _, faulty := entries[use.name]; len(full) == 0 && faulty {
			continue // it has faults of its own
		}
		if len(full) == 0 {
			if known == nil {
				known = r.fleet.names()
			}
			r.fault(use.at, "unknown certificate "+quote(use.name), r.suggest(use.name, known))
			continue
		}
		if len(full) > 1 {
			r.fault(use.at, "certificate "+quote(use.name)+" is not unique: it is one a host", "expected "+oneOf(r.fleet.entries[use.name]))
			continue
		}
		c := r.fleet.Certificates[full[0]]
		local := slices.ContainsFunc(c.Placements, func(p renewer.Placement) bool {
			h, _ := r.fleet.Host(p.Host)
			return h.Type != "ssh"
		})
		switch {
		case !slices.Contains(c.Usages, renewer.UsageClient):
			r.fault(use.at, "certificate "+quote(use.name)+" is not for clients", expected)
		case !local:
			r.fault(use.at, "certificate "+quote(use.name)+" is on no local host", expected)
		default:
			p.Probe.Client = c.Name
		}
	}
}

// expand replaces {host} and {address}.
func expand(s string, h *Host) string {
	if !strings.Contains(s, "{") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "{host}", h.Name), "{address}", h.Address)
}

// expandHostPort is expand for host:port, where IPv6 needs its brackets.
func expandHostPort(s string, h *Host) string {
	if strings.Contains(h.Address, ":") && !strings.Contains(s, "[{address}]") {
		s = strings.ReplaceAll(s, "{address}", "["+h.Address+"]")
	}
	if isIP(h.Name) && strings.Contains(h.Name, ":") {
		s = strings.ReplaceAll(s, "{host}", "["+h.Name+"]")
	}
	return expand(s, h)
}

// expandAll is expand for a list, itself where it has nothing to replace.
func expandAll(list []string, h *Host) []string {
	if !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "{") }) {
		return list
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = expand(s, h)
	}
	return out
}

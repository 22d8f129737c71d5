package configs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"renewer/renewer"
)

// Defaults of a certificate.
const (
	defaultLifetime    = 90 * day
	defaultMaxParallel = 5
	// override_before is this, or a tenth of the lifetime if that is less.
	defaultOverride = 7 * day
)

// longestCommonName is X.520's ub-common-name (RFC 5280, appendix A.1).
const longestCommonName = 64

// leafKeys say something about a leaf: a trust bundle has none.
var leafKeys = []string{"common_name", "sans", "default_sans", "usages", "strict", "key", "rekey", "lifetime", "renew_at", "renew_before", "jitter", "tolerate"}

// draft is one entry on its way: s are its settings with all layers, extra
// those without the profile.
type draft struct {
	at       pos
	own      settings
	s, extra layers
	profile  *Profile
	bundle   bool // a trust bundle alone
	base     renewer.Certificate
	placed   renewer.Placement // what its placements have in common
	faulty   bool              // its files are
}

// where returns the place of a key, or that of the entry.
func (d *draft) where(key string) pos {
	x, _ := d.s.find(key)
	return x.at.or(d.at)
}

// entry resolves one entry of certificates into one certificate, or one a host.
func (r *resolver) entry(at pos, own settings) {
	d := r.spare
	if r.spare = nil; d == nil {
		d = &draft{}
	}
	*d = draft{at: at, own: own, extra: layers{own, r.defaults}}
	if trust := get[[]setting](&d.extra, "trust"); len(trust) > 0 && !d.extra.has("issuer") {
		if p, ok := r.profiles[get[string](&d.extra, "profile")]; ok && len(p.Usages) == 0 {
			d.own = maps.Clone(own)
			d.own["issuer"] = trust[0] // a trust bundle is issued by no one
			d.extra[0] = d.own
		}
	}
	for _, k := range []string{"issuer", "profile", "hosts"} {
		if !d.extra.has(k) {
			var expected string
			switch k {
			case "hosts":
				expected = "hosts: a list of hosts of this file"
			default:
				expected = k + ": " + oneOf(r.known[k])
			}
			r.fault(at, fmt.Sprintf("certificate %s has no %s", quote(get[string](own, "name")), k), "expected "+expected)
		}
	}
	profile, ok := r.profiles[get[string](&d.extra, "profile")]
	if !ok {
		return
	}
	d.profile, d.s, d.bundle = profile, layers{d.own, r.defaults, profile.settings}, len(profile.Usages) == 0
	d.base = r.base(d)
	if d.base.Entry == "" {
		return
	}
	r.placed(d)
	hosts := r.hostsOf(d)
	r.tolerate(d, len(hosts))
	if perHost := get[bool](&d.s, "per_host"); perHost {
		r.fleet.Certificates = slices.Grow(r.fleet.Certificates, len(hosts))
		for i := range hosts {
			r.certificate(d, hosts[i:i+1], true)
		}
	} else if len(hosts) > 0 {
		r.certificate(d, hosts, false)
	}
	if d.base.PeerGroup == "" { // else its members refer to it
		r.spare = d
	}
}

// hostsOf returns the hosts of an entry, in its order and each once; those of
// a group are in the order of the file.
func (r *resolver) hostsOf(d *draft) []*Host {
	x, _ := d.s.find("hosts")
	list, _ := x.value.([]setting)
	hosts := r.hosts[:0]
	r.turn++
	add := func(i int) {
		if r.listed[i] != r.turn {
			r.listed[i] = r.turn
			hosts = append(hosts, &r.fleet.Hosts[i])
		}
	}
	for _, x := range list {
		name := x.value.(string)
		if i, ok := r.fleet.hosts[name]; ok {
			add(i)
		} else if of, ok := strings.CutPrefix(name, "@"); ok {
			for _, i := range r.groups[of].hosts {
				add(i)
			}
		}
	}
	r.hosts = hosts
	return hosts
}

// base is what all certificates of an entry have in common.
func (r *resolver) base(d *draft) renewer.Certificate {
	s := &d.s
	c := renewer.Certificate{
		Entry: get[string](s, "name"), Issuer: get[string](s, "issuer"), Profile: d.profile.Name,
		Strict: get[bool](s, "strict"), Key: renewer.KeyType(getOr(s, "key", string(renewer.ECDSAP256))), Rekey: getOr(s, "rekey", true),
		Lifetime: getOr(s, "lifetime", defaultLifetime), Trust: texts(s, "trust"),
		Window: get[string](s, "window"), PeerGroup: get[string](s, "peer_group"),
		Position: r.position(d.at), From: r.movedFrom(d),
	}
	if own := d.extra.has("usages"); !own {
		c.Usages = d.profile.sorted
	} else {
		c.Usages = usagesOf(s)
	}
	if profile := d.profile.Usages; len(c.Usages) > 0 && len(profile) > 0 && !slices.ContainsFunc(c.Usages, func(u renewer.Usage) bool { return slices.Contains(profile, u) }) {
		r.fault(d.where("usages"), fmt.Sprintf("usages %v do not fit: profile %s is for %v", c.Usages, d.profile.Name, profile), fmt.Sprintf("expected usages: %v", profile))
	}
	if len(c.Trust) == 0 {
		if r.own[c.Issuer] == nil {
			r.own[c.Issuer] = []string{c.Issuer}
		}
		c.Trust = r.own[c.Issuer]
	}
	rollout := get[settings](s, "rollout")
	c.Pace = renewer.Pace{
		Canary: getOr(rollout, "canary", 1), MaxParallel: getOr(rollout, "max_parallel", defaultMaxParallel),
		Pause: get[time.Duration](rollout, "pause"),
	}
	if c.Settle = get[time.Duration](s, "settle"); c.Settle == 0 && hasValue(s, "settle") {
		c.Settle = -1 // at once
	}
	c.Renewal = r.renewal(d, c.Lifetime)
	r.override(d, &c)
	if d.s.has("dials") && c.PeerGroup == "" {
		r.fault(d.where("dials"), "dials without a peer_group", "expected peer_group: the name of the group whose servers it connects to")
	}
	r.bundle(d, &c)
	return c
}

// usagesOf returns usages, server before client.
func usagesOf(s source) []renewer.Usage {
	var out []renewer.Usage
	for _, u := range texts(s, "usages") {
		out = append(out, renewer.Usage(u))
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// certificate adds one certificate for a group of hosts.
func (r *resolver) certificate(d *draft, hosts []*Host, perHost bool) {
	at := len(r.fleet.Certificates)
	r.fleet.Certificates = append(r.fleet.Certificates, d.base)
	c := &r.fleet.Certificates[at]
	c.Name, c.CommonName = c.Entry, c.Entry
	if perHost {
		c.Name, c.CommonName = c.Entry+"@"+hosts[0].Name, hosts[0].Name
	}
	if len(c.Name) > longestName {
		r.fault(d.at, fmt.Sprintf("the name %s has %d characters", quote(c.Name), len(c.Name)), fmt.Sprintf("expected at most %d", longestName))
		r.fleet.Certificates = r.fleet.Certificates[:at]
		return
	}
	there := hosts
	if slices.ContainsFunc(hosts, retired) {
		there = slices.DeleteFunc(slices.Clone(hosts), retired)
	}
	if len(there) > 0 { // else the names stay: nothing is to be renewed for it
		hosts = there
	}
	if d.bundle {
		c.CommonName = ""
	} else {
		c.CommonName = r.commonName(d, c.CommonName, hosts)
		c.SANs = r.sans(d, c, hosts)
	}
	if c.PeerGroup != "" {
		r.join(d, c, hosts)
	}
	if len(there) > 0 {
		c.Placements = make([]renewer.Placement, len(there))
	}
	for i, h := range there {
		r.placement(d, c, &c.Placements[i], h)
	}
	r.publicClients(d, c)
	r.count += len(there)
	if perHost {
		r.fleet.entries[c.Entry] = append(r.fleet.entries[c.Entry], c.Name)
	}
	r.fleet.index[c.Name] = at
}

func retired(h *Host) bool { return h.Retired }

func (r *resolver) commonName(d *draft, name string, hosts []*Host) string {
	if given := get[string](&d.s, "common_name"); given != "" {
		if hasPlaceholder(given) && len(hosts) > 1 {
			r.fault(d.where("common_name"), "common_name differs by host, but the hosts share one certificate", "expected per_host: true, or a name without placeholder")
			return ""
		}
		name = expand(given, hosts[0])
	}
	if n := utf8.RuneCountInString(name); n > longestCommonName {
		r.fault(d.where("common_name"), fmt.Sprintf("the common name %s has %d characters, and X.520 allows %d", quote(name), n, longestCommonName),
			"expected common_name: a shorter name; clients check the SANs, which may be longer")
	}
	return name
}

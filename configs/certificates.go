package configs

import (
	"cmp"
	"fmt"
	"slices"
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
var leafKeys = []string{"common_name", "sans", "default_sans", "usages", "strict", "key", "rekey", "lifetime", "renew_at", "renew_before", "jitter"}

// draft is one entry on its way: s are its settings with all layers merged,
// extra those without the profile.
type draft struct {
	at       pos
	s, extra settings
	own      settings
	profile  Profile
	bundle   bool // a trust bundle alone
	base     renewer.Certificate
}

// where returns the place of a key, or that of the entry.
func (d *draft) where(key string) pos { return d.s[key].at.or(d.at) }

// entry resolves one entry of certificates into one certificate, or one a host.
func (r *resolver) entry(at pos, own settings) {
	d := &draft{at: at, own: own, extra: over(r.defaults, own)}
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
	profile, ok := r.profiles[get[string](d.extra, "profile")]
	if !ok {
		return
	}
	d.profile, d.s, d.bundle = profile, over(profile.settings, d.extra), len(profile.Usages) == 0
	d.base = r.base(d)
	var hosts []Host
	for _, name := range texts(d.s, "hosts") {
		if h, ok := r.fleet.Host(name); ok {
			hosts = append(hosts, h)
		}
	}
	groups := [][]Host{hosts}
	perHost := get[bool](d.s, "per_host")
	if perHost {
		groups = slices.Collect(slices.Chunk(hosts, 1))
	}
	for _, group := range groups {
		if len(group) > 0 && d.base.Entry != "" {
			r.certificate(d, group, perHost)
		}
	}
}

// base is what all certificates of an entry have in common.
func (r *resolver) base(d *draft) renewer.Certificate {
	s := d.s
	c := renewer.Certificate{
		Entry: get[string](s, "name"), Issuer: get[string](s, "issuer"), Profile: d.profile.Name,
		Strict: get[bool](s, "strict"), Key: renewer.KeyType(getOr(s, "key", string(renewer.ECDSAP256))), Rekey: getOr(s, "rekey", true),
		Lifetime: getOr(s, "lifetime", defaultLifetime), Trust: texts(s, "trust"),
		Window: get[string](s, "window"), PeerGroup: get[string](s, "peer_group"),
		Position: fmt.Sprintf("%s:%d:%d", r.file, d.at.line, d.at.column),
	}
	for _, u := range texts(s, "usages") {
		c.Usages = append(c.Usages, renewer.Usage(u))
	}
	slices.SortFunc(c.Usages, func(a, b renewer.Usage) int { return cmp.Compare(b, a) }) // server, client
	if len(c.Trust) == 0 {
		c.Trust = []string{c.Issuer}
	}
	rollout := get[settings](s, "rollout")
	c.Pace = renewer.Pace{
		Canary: getOr(rollout, "canary", 1), MaxParallel: getOr(rollout, "max_parallel", defaultMaxParallel),
		Pause: get[time.Duration](rollout, "pause"),
	}
	c.Renewal = r.renewal(d, c.Lifetime)
	r.override(d, &c)
	r.bundle(d, c)
	return c
}

// renewal checks that something of the lifetime is left before the renew
// time, the earliest that jitter can make it.
func (r *resolver) renewal(d *draft, lifetime time.Duration) renewer.Renewal {
	before := get[time.Duration](d.s, "renew_before")
	at := getOr(d.s, "renew_at", renewer.DefaultRenewAt)
	key := "renew_at"
	if before > 0 {
		at, key = 0, "renew_before"
		if before >= lifetime {
			r.fault(d.where(key), fmt.Sprintf("renew_before (%s) is not less than lifetime (%s)", FormatDuration(before), FormatDuration(lifetime)),
				"expected less than lifetime")
			return renewer.Renewal{}
		}
	}
	share := at
	if before > 0 {
		share = 1 - renewer.Share(float64(before)/float64(lifetime))
	}
	jitter := min(renewer.DefaultJitter, share/2)
	if d.s.has("jitter") {
		if jitter = get[renewer.Share](d.s, "jitter"); jitter >= share {
			r.fault(d.where("jitter"), fmt.Sprintf("jitter (%s) leaves no time before the renewal that %s asks for", jitter, key),
				fmt.Sprintf("expected less than %.3g%%", float64(share)*100))
		}
	}
	return renewer.Renewal{At: at, Before: before, Jitter: jitter}
}

func (r *resolver) override(d *draft, c *renewer.Certificate) {
	if d.own.has("override_before") && !d.s.has("window") {
		r.fault(d.where("override_before"), "override_before without a window", "expected window: the name of a window beside it")
	}
	if c.Window == "" {
		return
	}
	c.OverrideBefore = getOr(d.s, "override_before", min(defaultOverride, c.Lifetime/10).Truncate(time.Second))
	if c.OverrideBefore >= c.Lifetime {
		r.fault(d.where("override_before"), fmt.Sprintf("override_before (%s) is not less than lifetime (%s)", FormatDuration(c.OverrideBefore), FormatDuration(c.Lifetime)),
			"expected less than lifetime")
	}
}

// bundle refuses to mix a trust bundle alone with a certificate.
func (r *resolver) bundle(d *draft, c renewer.Certificate) {
	if !d.bundle {
		if c.IsBundle() && d.s["usages"].value != nil {
			r.fault(d.where("usages"), "a certificate without usages", "expected [server], [client] or both; the profile ca-bundle is for a trust bundle alone")
		}
		return
	}
	for _, k := range leafKeys {
		if d.own.has(k) {
			r.fault(d.where(k), fmt.Sprintf("%s in a trust bundle (profile %s), which has no certificate", k, d.profile.Name), "expected no such key")
		}
	}
}

// certificate adds one certificate for a group of hosts.
func (r *resolver) certificate(d *draft, hosts []Host, perHost bool) {
	c := d.base
	c.Name, c.CommonName = c.Entry, c.Entry
	if perHost {
		c.Name, c.CommonName = c.Entry+"@"+hosts[0].Name, hosts[0].Name
	}
	if len(c.Name) > longestName {
		r.fault(d.at, fmt.Sprintf("the name %s has %d characters", quote(c.Name), len(c.Name)), fmt.Sprintf("expected at most %d", longestName))
		return
	}
	if d.bundle {
		c.CommonName = ""
	} else {
		c.CommonName = r.commonName(d, c.CommonName, hosts)
		c.SANs = r.sans(d, c, hosts)
	}
	for _, h := range hosts {
		r.placed++
		c.Placements = append(c.Placements, r.placement(d, c, h))
	}
	r.fleet.entries[c.Entry] = append(r.fleet.entries[c.Entry], c.Name)
	r.fleet.index[c.Name] = len(r.fleet.Certificates)
	r.fleet.Certificates = append(r.fleet.Certificates, c)
}

func (r *resolver) commonName(d *draft, name string, hosts []Host) string {
	if given := get[string](d.s, "common_name"); given != "" {
		if placeholderForm.MatchString(given) && len(hosts) > 1 {
			r.fault(d.where("common_name"), "common_name differs from host to host, and the hosts share one certificate", "expected per_host: true, or a name without placeholder")
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

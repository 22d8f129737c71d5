package configs

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"renewer/renewer"
)

// SystemRoots is what roots: says of the roots of this machine.
const SystemRoots = "system"

// ACME is what an issuer of type acme has beside the trust for the server's own TLS
// (Issuer.CACert).
type ACME struct {
	Directory      string
	Email          string `json:",omitempty"`
	EABKeyIDFile   string `json:",omitempty"`
	EABHMACFile    string `json:",omitempty"`
	Roots          string // SystemRoots or a file
	Profile        string `json:",omitempty"`
	PreferredChain string `json:",omitempty"`
	Challenge      ACMEChallenge
	StateFile      string // where the account is kept
}

// ACMEChallenge says how names are proven: a type, and what it needs.
type ACMEChallenge struct {
	Type     string   // http-01, tls-alpn-01, dns-01 or dns-persist-01
	Listen   string   `json:",omitempty"` // http-01, tls-alpn-01
	Host     string   `json:",omitempty"` // http-01: a host of the fleet, and a directory there
	Dir      string   `json:",omitempty"`
	Server   string   `json:",omitempty"` // dns-01: a name server, host:port
	Zone     string   `json:",omitempty"`
	TSIGFile string   `json:",omitempty"`
	Exec     []string `json:",omitempty"` // dns-01
}

var acmeSchema = schema{
	"directory": readDirectory, "email": textLike("a mail address", func(s string) bool { return strings.Contains(s, "@") && !strings.ContainsAny(s, " \t,") }), "ca_cert": pathOf(true),
	"eab":   object("eab", schema{"kid_file": pathOf(true), "hmac_file": pathOf(true)}),
	"roots": readACMERoots, "profile": text("the name of a profile of the server"), "preferred_chain": text("the common name of a root"),
	"challenge": readACMEChallenge,
}

var challengeSchema = schema{
	"http-01":     object("http-01", schema{"listen": aListener, "host": text("the name of a host"), "dir": pathOf(false)}),
	"tls-alpn-01": object("tls-alpn-01", schema{"listen": aListener}),
	"dns-01": object("dns-01", schema{
		"rfc2136": object("rfc2136", schema{"server": textLike("the address of a name server, with :53 where no port is given", isServer), "zone": textLike("a zone such as example.com", isZone), "tsig_file": pathOf(true)}),
		"exec":    argv,
	}),
	"dns-persist-01": object("dns-persist-01", schema{}),
}

var aListener = textLike("[host]:port, such as :80", func(s string) bool {
	return isHostPort(s, 1) || strings.HasPrefix(s, ":") && isHostPort("host"+s, 1)
})

// readDirectory keeps a slash at the end: the URL is taken as the CA gives it.
func readDirectory(l *loader, at pos, n *yaml.Node) (any, bool) {
	v, ok := urlReader(l, at, n)
	if ok && strings.HasSuffix(n.Value, "/") {
		return v.(string) + "/", true
	}
	return v, ok
}

func isServer(s string) bool { return isHostPort(s, 1) || isAddress(s) }
func isZone(s string) bool   { return isDNSName(strings.TrimSuffix(s, ".")) }

func readACMERoots(l *loader, at pos, n *yaml.Node) (any, bool) {
	if n.Kind == yaml.ScalarNode && n.Value == SystemRoots {
		return SystemRoots, true
	}
	return pathOf(true)(l, at, n)
}

// readACMEChallenge returns an ACMEChallenge.
func readACMEChallenge(l *loader, at pos, n *yaml.Node) (any, bool) {
	kind, all, ok := l.choice(at, n, "challenge", challengeSchema, schema{})
	if !ok {
		return nil, false
	}
	s := get[settings](all, kind)
	c := ACMEChallenge{Type: kind, Listen: get[string](s, "listen"), Host: get[string](s, "host"), Dir: get[string](s, "dir")}
	for _, a := range get[[]setting](s, "exec") {
		c.Exec = append(c.Exec, a.value.(string))
	}
	update := get[settings](s, "rfc2136")
	c.Server, c.Zone, c.TSIGFile = get[string](update, "server"), get[string](update, "zone"), get[string](update, "tsig_file")
	if c.Server != "" && !isHostPort(c.Server, 1) {
		if c.Server += ":53"; isIP(strings.TrimSuffix(c.Server, ":53")) && strings.Count(c.Server, ":") > 1 {
			c.Server = "[" + strings.TrimSuffix(c.Server, ":53") + "]:53"
		}
	}
	expected := ""
	switch kind {
	case "http-01":
		if (c.Listen != "") == (c.Host != "" || c.Dir != "") || (c.Host == "") != (c.Dir == "") {
			expected = `expected {listen: ":80"}, or {host: HOST, dir: DIR} of a web server`
		}
	case "tls-alpn-01":
		if c.Listen == "" {
			expected = `expected {listen: ":443"}`
		}
	case "dns-01":
		if whole := c.Server != "" && c.Zone != "" && c.TSIGFile != ""; whole == (c.Exec != nil) || update != nil && !whole {
			expected = "expected {rfc2136: {server: ADDRESS, zone: ZONE, tsig_file: FILE}}, or {exec: [argv...]}"
		}
	}
	if expected != "" {
		l.fault(all[kind].at.or(at), kind+" is not complete", expected)
		return nil, false
	}
	return c, true
}

// acme returns what an issuer of type acme has; nil for a fault.
func (l *loader) acme(at pos, s settings) *ACME {
	a := &ACME{
		Directory: get[string](s, "directory"), Email: get[string](s, "email"), Profile: get[string](s, "profile"),
		PreferredChain: get[string](s, "preferred_chain"), Challenge: getOr(s, "challenge", ACMEChallenge{Type: "http-01", Listen: ":80"}),
	}
	// A server that needs a CA of its own for its TLS is a private one, and mostly
	// signs with that.
	if a.Roots = getOr(s, "roots", get[string](s, "ca_cert")); a.Roots == "" {
		a.Roots = SystemRoots
	}
	eab := get[settings](s, "eab")
	a.EABKeyIDFile, a.EABHMACFile = get[string](eab, "kid_file"), get[string](eab, "hmac_file")
	if eab != nil && (!eab.has("kid_file") || !eab.has("hmac_file")) {
		l.fault(s["eab"].at, "eab is not complete", "expected {kid_file: FILE, hmac_file: FILE}")
		return nil
	}
	return a
}

// challengeHosts refuses a challenge on a host that the file does not have.
func (l *loader) challengeHosts(f *Fleet, issuers []item) {
	for k := range f.Issuers {
		if a := f.Issuers[k].ACME; a != nil && a.Challenge.Host != "" {
			if h, ok := f.Host(a.Challenge.Host); !ok || h.Retired {
				l.fault(issuers[k].at, "unknown host "+quote(a.Challenge.Host)+" in the challenge of issuer "+quote(f.Issuers[k].Name), l.suggest(a.Challenge.Host, f.HostNames()))
			}
		}
	}
}

// publicClients refuses a server that would let in every client with a certificate of
// any public CA.
func (r *resolver) publicClients(d *draft, c *renewer.Certificate) {
	verifies := func(p renewer.Placement) bool {
		return p.Files[renewer.FileCA] != "" && (p.Probe.Mutual || !p.Probe.Kind.Served())
	}
	if !slices.Contains(c.Usages, renewer.UsageServer) || !slices.ContainsFunc(c.Placements, verifies) {
		return
	}
	for _, name := range c.Trust {
		if is, ok := r.fleet.Issuer(name); ok && is.ACME != nil && is.ACME.Roots == SystemRoots {
			r.fault(d.where("trust"), "certificate "+quote(c.Name)+" would accept clients with a certificate of any public CA: the roots of issuer "+quote(name)+" are those of the system",
				"expected trust: an issuer of your own; or files: {ca: null}, or a probe with mutual: false, where no clients are verified")
			return
		}
	}
}

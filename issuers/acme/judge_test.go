package acme

import (
	"crypto"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"pgregory.net/rapid"

	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestWhatIsRefusedBeforeItIsAsked(t *testing.T) {
	t.Parallel()
	port := Challenge{Type: HTTP01, Listen: ":80"}
	update := Challenge{Type: DNS01, RFC2136: RFC2136{Server: "a:53", Zone: "example.com."}}
	server, both := []renewer.Usage{renewer.UsageServer}, []renewer.Usage{renewer.UsageServer, renewer.UsageClient}
	for name, c := range map[string]struct {
		challenge Challenge
		public    bool
		usages    []renewer.Usage
		sans      []string
		want      string // empty: it is let through
	}{
		"a public name":                {port, true, server, []string{"www.example.com"}, ""},
		"a public address":             {port, true, server, []string{"8.8.8.8"}, ""},
		"a mapped private address":     {port, true, server, []string{"::ffff:10.0.0.1"}, "a private address"},
		"a loopback address":           {port, true, server, []string{"www.example.com", "127.0.0.1"}, "127.0.0.1, a loopback address"},
		"a unique local address":       {port, true, server, []string{"fd00::1"}, "a private address"},
		"a link-local address":         {port, true, server, []string{"fe80::1"}, "not on the public internet"},
		"carrier-grade NAT":            {port, true, server, []string{"100.64.0.1"}, "not on the public internet"},
		"documentation":                {port, true, server, []string{"2001:db8::1"}, "not on the public internet"},
		"a host":                       {port, true, server, []string{"host-b"}, "a name without a domain"},
		"a local name":                 {port, true, server, []string{"printer.Local"}, "not in the public DNS"},
		"home.arpa":                    {port, true, server, []string{"x.home.arpa"}, "not in the public DNS"},
		"a client":                     {port, true, both, []string{"www.example.com"}, "the usage client"},
		"a client of a private server": {port, false, both, []string{"host-b", "10.0.0.1", "127.0.0.1"}, ""},
		"a wildcard by http-01":        {port, false, server, []string{"*.example.com"}, "cannot validate the wildcard"},
		"a wildcard by dns-01":         {update, true, server, []string{"*.example.com"}, ""},
		"an address by dns-01":         {update, false, server, []string{"10.0.0.1"}, "cannot validate the IP address"},
		"a name of another zone":       {update, false, server, []string{"www.example.org"}, "is not in the zone"},
		"a name that ends alike":       {update, false, server, []string{"notexample.com"}, "is not in the zone"},
		"the zone itself":              {update, false, server, []string{"example.com", "*.example.com"}, ""},
		"a name that cannot be had":    {port, false, server, []string{"renewer.invalid"}, "is a reserved name"},
		"no name":                      {port, false, both, nil, "signs DNS names only"},
	} {
		cfg := Config{Name: "ca", Challenge: c.challenge, Roots: "/roots.pem"}
		if c.public {
			cfg.Roots = System
		}
		err := Judge(cfg)(renewer.Request{CommonName: "renewer probe", SANs: c.sans, Usages: c.usages, Key: renewer.ECDSAP256})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || renewer.Hint(err) == "" || renewer.ClassOf(err) != renewer.ClassRefused):
			t.Errorf("%s: %v, hint %q; want %q", name, err, renewer.Hint(err), c.want)
		}
	}
}

// Whatever names there are, each is asked for once, and the CSR has exactly those.
func TestTheCSRHasTheNamesOfTheOrder(t *testing.T) {
	t.Parallel()
	key := newTestKey(t)
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[a-zA-Z][a-zA-Z0-9]{0,8}`)
		sans := rapid.SliceOfN(rapid.OneOf(rapid.Map(label, func(s string) string { return s + ".example.com" }), rapid.SampledFrom([]string{"10.0.0.1", "fd00::1"})), 1, 5).Draw(t, "sans")
		o := renewer.Order{Certificate: "c", Key: key, Request: renewer.Request{CommonName: rapid.OneOf(label, rapid.SampledFrom(sans)).Draw(t, "cn"), SANs: sans}}
		asked, err := names(Config{Challenge: Challenge{Type: HTTP01}}, o.Request)
		if err != nil {
			t.Fatal(err)
		}
		der, err := csr(o, asked)
		if err != nil {
			t.Fatal(err)
		}
		req, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Clone(req.DNSNames)
		for _, ip := range req.IPAddresses {
			got = append(got, ip.String())
		}
		want := slices.Clone(asked)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || len(slices.Compact(want)) != len(got) {
			t.Fatalf("CSR %v, order %v of %v", got, asked, sans)
		}
		if cn := req.Subject.CommonName; cn != "" && !slices.Contains(req.DNSNames, cn) {
			t.Fatalf("common name %q is none of %v", cn, req.DNSNames)
		}
	})
}

func TestTheNameOfAnAddressIsThatOfReverseDNS(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"WWW.example.com": "www.example.com", "192.0.2.7": "7.2.0.192.in-addr.arpa",
		"2001:db8::1": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := serverName(acme.Identifier{Value: value}); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}

func TestAnOrderGoesOnForTheSameNamesAndKey(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	o := order{URL: "https://ca/o/1", Names: []string{"a"}, Key: "k", Expires: now.Add(time.Hour)}
	if !o.goesOn([]string{"a"}, "", "k", now) {
		t.Error("it does not")
	}
	if o.goesOn([]string{"a", "b"}, "", "k", now) || o.goesOn([]string{"a"}, "short", "k", now) || o.goesOn([]string{"a"}, "", "l", now) || o.goesOn([]string{"a"}, "", "k", now.Add(time.Hour)) || (order{}).goesOn(nil, "", "", now) {
		t.Error("it does for another one")
	}
}

func TestAProblemIsOneLine(t *testing.T) {
	t.Parallel()
	p := acme.Problem{Type: acme.ProblemTypeNamespace + "compound", Detail: "several\nthings.", Subproblems: []acme.Subproblem{
		{Problem: acme.Problem{Detail: "no \x1b[31mred"}, Identifier: acme.Identifier{Value: "a.example"}},
	}}
	if got, want := words(p), "several things; a.example: no [31mred (compound)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func newTestKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := pki.NewKey(renewer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

package pki_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

var unknownCritical = pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}

// ca returns a CA that is bent from a good root.
func ca(t *testing.T, name string, by *testpki.CA, bend func(*x509.Certificate)) *testpki.CA {
	t.Helper()
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: []byte{1, 2, 3},
	}
	if bend != nil {
		bend(c)
	}
	out := &testpki.CA{Cert: c, Key: testpki.Key(t)}
	signer := by
	if by == nil {
		signer = out
	}
	out.Cert = signed(t, c, signer, out.Key.Public())
	out.Root = out.Cert
	if by != nil {
		out.Root, out.Chain = by.Root, append([]*x509.Certificate{out.Cert}, by.Chain...)
	}
	return out
}

// What is placed is what a peer accepts, the one who signed it, and where the CA is
// at hand its limits are known before anything is signed.
func TestRefusedAsPeersRefuse(t *testing.T) {
	t.Parallel()
	now := time.Now()
	_, ten, _ := net.ParseCIDR("10.0.0.0/8")
	good := ca(t, "Good", nil, nil)
	for name, tc := range map[string]struct {
		ca      *testpki.CA
		bend    func(*x509.Certificate)
		request func(*renewer.Request)
		refused string
		late    bool // only known once it is signed
	}{
		"good":                          {ca: good},
		"an unknown critical extension": {ca: good, bend: func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknownCritical} }, refused: "critical extension 1.2.3", late: true},
		"a CA for clients": {
			ca:      ca(t, "Clients", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			refused: "the CA CN=Clients may sign for client only, not for server",
		},
		"a CA for clients, asked for one": {
			ca:      ca(t, "Clients", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			request: func(r *renewer.Request) { r.Usages = []renewer.Usage{"client"} },
		},
		"a CA for clients, asked for both": {
			ca:      ca(t, "Clients", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			request: func(r *renewer.Request) { r.Usages = []renewer.Usage{"client", "server"} }, refused: "not for server",
		},
		"a CA for any usage": {
			ca:      ca(t, "Any", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }),
			refused: "the CA CN=Any may sign for any (anyExtendedKeyUsage, which OpenSSL ignores) only, not for server",
		},
		"below an intermediate for any usage": {
			ca:      ca(t, "Any", good, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }),
			refused: "the CA CN=Any may sign for any",
		},
		"a CA for any usage and for servers": {
			ca: ca(t, "Any", nil, func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny, x509.ExtKeyUsageServerAuth}
			}),
		},
		"Netscape's type for clients": {ca: good, bend: netscape(0x80), refused: "its nsCertType does not include server", late: true},
		"Netscape's type for servers": {ca: good, bend: netscape(0x40)},
		"Netscape's type for servers, asked for both": {
			ca: good, bend: netscape(0x40), request: func(r *renewer.Request) { r.Usages = []renewer.Usage{"client", "server"} },
			refused: "its nsCertType does not include client", late: true,
		},
		"a CA with a usage of its own": {
			ca:      ca(t, "Own", nil, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 9, 9}} }),
			refused: "may sign for 1.3.9.9 only",
		},
		"below a root for clients": {
			ca:      ca(t, "Sub", ca(t, "Clients", nil, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), nil),
			refused: "the CA CN=Clients may sign for client only",
		},
		"names that the CA does not permit": {
			ca: ca(t, "Names", nil, func(c *x509.Certificate) {
				c.PermittedDNSDomains = []string{"other.example"}
				c.PermittedDNSDomainsCritical = true
			}),
			refused: "not authorized to sign for this name",
		},
		"names that the CA excludes": {
			ca:      ca(t, "Names", nil, func(c *x509.Certificate) { c.ExcludedDNSDomains = []string{"example"} }),
			refused: "not authorized to sign for this name",
		},
		"an address that the CA does not permit": {
			ca:      ca(t, "Names", nil, func(c *x509.Certificate) { c.PermittedIPRanges = []*net.IPNet{ten} }),
			request: func(r *renewer.Request) { r.SANs = []string{"192.0.2.1"} }, refused: "not authorized to sign for this name",
		},
		"a common name that is taken for a DNS name": {
			ca: ca(t, "Names", nil, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"other.example"} }),
			request: func(r *renewer.Request) {
				r.CommonName, r.SANs = "dagster.corp", nil
				r.Usages = []renewer.Usage{"client"}
			},
			refused: "does not permit the common name dagster.corp",
		},
		"a common name without a dot": {
			ca:      ca(t, "Names", nil, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"other.example"} }),
			request: func(r *renewer.Request) { r.CommonName, r.SANs = "dagster", nil; r.Usages = []renewer.Usage{"client"} },
		},
		"a common name within the limits": {
			ca: ca(t, "Names", nil, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example"} }),
			request: func(r *renewer.Request) {
				r.CommonName, r.SANs = "dagster.Example", nil
				r.Usages = []renewer.Usage{"client"}
			},
		},
		"more CAs than the root permits": {
			ca:      ca(t, "Sub", ca(t, "Root", nil, func(c *x509.Certificate) { c.MaxPathLenZero = true }), nil),
			refused: "too many intermediates",
		},
		"a CA with an unknown critical extension": {
			ca: ca(t, "Odd", nil, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{unknownCritical} }), refused: "unhandled critical extension",
		},
		"a CA that is not valid yet": {
			ca: ca(t, "Future", nil, func(c *x509.Certificate) { c.NotBefore = now.Add(48 * time.Hour) }), refused: "CN=Future is valid from", late: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := renewer.Request{Issuer: "corp", CommonName: "h.example", SANs: []string{"h.example"}, Usages: []renewer.Usage{"server"}, Lifetime: 24 * time.Hour}
			if tc.request != nil {
				tc.request(&r)
			}
			key := testpki.Key(t)
			leaf := &x509.Certificate{
				Subject: pkix.Name{CommonName: r.CommonName}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			}
			leaf.DNSNames, leaf.IPAddresses = renewer.SplitSANs(r.SANs)
			for _, u := range r.Usages {
				leaf.ExtKeyUsage = append(leaf.ExtKeyUsage, map[renewer.Usage]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth}[u])
			}
			if tc.bend != nil {
				tc.bend(leaf)
			}
			o := renewer.Order{Certificate: "h", Request: r, Key: key}
			chain := renewer.Chain{Leaf: signed(t, leaf, tc.ca, key.Public()), Intermediates: tc.ca.Chain}
			opensslSays(t, chain, tc.ca.Root, r.Usages, tc.refused)
			for _, by := range []*x509.Certificate{nil, tc.ca.Cert} { // what this process signed itself is no exception
				chain.SignedBy = by
				says(t, func() error {
					_, err := pki.CheckIssued(o, false, chain, []*x509.Certificate{tc.ca.Root}, now)
					return err
				}(), tc.refused)
			}
			path := append(slices.Clone(tc.ca.Chain), tc.ca.Root)
			trial, err := pki.NewTrial(path, now)
			if err != nil {
				t.Fatal(err)
			}
			if !tc.late {
				says(t, trial.Refuses(r), tc.refused)
			}
		})
	}
}

// netscape adds nsCertType: bit 0 is for clients, bit 1 for servers.
func netscape(bits byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 1, 1}, Value: []byte{3, 2, 6, bits}}}
	}
}

// opensslSays asks openssl where the purpose is what is refused.
func opensslSays(t *testing.T, chain renewer.Chain, root *x509.Certificate, usages []renewer.Usage, refused string) {
	t.Helper()
	if refused != "" && !strings.Contains(refused, "any") && !strings.Contains(refused, "nsCertType") {
		return
	}
	dir := t.TempDir()
	testpki.WriteFile(t, filepath.Join(dir, "root"), pki.PEM(root), 0o600)
	testpki.WriteFile(t, filepath.Join(dir, "chain"), pki.PEM(append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...)...), 0o600)
	accepted := true
	for _, u := range usages {
		out, err := exec.Command("openssl", "verify", "-purpose", "ssl"+string(u), "-CAfile", filepath.Join(dir, "root"), "-untrusted", filepath.Join(dir, "chain"), filepath.Join(dir, "chain")).CombinedOutput()
		if err != nil {
			t.Logf("%s", out)
			accepted = false
		}
	}
	if accepted != (refused == "") {
		t.Errorf("openssl accepts it: %v", accepted)
	}
}

// What strict peers refuse below a root is a warning once, and refused under strict.
func TestStrictFaultsBelowARoot(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root := ca(t, "Root", nil, nil)
	key := testpki.Key(t)
	for name, tc := range map[string]struct {
		by   *testpki.CA
		want string
	}{
		"good":                             {ca(t, "Sub", root, nil), ""},
		"an intermediate without keyUsage": {ca(t, "Sub", root, func(c *x509.Certificate) { c.KeyUsage = 0 }), "of the intermediate CN=Sub, signed by CN=Root, it has no keyUsage"},
		"an intermediate without the key identifier": {ca(t, "Sub", mute(root), nil), "of the intermediate CN=Sub, signed by CN=Root, it has no authority key identifier"},
		"a leaf without the key identifier":          {mute(root), "of the certificate, signed by CN=Root, it has no authority key identifier"},
	} {
		o := renewer.Order{Certificate: "h", Key: key, Request: renewer.Request{Issuer: "corp", CommonName: "h", SANs: []string{"h"}, Usages: []renewer.Usage{"server"}, Lifetime: time.Hour}}
		chain := renewer.Chain{Intermediates: tc.by.Chain, Leaf: signed(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: "h"}, DNSNames: []string{"h"}, ExtKeyUsage: testpki.ServerUsage, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		}, tc.by, key.Public())}
		if got := strings.Join(pki.ChainFaults(chain), "; "); got != tc.want {
			t.Errorf("%s: got %q", name, got)
		}
		if got := pki.StrictWarnings(chain, nil); (len(got) > 0) != (tc.want != "") {
			t.Errorf("%s: warnings %q", name, got)
		}
		g := renewer.NewGeneration("h", 1, o.Request, chain, renewer.Renewal{}, now)
		if got := pki.StrictWarnings(chain, &g); len(got) > 0 {
			t.Errorf("%s: the next one says it again: %q", name, got)
		}
		_, err := pki.CheckIssued(o, false, chain, []*x509.Certificate{root.Root}, now)
		says(t, err, "")
		_, err = pki.CheckIssued(o, true, chain, []*x509.Certificate{root.Root}, now)
		says(t, err, tc.want)
	}
}

// mute is a CA that leaves out its key identifier in what it signs.
func mute(by *testpki.CA) *testpki.CA {
	c := *by.Cert
	c.SubjectKeyId = nil
	return &testpki.CA{Cert: &c, Key: by.Key, Root: by.Root, Chain: by.Chain}
}

func says(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// More than was asked for is a warning, and refused under strict; a chain that no
// peer reads is refused.
func TestCheckIssuedBounds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root := ca(t, "Root", nil, func(c *x509.Certificate) { c.NotAfter = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC) })
	key := testpki.Key(t)
	var many []*x509.Certificate
	for range 3000 {
		many = append(many, root.Cert)
	}
	for name, tc := range map[string]struct {
		notBefore, notAfter time.Time
		above               []*x509.Certificate
		warned, refused     string
	}{
		"as asked":            {now, now.Add(24 * time.Hour), nil, "", ""},
		"an hour more":        {now, now.Add(25 * time.Hour), nil, "is valid for longer than requested: 25h0m0s instead of 24h0m0s", ""},
		"fifty years":         {now, now.AddDate(50, 0, 0), nil, "is valid for longer than requested: 182", ""},
		"until 8990":          {now, time.Date(8990, 1, 1, 0, 0, 0, 0, time.UTC), nil, "is valid for longer than requested", ""},
		"since an hour":       {now.Add(-time.Hour), now.Add(24 * time.Hour), nil, "", ""},
		"since 1970":          {time.Unix(0, 0), now.Add(24 * time.Hour), nil, "is backdated to 1970-01-01", ""},
		"3,000 intermediates": {now, now.Add(24 * time.Hour), many, "", "a chain of 3001 certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaf := &x509.Certificate{DNSNames: []string{"h"}, ExtKeyUsage: testpki.ServerUsage, NotBefore: tc.notBefore, NotAfter: tc.notAfter}
			o := renewer.Order{Certificate: "h", Key: key, Request: renewer.Request{Issuer: "corp", SANs: []string{"h"}, Usages: []renewer.Usage{"server"}, Lifetime: 24 * time.Hour}}
			chain := renewer.Chain{Leaf: signed(t, leaf, root, key.Public()), Intermediates: tc.above}
			_, err := pki.CheckIssued(o, false, chain, []*x509.Certificate{root.Root}, now)
			says(t, err, tc.refused)
			if tc.refused != "" {
				return
			}
			_, err = pki.CheckIssued(o, true, chain, []*x509.Certificate{root.Root}, now)
			says(t, err, tc.warned)
			g := renewer.NewGeneration("h", 1, o.Request, chain, renewer.Renewal{}, now)
			if said := strings.Join(g.Warnings(nil), "; "); (said == "") != (tc.warned == "") || !strings.Contains(said, tc.warned) {
				t.Errorf("warnings %q", said)
			}
			if said := g.Warnings(&g); len(said) > 0 {
				t.Errorf("the next one says it again: %q", said)
			}
		})
	}
}

// openssl itself is asked what its strict flag refuses.
func TestStrictFaultsAreThoseOfOpenSSL(t *testing.T) {
	t.Parallel()
	bare := func(omit ...asn1.ObjectIdentifier) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, id := range omit {
				switch id.String() {
				case "2.5.29.15":
					c.KeyUsage = 0
				case "2.5.29.19": // present, and not critical
					c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: []byte{0x30, 3, 1, 1, 0xff}})
				case "2.5.4.3":
					c.Subject = pkix.Name{}
				}
			}
		}
	}
	anyUsage := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }
	cases := map[string]struct {
		bend func(*x509.Certificate)
		want string
	}{
		"good":                          {nil, ""},
		"no keyUsage":                   {bare(asn1.ObjectIdentifier{2, 5, 29, 15}), "it has no keyUsage"},
		"basicConstraints not critical": {bare(asn1.ObjectIdentifier{2, 5, 29, 19}), "its basicConstraints are not critical"},
		"for any usage":                 {anyUsage, "its extendedKeyUsage is any, which OpenSSL accepts neither for servers nor for clients"},
		"no subject":                    {bare(asn1.ObjectIdentifier{2, 5, 4, 3}), "its subject is empty"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := ca(t, "Root", nil, tc.bend)
			compareStrict(t, root, tc.want)
		})
	}
	t.Run("no subject key identifier", func(t *testing.T) { // crypto/x509 always writes one
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "ca.pem")
		out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", filepath.Join(dir, "key"), "-out", file,
			"-subj", "/CN=x", "-days", "2", "-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none", "-addext", "keyUsage=critical,keyCertSign").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := os.ReadFile(file)
		must(t, err)
		certs, err := pki.DecodeCertificates(text)
		must(t, err)
		text, err = os.ReadFile(filepath.Join(dir, "key"))
		must(t, err)
		key, err := pki.DecodeKey(text)
		must(t, err)
		compareStrict(t, &testpki.CA{Cert: certs[0], Key: key}, "it has no subject key identifier")
	})
}

func compareStrict(t *testing.T, ca *testpki.CA, want string) {
	t.Helper()
	if got := strings.Join(pki.StrictFaults(ca.Cert), "; "); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	dir := t.TempDir()
	file, leaf := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	must(t, os.WriteFile(file, pki.PEM(ca.Cert), 0o600))
	key := testpki.Key(t)
	must(t, os.WriteFile(leaf, pki.PEM(signed(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "h"}, DNSNames: []string{"h"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), AuthorityKeyId: []byte{1},
	}, ca, key.Public())), 0o600))
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", file, leaf).CombinedOutput()
	if (err == nil) != (want == "") {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

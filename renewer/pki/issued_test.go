package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// The one who signed: what came back is compared with what was asked, and a leaf
// that fails is refused for good, with the reason.
func TestCheckIssued(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const life = 20 * time.Hour
	year := now.AddDate(1, 0, 0)
	root := testpki.NewWith(t, testpki.Options{CommonName: "Root", NotAfter: year})
	sub := root.Intermediate(t, testpki.Options{CommonName: "Sub", NotAfter: year})
	short := root.Intermediate(t, testpki.Options{CommonName: "Short", NotAfter: now.Add(3 * time.Hour)})
	brief := root.Intermediate(t, testpki.Options{CommonName: "Brief", NotAfter: now.Add(time.Hour)})
	key := testpki.Key(t)
	uri, err := url.Parse("spiffe://corp/web")
	if err != nil {
		t.Fatal(err)
	}
	base := func() *x509.Certificate {
		return &x509.Certificate{
			DNSNames: []string{"web"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
			NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life), BasicConstraintsValid: true,
		}
	}
	for name, tc := range map[string]struct {
		bend    func(c *x509.Certificate)
		by      *testpki.CA
		above   []*x509.Certificate
		cn      string
		strict  bool
		refused string // part of the error; empty: it is taken
		warned  string // part of the warnings; empty: there are none
		class   renewer.Class
		short   bool
	}{
		"as asked":                  {},
		"as asked, strict":          {strict: true},
		"through an intermediate":   {by: sub, above: []*x509.Certificate{sub.Cert}},
		"without its intermediate":  {by: sub, refused: "chains to CN=Sub, which is not a root of the issuer"},
		"a chain in disorder":       {by: sub, above: []*x509.Certificate{root.Root, sub.Cert}, refused: "has an invalid chain"},
		"outlives its intermediate": {by: short, above: []*x509.Certificate{short.Cert}, warned: "after its CA, which expires at"},
		"outlives it, strict":       {by: short, above: []*x509.Certificate{short.Cert}, strict: true, refused: "after its CA CN=Short"},
		"outlives it by far":        {by: brief, above: []*x509.Certificate{brief.Cert}, refused: "expires with its CA CN=Brief at", short: true},
		"a CA":                      {bend: func(c *x509.Certificate) { c.IsCA = true }, refused: "is a CA"},
		"may sign certificates": {
			bend: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign; c.IsCA = true }, refused: "is a CA",
		},
		"cannot sign a handshake": {bend: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, refused: "digitalSignature"},
		"no key usage at all":     {bend: func(c *x509.Certificate) { c.KeyUsage = 0 }},
		"a name is missing":       {bend: func(c *x509.Certificate) { c.DNSNames = nil }, refused: "lacks the SANs web"},
		"a usage is missing":      {bend: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, refused: "lacks the usages server"},
		"a URI is added":          {bend: func(c *x509.Certificate) { c.URIs = []*url.URL{uri} }, warned: "added the SANs spiffe://corp/web"},
		"a URI, strict":           {bend: func(c *x509.Certificate) { c.URIs = []*url.URL{uri} }, strict: true, refused: "SANs spiffe://corp/web, which was not requested"},
		"a mail address":          {bend: func(c *x509.Certificate) { c.EmailAddresses = []string{"root@corp"} }, warned: "added the SANs root@corp"},
		"a mail address, strict":  {bend: func(c *x509.Certificate) { c.EmailAddresses = []string{"root@corp"} }, strict: true, refused: "root@corp"},
		"clientAuth is added": {
			bend: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }, warned: "added the usages client",
		},
		"codeSigning, strict": {
			bend: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }, strict: true, refused: "usages codeSigning",
		},
		"a usage of its own, strict": {
			bend: func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, []int{1, 3, 9, 9}) }, strict: true, refused: "usages 1.3.9.9",
		},
		"another subject":         {cn: "somebody", warned: `the common name "somebody" instead of "web"`},
		"another subject, strict": {cn: "somebody", strict: true, refused: `"somebody"`},
		"half of the lifetime": {
			bend: func(c *x509.Certificate) { c.NotAfter = now.Add(life / 2) }, warned: "shortened the lifetime from 20h0m0s to ", strict: true,
		},
		"less than a tenth": {bend: func(c *x509.Certificate) { c.NotAfter = now.Add(life/10 - time.Minute) }, refused: "less than a tenth", short: true},
		"not valid yet":     {bend: func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }, refused: "compare", class: renewer.ClassRetry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := base()
			if tc.bend != nil {
				tc.bend(c)
			}
			c.Subject.CommonName = "web"
			if tc.cn != "" {
				c.Subject.CommonName = tc.cn
			}
			by := tc.by
			if by == nil {
				by = root
			}
			o := renewer.Order{Certificate: "web", Key: key, Request: renewer.Request{
				Issuer: "corp", CommonName: "web", SANs: []string{"web"}, Usages: []renewer.Usage{renewer.UsageServer}, Lifetime: life,
			}}
			chain := renewer.Chain{Leaf: signed(t, c, by, key.Public()), Intermediates: tc.above}
			_, err := pki.CheckIssued(o, tc.strict, chain, []*x509.Certificate{root.Root}, now)
			var warnings []string
			if err == nil {
				g := renewer.NewGeneration(o.Certificate, 1, o.Request, chain, renewer.Renewal{}, now)
				g.EndBy(pki.End(chain, []*x509.Certificate{root.Root}))
				warnings = g.Warnings(nil)
				if again := g.Warnings(&g); len(again) > 0 {
					t.Errorf("the next one says it again: %q", again)
				}
				for _, ca := range append(tc.above, root.Root) {
					if g.NotAfter.After(ca.NotAfter) || !g.RenewAt.Before(g.NotAfter) {
						t.Errorf("it ends at %s, after %s, and is renewed at %s", g.NotAfter, ca.Subject, g.RenewAt)
					}
				}
			}
			if tc.refused == "" {
				if said := strings.Join(warnings, "; "); err != nil || tc.warned == "" && said != "" || !strings.Contains(said, tc.warned) {
					t.Errorf("warnings %q, %v", warnings, err)
				}
				return
			}
			class := tc.class
			if class == "" {
				class = renewer.ClassRefused
			}
			if renewer.ClassOf(err) != class || renewer.Hint(err) == "" || !strings.Contains(err.Error()+renewer.Hint(err), tc.refused) {
				t.Errorf("got %v (%s, hint %q)", err, renewer.ClassOf(err), renewer.Hint(err))
			}
			if errors.Is(err, renewer.ErrUnusable) != (class == renewer.ClassRefused) || errors.Is(err, renewer.ErrTooShort) != tc.short {
				t.Errorf("unusable %v, too short %v", errors.Is(err, renewer.ErrUnusable), errors.Is(err, renewer.ErrTooShort))
			}
			// Never pushed, the one who had it signed for another key.
			o.Key = testpki.Key(t)
			if _, err := pki.CheckIssued(o, false, chain, []*x509.Certificate{root.Root}, now); err == nil || !strings.Contains(err.Error(), "another key") {
				t.Errorf("another key: %v", err)
			}
		})
	}
}

// An old root and its successor of the same name and key: one that lasts is
// enough.
func TestCheckIssuedBelowARenewedRoot(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key := testpki.Key(t)
	root := func(end time.Time) *x509.Certificate {
		c := &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		c.Subject.CommonName = "Root"
		return signed(t, c, &testpki.CA{Cert: c, Key: key}, key.Public())
	}
	old, successor := root(now.Add(2*time.Hour)), root(now.Add(1000*time.Hour))
	leaf := &x509.Certificate{DNSNames: []string{"web"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(10 * time.Hour)}
	o := renewer.Order{Certificate: "web", Key: key, Request: renewer.Request{Issuer: "corp", SANs: []string{"web"}, Lifetime: 10 * time.Hour}}
	chain := renewer.Chain{Leaf: signed(t, leaf, &testpki.CA{Cert: successor, Key: key}, key.Public())}
	for _, roots := range [][]*x509.Certificate{{old, successor}, {successor, old}} {
		if _, err := pki.CheckIssued(o, false, chain, roots, now); err != nil {
			t.Error(err)
		}
	}
	if _, err := pki.CheckIssued(o, true, chain, []*x509.Certificate{old}, now); err == nil || !strings.Contains(err.Error(), "after its CA") {
		t.Errorf("got %v", err)
	}
	if end := pki.End(chain, []*x509.Certificate{old, successor}); !end.Equal(chain.Leaf.NotAfter) {
		t.Errorf("under both it ends at %s", end)
	}
}

// A signature that the signer says it verified is not verified again, and that
// is believed only of the CA that it names, of the leaf, and of what may sign.
func TestCheckIssuedVerifiesASignatureOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	root, other := testpki.New(t), testpki.New(t)
	sub := root.Intermediate(t, testpki.Options{CommonName: "Sub"})
	key := testpki.Key(t)
	o := renewer.Order{Certificate: "web", Key: key, Request: renewer.Request{Issuer: "corp", SANs: []string{"web"}, Lifetime: time.Hour}}
	leaf := func(by *testpki.CA) *x509.Certificate {
		return signed(t, &x509.Certificate{DNSNames: []string{"web"}, NotBefore: now, NotAfter: now.Add(time.Hour)}, by, key.Public())
	}
	forged := leaf(root)
	forged.Signature = []byte("no signature")
	mute := *root.Root
	mute.KeyUsage = x509.KeyUsageCRLSign
	weak := *forged
	weak.SignatureAlgorithm = x509.ECDSAWithSHA1
	for what, tc := range map[string]struct {
		chain renewer.Chain
		root  *x509.Certificate
		taken bool
	}{
		"verified by its signer":           {renewer.Chain{Leaf: forged, SignedBy: root.Root}, root.Root, true},
		"verified by no one":               {renewer.Chain{Leaf: forged}, root.Root, false},
		"verified against another":         {renewer.Chain{Leaf: forged, SignedBy: other.Root}, root.Root, false},
		"signed by what signs no leaves":   {renewer.Chain{Leaf: forged, SignedBy: &mute}, &mute, false},
		"signed with SHA-1":                {renewer.Chain{Leaf: &weak, SignedBy: root.Root}, root.Root, false},
		"by an intermediate":               {renewer.Chain{Leaf: leaf(sub), Intermediates: []*x509.Certificate{sub.Cert}, SignedBy: sub.Cert}, root.Root, true},
		"by an intermediate of another CA": {renewer.Chain{Leaf: leaf(sub), Intermediates: []*x509.Certificate{sub.Cert}, SignedBy: sub.Cert}, other.Root, false},
	} {
		_, err := pki.CheckIssued(o, false, tc.chain, []*x509.Certificate{tc.root}, now)
		if (err == nil) != tc.taken {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func signed(t *testing.T, c *x509.Certificate, by *testpki.CA, pub any) *x509.Certificate {
	t.Helper()
	c.SerialNumber = big.NewInt(42)
	der, err := x509.CreateCertificate(rand.Reader, c, by.Cert, pub, by.Key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

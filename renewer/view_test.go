package renewer

import (
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"
)

func TestChainEntryNamesEachSANOnce(t *testing.T) {
	t.Parallel()
	e := NewChainEntry(&x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"a.example.com"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)},
		EmailAddresses: []string{"ops@example.com"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "fleet", Path: "/a"}},
	})
	if want := []string{"a.example.com", "10.0.0.1", "spiffe://fleet/a", "ops@example.com"}; !slices.Equal(e.SANs, want) {
		t.Errorf("%q, want %q", e.SANs, want)
	}
}

// The entry asks another issuer by now; what is in place is of the one before.
func TestRowShowsTheIssuerThatSigned(t *testing.T) {
	t.Parallel()
	c := entry("web", "a")
	gen := generation(c, 1, t0)
	rec := inPlace(c, 1)
	c.Issuer = "other"
	if row := NewRow(c, rec, gen); row.Issuer != "ca" || !(ListFilter{Issuer: "ca"}).Matches(row) || (ListFilter{Issuer: "other"}).Matches(row) {
		t.Errorf("issuer %q", row.Issuer)
	}
	for name, row := range map[string]Row{"nothing issued": NewRow(c, Record{Name: "web"}, nil), "no issuer noted": NewRow(c, rec, &Generation{Fingerprint: "9f"})} {
		if row.Issuer != "other" {
			t.Errorf("%s: issuer %q, want that of the entry", name, row.Issuer)
		}
	}
}

func TestDetailSaysWhenEachGenerationWasIssued(t *testing.T) {
	t.Parallel()
	c := entry("web", "a")
	rec := inPlace(c, 2)
	gens := []Generation{*generation(c, 2, t0.Add(time.Hour)), *generation(c, 1, t0)}
	d, err := NewDetail(c, rec, nil, gens, nil, t0.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range d.Generations {
		if g.Number != gens[i].Number || !g.IssuedAt.Equal(gens[i].IssuedAt) || g.Current != (i == 0) {
			t.Errorf("%+v", g)
		}
	}
}

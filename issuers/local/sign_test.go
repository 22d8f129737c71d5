package local

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"renewer/internal/testpki"
	"renewer/renewer"
)

func testConfig(t testing.TB) Config {
	dir := filepath.Join(t.TempDir(), "fleet-ca")
	return Config{Name: "fleet-ca", CertFile: filepath.Join(dir, "ca.pem"), KeyFile: filepath.Join(dir, "ca-key.pem")}
}

func testAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := Create(testConfig(t), CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// imported takes over a CA that testpki or openssl made.
func imported(t testing.TB, ca *testpki.CA) *Authority {
	t.Helper()
	dir := t.TempDir()
	testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), testpki.PEM(append([]*x509.Certificate{ca.Cert, ca.Root}, ca.Chain...)...), 0o644)
	testpki.WriteFile(t, filepath.Join(dir, "key.pem"), testpki.KeyPEM(t, ca.Key), 0o600)
	a, err := Open(Config{Name: "fleet-ca", CertFile: filepath.Join(dir, "ca.pem"), KeyFile: filepath.Join(dir, "key.pem")})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func testOrder(key crypto.Signer, life time.Duration) renewer.Order {
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		CommonName: "host-b", SANs: []string{"10.0.1.2", "host-b"}, Usages: []renewer.Usage{renewer.UsageServer}, Lifetime: life,
	}}
}

func TestCreatedCA(t *testing.T) {
	t.Parallel()
	a := testAuthority(t)
	c := a.root
	if c.Subject.String() != "CN=renewer fleet-ca CA" || !c.IsCA || !c.MaxPathLenZero || c.MaxPathLen != 0 ||
		c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(c.ExtKeyUsage) != 0 || len(c.SubjectKeyId) == 0 {
		t.Errorf("%+v", c)
	}
	if want := time.Now().AddDate(10, 0, 0); c.NotAfter.Sub(want).Abs() > time.Minute {
		t.Errorf("ends at %s, want %s", c.NotAfter, want)
	}
	info := a.Info()
	if info.Key != "ecdsa-p256" || info.PathLen != 0 || !info.CanSignCRL || info.Encrypted || info.Fingerprint != renewer.Fingerprint(c.Raw) {
		t.Errorf("%+v", info)
	}
}

func TestLeafIsExactlyWhatWasAsked(t *testing.T) {
	t.Parallel()
	a := testAuthority(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for usage, key := range map[x509.KeyUsage]crypto.Signer{
		x509.KeyUsageDigitalSignature:                                testpki.Key(t),
		x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment: rsaKey,
	} {
		chain, err := a.Sign(t.Context(), testOrder(key, time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		leaf := chain.Leaf
		var ids []string
		for _, e := range leaf.Extensions {
			ids = append(ids, e.Id.String())
		}
		slices.Sort(ids)
		// SKI, keyUsage, SAN, basicConstraints, AKI, extKeyUsage: RFC 5280, 4.2.1
		if got := strings.Join(ids, " "); got != "2.5.29.14 2.5.29.15 2.5.29.17 2.5.29.19 2.5.29.35 2.5.29.37" {
			t.Errorf("extensions %s", got)
		}
		if leaf.KeyUsage != usage {
			t.Errorf("key usage %b, want %b", leaf.KeyUsage, usage)
		}
		if string(leaf.AuthorityKeyId) != string(a.root.SubjectKeyId) || len(leaf.SubjectKeyId) != 20 {
			t.Errorf("SKI %x, AKI %x", leaf.SubjectKeyId, leaf.AuthorityKeyId)
		}
		if n := len(leaf.SerialNumber.Bytes()); n != 20 || leaf.SerialNumber.Sign() <= 0 {
			t.Errorf("serial of %d octets", n)
		}
		if chain.Intermediates != nil {
			t.Error("the root is in the chain")
		}
	}
}

func TestSubjectMayBeEmpty(t *testing.T) {
	t.Parallel()
	a := testAuthority(t)
	o := testOrder(testpki.Key(t), time.Hour)
	o.CommonName = ""
	chain, err := a.Sign(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range chain.Leaf.Extensions {
		if e.Id.String() == "2.5.29.17" && !e.Critical {
			t.Error("the SAN of a certificate without a subject is not critical")
		}
	}
}

// Whatever the clock and the lifetime: a leaf begins a minute ago but not
// before its CA, expires exactly after the lifetime, or is refused because the CA
// expires first.
func TestDates(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	end := begin.Add(1000 * time.Hour)
	a := imported(t, testpki.NewWith(t, testpki.Options{CommonName: "Root", NotBefore: begin, NotAfter: end}))
	key := testpki.Key(t)
	rapid.Check(t, func(t *rapid.T) {
		now := begin.Add(time.Duration(rapid.Int64Range(-int64(2*time.Minute), int64(1001*time.Hour)).Draw(t, "now")))
		life := time.Duration(rapid.Int64Range(int64(time.Second), int64(1100*time.Hour)).Draw(t, "lifetime"))
		at := *a
		at.clock = func() time.Time { return now }
		chain, err := at.Sign(t.Context(), testOrder(key, life))
		second := now.Truncate(time.Second)
		switch {
		case second.Before(begin), second.After(end):
			if renewer.ClassOf(err) != renewer.ClassMisconfigured || renewer.Hint(err) == "" {
				t.Fatalf("outside the CA's dates: %v", err)
			}
		case second.Add(life).After(end):
			if renewer.ClassOf(err) != renewer.ClassRefused || !strings.Contains(err.Error(), date(second.Add(life))) || !strings.Contains(err.Error(), date(end)) {
				t.Fatalf("past the CA's end: %v", err)
			}
		case err != nil:
			t.Fatal(err)
		default:
			wantBegin := second.Add(-time.Minute)
			if wantBegin.Before(begin) {
				wantBegin = begin
			}
			if wantEnd := second.Add(life).Truncate(time.Second); !chain.Leaf.NotBefore.Equal(wantBegin) || !chain.Leaf.NotAfter.Equal(wantEnd) {
				t.Fatalf("valid %s to %s, want %s to %s", chain.Leaf.NotBefore, chain.Leaf.NotAfter, wantBegin, wantEnd)
			}
		}
	})
}

func TestHealthFollowsTheClock(t *testing.T) {
	t.Parallel()
	a := testAuthority(t)
	if err := a.Health(t.Context()); err != nil {
		t.Error(err)
	}
	a.clock = func() time.Time { return a.root.NotAfter.Add(time.Second) }
	if err := a.Health(t.Context()); err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("after the CA's end: %v", err)
	}
	if _, err := a.Roots(t.Context()); err != nil {
		t.Errorf("the root of an expired CA can still be compared: %v", err)
	}
}

// A CA that may sign some names or usages only: what peers would refuse is
// refused here.
func TestConstrainedCA(t *testing.T) {
	t.Parallel()
	key := testpki.Key(t)
	tmpl := &x509.Certificate{
		SerialNumber: serial(), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"example.com"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	tmpl.Subject.CommonName = "Constrained"
	root := testpki.New(t)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, root.Cert, key.Public(), root.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := imported(t, &testpki.CA{Cert: cert, Key: key, Root: root.Cert, Chain: []*x509.Certificate{cert}})

	sign := func(usage renewer.Usage, sans ...string) error {
		o := testOrder(testpki.Key(t), time.Hour)
		o.SANs, o.Usages = sans, []renewer.Usage{usage}
		_, err := a.Sign(t.Context(), o)
		return err
	}
	if err := sign(renewer.UsageServer, "host-b.example.com"); err != nil {
		t.Errorf("what is permitted: %v", err)
	}
	if err := sign(renewer.UsageServer, "host-b.example.net"); renewer.ClassOf(err) != renewer.ClassRefused || !strings.Contains(err.Error(), "constraint") {
		t.Errorf("another name: %v", err)
	}
	if err := sign(renewer.UsageClient, "host-b.example.com"); renewer.ClassOf(err) != renewer.ClassRefused {
		t.Errorf("another usage: %v", err)
	}
}

// A CA without a key identifier: the leaf's authority key identifier is what
// the CA's would have been.
func TestCAWithoutKeyIdentifier(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	bare := *ca.Cert
	bare.SubjectKeyId = nil
	id, err := keyIdentifier(&bare)
	if err != nil || len(id) != 20 {
		t.Fatalf("%x, %v", id, err)
	}
	if own, err := keyIdentifier(ca.Cert); err != nil || string(own) != string(ca.Cert.SubjectKeyId) {
		t.Errorf("%x, %v", own, err)
	}
}

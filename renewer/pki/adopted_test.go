package pki_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// What is adopted and outlives its CA expires with it, and that is said.
func TestAdoptedExpiresWithItsCA(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca := testpki.NewWith(t, testpki.Options{CommonName: "Ending", NotAfter: now.Add(time.Hour)})
	pair := ca.Leaf(t, testpki.Options{CommonName: "web", SANs: []string{"web"}, NotAfter: now.Add(10 * time.Hour)})
	c := renewer.Certificate{Name: "web", Issuer: "corp", CommonName: "web", SANs: []string{"web"}, Usages: renewer.UsagesOf(pair.Cert)}
	files := map[renewer.FileKind][]byte{renewer.FileCert: pair.CertPEM, renewer.FileKey: pair.KeyPEM}
	g, warnings, err := pki.Adopted(c, files, []*x509.Certificate{ca.Root}, now)
	must(t, err)
	if !g.NotAfter.Equal(ca.Cert.NotAfter) || !g.RenewAt.Before(g.NotAfter) || !strings.Contains(strings.Join(warnings, "; "), "it expires with its CA CN=Ending at") {
		t.Errorf("expires at %s, renewed at %s; %q", g.NotAfter, g.RenewAt, warnings)
	}
	if _, _, err := pki.Adopted(c, files, []*x509.Certificate{ca.Root}, now.Add(2*time.Hour)); err == nil || renewer.Hint(err) == "" {
		t.Errorf("under an expired CA: %v", err)
	}
}

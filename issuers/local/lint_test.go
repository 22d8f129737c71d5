package local

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"renewer/renewer"
)

// publicPKI are the sources about certificates that browsers trust; all
// others, the RFCs and the community's, apply to a fleet's own CA too.
// publicNames is the one lint of the community about names in the public DNS.
var publicPKI = lint.SourceList{
	lint.CABFBaselineRequirements, lint.CABFCSBaselineRequirements, lint.CABFSMIMEBaselineRequirements, lint.CABFEVGuidelines,
	lint.MozillaRootStorePolicy, lint.AppleRootStorePolicy, lint.EtsiEsi,
	lint.RFC6962, // Certificate Transparency
}

var publicNames = []string{"n_san_iana_pub_suffix_empty"}

func TestLint(t *testing.T) {
	t.Parallel()
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{ExcludeSources: publicPKI, ExcludeNames: publicNames})
	if err != nil {
		t.Fatal(err)
	}
	a := testAuthority(t)
	lintCertificate(t, registry, "CA", a.root)
	root, err := Create(testConfig(t), CreateOptions{PathLen: 1})
	if err != nil {
		t.Fatal(err)
	}
	below, err := Create(testConfig(t), CreateOptions{Parent: root})
	if err != nil {
		t.Fatal(err)
	}
	lintCertificate(t, registry, "root", root.root)
	lintCertificate(t, registry, "intermediate", below.chain[0])

	keys := map[string]crypto.Signer{}
	keys["rsa"], _ = rsa.GenerateKey(rand.Reader, 2048)
	keys["p256"], _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	keys["p384"], _ = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, keys["ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	for name, key := range keys {
		for _, req := range []renewer.Request{
			{CommonName: "host-b", SANs: []string{"10.0.1.2", "fd00::2", "127.0.0.1", "host-b", "host-b.example.com"}, Usages: []renewer.Usage{renewer.UsageServer}},
			{CommonName: "dagster-client", Usages: []renewer.Usage{renewer.UsageClient}},
			{SANs: []string{"peer.example.com"}, Usages: []renewer.Usage{renewer.UsageServer, renewer.UsageClient}},
		} {
			req.Lifetime = 90 * 24 * time.Hour
			chain, err := a.Sign(t.Context(), renewer.Order{Certificate: "docker", Request: req, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			lintCertificate(t, registry, name+" "+req.CommonName, chain.Leaf)
		}
	}
}

func lintCertificate(t *testing.T, registry lint.Registry, name string, c *x509.Certificate) {
	t.Helper()
	parsed, err := zx509.ParseCertificate(c.Raw)
	if err != nil {
		t.Fatal(err)
	}
	results := zlint.LintCertificateEx(parsed, registry)
	ran := 0
	for id, r := range results.Results {
		if r.Status == lint.Pass {
			ran++
		}
		if r.Status >= lint.Notice {
			t.Errorf("%s: %s: %s %s", name, id, r.Status, strings.TrimSpace(r.Details))
		}
	}
	if ran < 20 {
		t.Errorf("%s: only %d lints applied", name, ran)
	}
}

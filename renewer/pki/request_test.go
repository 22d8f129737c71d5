package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"renewer/renewer"
	"renewer/renewer/pki"
)

func anOrder(t testing.TB) renewer.Order {
	t.Helper()
	key, err := pki.NewKey(renewer.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return renewer.Order{Certificate: "docker@host-b", Key: key, Request: renewer.Request{
		CommonName: "host-b", SANs: []string{"host-b", "10.0.0.2"}, Usages: []renewer.Usage{renewer.UsageServer}, Key: renewer.ECDSAP256, Lifetime: 90 * 24 * time.Hour,
	}}
}

// What is read of a request is what was asked for, and the same order is the same file.
func TestARequestIsReadAsItWasAsked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		o := anOrder(t)
		o.Certificate = rapid.StringMatching(`[a-z][a-z0-9]{0,9}`).Draw(r, "certificate")
		o.CommonName = rapid.StringMatching(`[a-z][a-z0-9-]{0,9}`).Draw(r, "name")
		o.SANs = append(rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,9}(\.example\.com)?`), 1, 4, rapid.ID).Draw(r, "names"), "10.1.2.3", "fd00::2")
		o.Usages = rapid.SampledFrom([][]renewer.Usage{{renewer.UsageServer}, {renewer.UsageClient}, {renewer.UsageServer, renewer.UsageClient}}).Draw(r, "usages")
		o.Lifetime = time.Duration(rapid.Int64Range(1, 1e9).Draw(r, "seconds")) * time.Second
		kind := rapid.SampledFrom([]renewer.KeyType{renewer.ECDSAP256, renewer.ECDSAP384, renewer.Ed25519}).Draw(r, "key")
		key, err := pki.NewKey(kind)
		if err != nil {
			r.Fatal(err)
		}
		o.Key, o.Request.Key = key, kind
		text, err := pki.EncodeRequest(o)
		if err != nil {
			r.Fatal(err)
		}
		if again, err := pki.EncodeRequest(o); err != nil || !bytes.Equal(again, text) {
			r.Errorf("made again it is another one (%v)", err)
		}
		got, err := pki.DecodeRequest(text)
		if err != nil {
			r.Fatal(err)
		}
		if diff := cmp.Diff(o.Request, got.Request); diff != "" {
			r.Errorf("(-asked +read)\n%s", diff)
		}
		if _, err := got.Key.Sign(rand.Reader, make([]byte, 32), nil); err == nil {
			r.Error("it signs with a key that it has not")
		}
	})
}

func TestRequestsThatAreNotSigned(t *testing.T) {
	t.Parallel()
	made := func(tmpl *x509.CertificateRequest, curve elliptic.Curve) string {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	}
	named := func(cn string, sans ...string) string {
		return made(&x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}, DNSNames: sans}, elliptic.P256())
	}
	if _, err := pki.DecodeRequest([]byte(named("a team's name", "*.example.com", "example.com"))); err != nil {
		t.Errorf("a leading wildcard: %v", err)
	}
	good, err := pki.EncodeRequest(anOrder(t))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(good)
	block.Bytes[len(block.Bytes)-1] ^= 1
	for want, text := range map[string]string{
		"no certificate request in PEM":      "nothing",
		"cannot be parsed":                   "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
		"not signed with its key":            string(pem.EncodeToMemory(block)),
		"neither DNS names nor IP addresses": made(&x509.CertificateRequest{URIs: []*url.URL{{Scheme: "spiffe", Host: "a"}}}, elliptic.P256()),
		"(ecdsa-p521) is of a type":          made(&x509.CertificateRequest{DNSNames: []string{"a"}}, elliptic.P521()),
		`"web\x1b[2J", which has control`:    named("web\x1b[2J", "a"),
		`"b\u202egpj", which has control`:    named("b\u202egpj", "a"),
		`"a\nb", which has control`:          named("a", "a\nb"),
		`"*.*.example.com", but a wildcard`:  named("a", "*.*.example.com"),
		`"b*.example.com", but a wildcard`:   named("a", "a", "b*.example.com"),
		`"a.*.example.com", but a wildcard`:  named("a.*.example.com", "a"),
		`"*", but a wildcard`:                named("a", "*"),
		"the lifetime before the request":    "Lifetime: for ever\n" + string(good[bytes.Index(good, []byte("-----BEGIN")):]),
	} {
		if _, err := pki.DecodeRequest([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	good, err := pki.EncodeRequest(anOrder(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("Lifetime: 1h\n-----BEGIN NEW CERTIFICATE REQUEST-----\nAAAA\n-----END NEW CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		o, err := pki.DecodeRequest(text)
		if err == nil && (o.Key == nil || o.Key.Public() == nil || o.Lifetime < 0) {
			t.Errorf("read %+v", o)
		}
	})
}

// Package testpki makes certificate authorities, certificates and TLS
// configurations for tests, all on ECDSA P-256 and in memory. It knows nothing
// of renewer, so every package's tests may use it:
//
//	ca := testpki.New(t)
//	server := ca.Leaf(t, testpki.Options{SANs: []string{"host-b", "127.0.0.1"}})
//	expired := ca.Leaf(t, testpki.Options{NotAfter: time.Now().Add(-time.Hour)})
//	ln, err := tls.Listen("tcp", "127.0.0.1:0", ca.Server(server))
package testpki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Usages of a leaf; Options.Usages takes any others too.
var (
	ServerUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	ClientUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
)

// CA is a certificate authority. A root has no Chain.
type CA struct {
	Cert  *x509.Certificate
	Key   crypto.Signer
	Root  *x509.Certificate   // Cert itself, for a root
	Chain []*x509.Certificate // Cert and the intermediates above it, without the root
}

// Options describe a certificate. The zero value is a server and client
// certificate without names, valid from a minute ago for one hour.
type Options struct {
	CommonName string             // default: the first of SANs, else "test"
	SANs       []string           // DNS names and IP addresses
	Usages     []x509.ExtKeyUsage // default: server and client; of a CA: any
	Permitted  []string           // of a CA: the only DNS domains that it may sign
	NotBefore  time.Time          // default: a minute ago, or an hour before an earlier NotAfter
	NotAfter   time.Time          // default: an hour from now
	Key        crypto.Signer      // default: a new P-256 key
}

// Pair is a certificate with its key.
type Pair struct {
	Cert    *x509.Certificate
	Key     crypto.Signer
	CertPEM []byte // the leaf, then the intermediates, without the root
	KeyPEM  []byte // PKCS #8
	TLS     tls.Certificate
}

// New makes a root that is valid for ten years.
func New(t testing.TB) *CA {
	t.Helper()
	return NewWith(t, Options{CommonName: "Test Root", NotAfter: time.Now().AddDate(10, 0, 0)})
}

// NewWith makes a root with the name and dates of o, such as an expired one.
func NewWith(t testing.TB, o Options) *CA {
	t.Helper()
	cert, key := o.sign(t, nil, true)
	return &CA{Cert: cert, Key: key, Root: cert}
}

// Intermediate makes a CA below ca.
func (ca *CA) Intermediate(t testing.TB, o Options) *CA {
	t.Helper()
	cert, key := o.sign(t, ca, true)
	return &CA{Cert: cert, Key: key, Root: ca.Root, Chain: append([]*x509.Certificate{cert}, ca.Chain...)}
}

// Leaf makes a certificate that ca signed.
func (ca *CA) Leaf(t testing.TB, o Options) Pair {
	t.Helper()
	cert, key := o.sign(t, ca, false)
	p := Pair{Cert: cert, Key: key, CertPEM: PEM(cert), KeyPEM: KeyPEM(t, key)}
	p.TLS = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	for _, c := range ca.Chain {
		p.CertPEM = append(p.CertPEM, PEM(c)...)
		p.TLS.Certificate = append(p.TLS.Certificate, c.Raw)
	}
	return p
}

// Pool holds the root that ca leads to.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	return pool
}

// PEM returns the root that ca leads to.
func (ca *CA) PEM() []byte { return PEM(ca.Root) }

// Server returns a configuration that serves p and demands a client
// certificate of ca.
func (ca *CA) Server(p Pair) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.TLS}, ClientCAs: ca.Pool(),
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
}

// Client returns a configuration that trusts ca and presents p; the zero Pair
// presents nothing.
func (ca *CA) Client(p Pair) *tls.Config {
	c := &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
	if p.Cert != nil {
		c.Certificates = []tls.Certificate{p.TLS}
	}
	return c
}

// Write puts cert.pem (0644) and key.pem (0600) into dir, which it makes.
func (p Pair) Write(t testing.TB, dir string) (certFile, keyFile string) {
	t.Helper()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	WriteFile(t, certFile, p.CertPEM, 0o644)
	WriteFile(t, keyFile, p.KeyPEM, 0o600)
	return certFile, keyFile
}

// WriteFile writes a file with its mode, whatever the umask, and makes its
// directory.
func WriteFile(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(t, os.WriteFile(path, data, mode))
	check(t, os.Chmod(path, mode))
}

// PEM encodes certificates one after another.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// Key makes a P-256 key.
func Key(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// KeyPEM encodes a private key as PKCS #8.
func KeyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (o Options) sign(t testing.TB, parent *CA, isCA bool) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	now := time.Now()
	if o.NotAfter.IsZero() {
		o.NotAfter = now.Add(time.Hour)
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = now.Add(-time.Minute)
		if !o.NotBefore.Before(o.NotAfter) {
			o.NotBefore = o.NotAfter.Add(-time.Hour)
		}
	}
	if o.CommonName == "" {
		o.CommonName = "test"
		if len(o.SANs) > 0 {
			o.CommonName = o.SANs[0]
		}
	}
	if o.Key == nil {
		o.Key = Key(t)
	}
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	serial[0] &= 0x7f
	tmpl := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: o.CommonName},
		NotBefore: o.NotBefore, NotAfter: o.NotAfter, BasicConstraintsValid: true, IsCA: isCA,
	}
	if isCA {
		tmpl.KeyUsage, tmpl.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, o.Usages
		tmpl.PermittedDNSDomains, tmpl.PermittedDNSDomainsCritical = o.Permitted, len(o.Permitted) > 0
	} else {
		tmpl.KeyUsage = x509.KeyUsageDigitalSignature
		tmpl.ExtKeyUsage = o.Usages
		if o.Usages == nil {
			tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		}
	}
	for _, san := range o.SANs {
		if ip := net.ParseIP(san); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, san)
		}
	}
	issuer, issuerKey := tmpl, o.Key
	if parent != nil {
		issuer, issuerKey = parent.Cert, parent.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, o.Key.Public(), issuerKey)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert, o.Key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("testpki: %v", err)
	}
}

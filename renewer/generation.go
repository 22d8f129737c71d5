package renewer

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"time"
)

// Request is what an issuer is asked for, kept with the generation so that a
// later change of the entry can be named field by field.
type Request struct {
	Issuer     string        `json:"issuer"`
	Profile    string        `json:"profile"`
	CommonName string        `json:"common_name"`
	SANs       []string      `json:"sans"`
	Usages     []Usage       `json:"usages"`
	Key        KeyType       `json:"key"`
	Lifetime   time.Duration `json:"lifetime"`
}

// Request returns what an order for c asks.
func (c Certificate) Request() Request {
	return Request{
		Issuer: c.Issuer, Profile: c.Profile, CommonName: c.CommonName, SANs: c.SANs,
		Usages: c.Usages, Key: c.Key, Lifetime: c.Lifetime,
	}
}

// Same reports whether another request asks for the same certificate, for as
// long.
func (r Request) Same(other Request) bool {
	return len(differences(r, other)) == 0 && r.Lifetime == other.Lifetime
}

// Order is one request to an issuer. The private key never leaves this
// process: an issuer gets its public half, or a CSR that it signed.
type Order struct {
	Certificate string
	// Generation is the number that it is to have: each order of a certificate has another
	// one, and the same for as long as it takes.
	Generation int
	Request
	Key crypto.Signer
	// Previous is the chain that this key had before, where a renewal keeps the
	// key (rekey: false): an issuer may renew by it. Leaf is nil otherwise.
	Previous Chain
	// Replaces is the current certificate, of whatever key, where the same issuer signed
	// it; nil for none.
	Replaces *x509.Certificate
}

// CSR returns the PKCS #10 request (RFC 2986) in DER, with the order's common
// name and SANs, signed by its key.
func (o Order) CSR() ([]byte, error) {
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: o.CommonName}}
	tmpl.DNSNames, tmpl.IPAddresses = SplitSANs(o.SANs)
	return o.csr(tmpl)
}

// RequestPEM returns the CSR in PEM, with the usages asked for as requested extensions
// too, for issuers that get nothing else (RFC 2986, and RFC 5280, 4.2.1.3 and 4.2.1.12).
func (o Order) RequestPEM() ([]byte, error) {
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: o.CommonName}}
	tmpl.DNSNames, tmpl.IPAddresses = SplitSANs(o.SANs)
	use := asn1.BitString{Bytes: []byte{0x80}, BitLength: 1} // digitalSignature
	if _, ok := o.Key.Public().(*rsa.PublicKey); ok && slices.Contains(o.Usages, UsageServer) {
		use = asn1.BitString{Bytes: []byte{0xa0}, BitLength: 3} // and keyEncipherment
	}
	var extended []asn1.ObjectIdentifier
	for _, u := range o.Usages {
		extended = append(extended, usageOIDs[u])
	}
	for _, e := range []struct {
		id       int
		critical bool
		value    any
	}{{15, true, use}, {37, false, extended}} {
		der, err := asn1.Marshal(e.value)
		if err != nil {
			return nil, fmt.Errorf("make the CSR of %s: %w", o.Certificate, err)
		}
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, e.id}, Critical: e.critical, Value: der})
	}
	der, err := o.csr(tmpl)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// usageOIDs are those of RFC 5280, section 4.2.1.12.
var usageOIDs = map[Usage]asn1.ObjectIdentifier{
	UsageServer: {1, 3, 6, 1, 5, 5, 7, 3, 1}, UsageClient: {1, 3, 6, 1, 5, 5, 7, 3, 2},
}

// UsageOf returns the usage with an OID or, where renewer does not ask for it, the OID.
func UsageOf(id asn1.ObjectIdentifier) Usage {
	for u, known := range usageOIDs {
		if known.Equal(id) {
			return u
		}
	}
	return Usage(id.String())
}

// csr signs without a random source (RFC 6979 for ECDSA), so that the same order is the
// same CSR, byte by byte, each time it is made.
func (o Order) csr(tmpl *x509.CertificateRequest) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(nil, tmpl, o.Key)
	if err != nil {
		return nil, fmt.Errorf("make the CSR of %s: %w", o.Certificate, err)
	}
	return der, nil
}

// SplitSANs sorts names into DNS names and IP addresses.
func SplitSANs(sans []string) (dns []string, ips []net.IP) {
	for _, s := range sans {
		if ip := net.ParseIP(s); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, s)
		}
	}
	return dns, ips
}

// SANs returns the alternative names of a certificate as text: DNS names, IP
// addresses, and what renewer never asks for, URIs and mail addresses.
func SANs(c *x509.Certificate) []string {
	out := make([]string, 0, len(c.DNSNames)+len(c.IPAddresses))
	out = append(out, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		out = append(out, ip.String())
	}
	for _, u := range c.URIs {
		out = append(out, u.String())
	}
	out = append(out, c.EmailAddresses...)
	return out
}

// Chain is what an issuer returns: the leaf, then the intermediates up to but
// without the root, each signed by the next.
type Chain struct {
	Leaf          *x509.Certificate
	Intermediates []*x509.Certificate
	// SignedBy is the CA whose signature on the leaf was verified when it was
	// made, in this process; nil: nothing was verified yet.
	SignedBy *x509.Certificate
}

// Generation is one issued certificate of a name.
type Generation struct {
	Certificate string    `json:"certificate"`
	Number      int       `json:"number"`
	Request     Request   `json:"request"`
	Serial      string    `json:"serial"`             // lower-case hex
	Fingerprint string    `json:"fingerprint_sha256"` // lower-case hex
	CommonName  string    `json:"common_name"`
	SANs        []string  `json:"sans"`
	Usages      []Usage   `json:"usages"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"` // of the leaf, or of a CA above it that ends first
	IssuedAt    time.Time `json:"issued_at"`
	RenewAt     time.Time `json:"renew_at"`
	Renewal     Renewal   `json:"renewal"` // the policy that gave RenewAt
	RevokedAt   time.Time `json:"revoked_at,omitzero"`
	// KeyCompromised: its key is compromised, so none after it may keep it.
	KeyCompromised bool   `json:"key_compromised,omitzero"`
	Rollout        string `json:"rollout"` // the rollout that ordered it
	// Under are the roots that its chain leads to; unknown for what a version
	// before issued.
	Under RootSet  `json:"under,omitempty"`
	Chain [][]byte `json:"chain_der"` // leaf first
}

// Fingerprint returns the SHA-256 of a certificate's DER as lower-case hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// SerialHex returns a serial number as lower-case hex without separators, in
// whole bytes as openssl prints it.
func SerialHex(c *x509.Certificate) string { return hex.EncodeToString(c.SerialNumber.Bytes()) }

// NewGeneration records a chain that an issuer returned for a request at now.
func NewGeneration(name string, number int, req Request, chain Chain, policy Renewal, now time.Time) Generation {
	leaf := chain.Leaf
	g := Generation{
		Certificate: name, Number: number, Request: req,
		Serial: SerialHex(leaf), Fingerprint: Fingerprint(leaf.Raw),
		CommonName: leaf.Subject.CommonName, SANs: SANs(leaf), Usages: UsagesOf(leaf),
		NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(), IssuedAt: now.UTC(),
		Chain: [][]byte{leaf.Raw},
	}
	for _, c := range chain.Intermediates {
		g.Chain = append(g.Chain, c.Raw)
	}
	g.Renewal, g.RenewAt = policy, policy.Time(g)
	return g
}

// EndBy has a generation end with a CA above it, at t, where that is before its leaf.
func (g *Generation) EndBy(t time.Time) {
	if t = t.UTC(); t.Before(g.NotAfter) {
		g.NotAfter = t
		g.RenewAt = g.Renewal.Time(*g)
	}
}

// usageNames are the extended key usages that issuers are known to add, by
// their names in RFC 5280, section 4.2.1.12.
var usageNames = map[x509.ExtKeyUsage]Usage{
	x509.ExtKeyUsageServerAuth: UsageServer, x509.ExtKeyUsageClientAuth: UsageClient, x509.ExtKeyUsageAny: "any",
	x509.ExtKeyUsageCodeSigning: "codeSigning", x509.ExtKeyUsageEmailProtection: "emailProtection",
	x509.ExtKeyUsageTimeStamping: "timeStamping", x509.ExtKeyUsageOCSPSigning: "OCSPSigning",
}

// UsagesOf returns the extended key usages of a certificate, those that renewer
// never asks for too: by name or, without one, by OID.
func UsagesOf(c *x509.Certificate) []Usage {
	var out []Usage
	for _, u := range c.ExtKeyUsage {
		name, ok := usageNames[u]
		if !ok {
			name = Usage(fmt.Sprintf("extKeyUsage %d", u))
		}
		out = append(out, name)
	}
	for _, oid := range c.UnknownExtKeyUsage {
		out = append(out, Usage(oid.String()))
	}
	return out
}

// Parse returns the chain of the generation.
func (g Generation) Parse() (Chain, error) {
	var out Chain
	for i, der := range g.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return Chain{}, fmt.Errorf("parse certificate %d of %s generation %d: %w", i, g.Certificate, g.Number, err)
		}
		if i == 0 {
			out.Leaf = c
		} else {
			out.Intermediates = append(out.Intermediates, c)
		}
	}
	if out.Leaf == nil {
		return Chain{}, fmt.Errorf("%s generation %d has no certificate", g.Certificate, g.Number)
	}
	return out, nil
}

package renewer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"
)

// ChainEntry is one certificate of a chain, decoded.
type ChainEntry struct {
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint_sha256"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	IsCA        bool      `json:"is_ca"`
	SANs        []string  `json:"sans,omitempty"` // as SANs returns them
	Key         string    `json:"key,omitempty"`  // as in KeyType where it has one
	KeyUsages   []string  `json:"key_usages,omitempty"`
	Usages      []string  `json:"usages,omitempty"`    // extended ones
	Signature   string    `json:"signature,omitempty"` // algorithm: ECDSA-SHA256
}

// NewChainEntry decodes a certificate. KeyUsages and Usages have the names of
// RFC 5280 (sections 4.2.1.3 and 4.2.1.12), or an object identifier.
func NewChainEntry(c *x509.Certificate) ChainEntry {
	e := ChainEntry{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: SerialHex(c), Fingerprint: Fingerprint(c.Raw),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), IsCA: c.IsCA,
		SANs: SANs(c), Key: keyName(c.PublicKey), Signature: c.SignatureAlgorithm.String(),
	}
	for i, name := range keyUsages {
		if c.KeyUsage&(1<<i) != 0 {
			e.KeyUsages = append(e.KeyUsages, name)
		}
	}
	for _, u := range c.ExtKeyUsage {
		name, ok := extKeyUsages[u]
		if !ok {
			name = fmt.Sprintf("extended key usage %d of crypto/x509", u)
		}
		e.Usages = append(e.Usages, name)
	}
	for _, oid := range c.UnknownExtKeyUsage {
		e.Usages = append(e.Usages, oid.String())
	}
	return e
}

// keyUsages are in the order of the bits of x509.KeyUsage.
var keyUsages = []string{
	"digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement",
	"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

var extKeyUsages = map[x509.ExtKeyUsage]string{
	x509.ExtKeyUsageAny:             "anyExtendedKeyUsage",
	x509.ExtKeyUsageServerAuth:      "serverAuth",
	x509.ExtKeyUsageClientAuth:      "clientAuth",
	x509.ExtKeyUsageCodeSigning:     "codeSigning",
	x509.ExtKeyUsageEmailProtection: "emailProtection",
	x509.ExtKeyUsageTimeStamping:    "timeStamping",
	x509.ExtKeyUsageOCSPSigning:     "OCSPSigning",
}

// keyName names a public key as KeyTypes do; for one that renewer does not
// make, by its algorithm and size.
func keyName(pub any) string {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ecdsa-p%d", k.Curve.Params().BitSize)
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", k.N.BitLen())
	case ed25519.PublicKey:
		return string(Ed25519)
	default:
		return fmt.Sprintf("%T", pub)
	}
}

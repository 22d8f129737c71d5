package local

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"go.step.sm/crypto/x509util"

	"renewer/internal/atomicfile"
)

const (
	maxCertFile   = 256 << 10
	maxCerts      = 16 // of a chain; real ones have one to four
	minRSABits    = 2048
	importedChain = "put the certificates above it, up to the self-signed root, into the same file: cat ca.pem root.pem"
)

func readCertificateFile(path string) ([]byte, error) {
	return atomicfile.ReadLimited(path, maxCertFile)
}

// parseCertificates returns the CERTIFICATE blocks of a file, each once. Text
// between the blocks, which openssl x509 -text writes, is passed over.
func parseCertificates(data []byte, file string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, misconfigured("it should hold certificates only: BEGIN CERTIFICATE",
				"%s: unexpected PEM block %.40q", file, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, misconfigured("openssl x509 -in "+file+" -noout -text shows what openssl makes of it",
				"%s: certificate %d cannot be read: %w", file, len(out)+1, err)
		}
		if !contains(out, c) {
			out = append(out, c)
		}
		if len(out) > maxCerts {
			return nil, misconfigured("it should hold the CA and what is above it", "%s: more than %d certificates", file, maxCerts)
		}
	}
	if len(out) == 0 {
		return nil, misconfigured("it should be PEM: -----BEGIN CERTIFICATE-----", "%s holds no certificate", file)
	}
	return out, nil
}

// orderChain returns the path from the certificate of the key to its root.
func orderChain(certs []*x509.Certificate, file string, key privateKey) ([]*x509.Certificate, error) {
	var path []*x509.Certificate
	for _, c := range certs {
		if key.belongsTo(c.PublicKey) {
			path = append(path, c)
			break
		}
	}
	if path == nil {
		return nil, misconfigured("openssl x509 -noout -pubkey -in "+file+" and openssl pkey -pubout -in "+key.file+" must print the same",
			"the key %s does not belong to the certificate in %s (%s)", key.file, file, subject(certs[0]))
	}
	for c := path[0]; !selfSigned(c); c = path[len(path)-1] {
		above := issuerOf(c, certs)
		if above == nil || contains(path, above) {
			return nil, misconfigured(importedChain,
				"%s: %s was signed by %q, whose certificate is not in the file", file, subject(c), c.Issuer.String())
		}
		path = append(path, above)
	}
	for _, c := range certs {
		if !contains(path, c) {
			return nil, misconfigured("leave only the CA and the certificates above it in the file",
				"%s: %s has nothing to do with %s", file, subject(c), subject(path[0]))
		}
	}
	return path, nil
}

func issuerOf(c *x509.Certificate, among []*x509.Certificate) *x509.Certificate {
	for _, above := range among {
		if bytes.Equal(c.RawIssuer, above.RawSubject) && signedBy(c, above) {
			return above
		}
	}
	return nil
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && signedBy(c, c)
}

// signedBy lets a SHA-1 signature pass: it is on a root, where it proves
// nothing, or it is refused by the peer.
func signedBy(c, by *x509.Certificate) bool {
	err := by.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure)
}

// checkChain refuses what peers would refuse in a CA (RFC 5280, section 6.1.4).
func checkChain(path []*x509.Certificate, file string) error {
	for below, c := range path {
		switch {
		case !c.BasicConstraintsValid || !c.IsCA:
			return misconfigured("openssl req -x509 makes a CA; a certificate of a server or client cannot sign others",
				"%s: %s is not a CA (basicConstraints has no CA:TRUE)", file, subject(c))
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
			return misconfigured("", "%s: %s may not sign certificates (keyUsage has no keyCertSign)", file, subject(c))
		case len(c.UnhandledCriticalExtensions) > 0:
			return misconfigured("", "%s: %s has a critical extension (%s) that peers would refuse", file, subject(c), c.UnhandledCriticalExtensions[0])
		case pathLen(c) >= 0 && pathLen(c) < below:
			return misconfigured("sign with the intermediate's own issuer, or have the upper CA made anew with a larger path length",
				"%s: %s allows %d CAs below it (pathlen) and has %d", file, subject(c), pathLen(c), below)
		}
		if err := checkStrength(c.PublicKey); err != nil {
			return misconfigured("make a new CA with renewer ca init", "%s: %s: %w", file, subject(c), err)
		}
	}
	return nil
}

func checkStrength(pub any) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fmt.Errorf("its RSA key has %d bits, which TLS libraries refuse; at least %d are needed", k.N.BitLen(), minRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return fmt.Errorf("its curve %s is not supported by TLS libraries", k.Curve.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		return nil
	default:
		return errors.New("its key is of an unsupported type; RSA, ECDSA and Ed25519 are supported")
	}
}

// pathLen returns the path length constraint, -1 for none.
func pathLen(c *x509.Certificate) int {
	if c.MaxPathLen == 0 && !c.MaxPathLenZero {
		return -1
	}
	return c.MaxPathLen
}

func isConstrained(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage)+
		len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+
		len(c.PermittedIPRanges)+len(c.ExcludedIPRanges)+
		len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+
		len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0
}

// keyIdentifier is the CA's own, or what RFC 5280 (4.2.1.2, method 1) would
// have made it.
func keyIdentifier(ca *x509.Certificate) ([]byte, error) {
	if len(ca.SubjectKeyId) > 0 {
		return ca.SubjectKeyId, nil
	}
	return x509util.GenerateSubjectKeyID(ca.PublicKey)
}

func contains(certs []*x509.Certificate, c *x509.Certificate) bool {
	for _, x := range certs {
		if x.Equal(c) {
			return true
		}
	}
	return false
}

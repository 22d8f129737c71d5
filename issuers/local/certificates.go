package local

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.step.sm/crypto/x509util"

	"renewer/internal/atomicfile"
	"renewer/renewer/pki"
)

const (
	maxCertFile   = 256 << 10
	maxCerts      = 16 // of a chain; real ones have one to four
	minRSABits    = 2048
	importedChain = "add its intermediates and the self-signed root to the same file: cat ca.pem root.pem"
)

func readCertificateFile(path string) ([]byte, error) {
	return atomicfile.ReadLimited(path, maxCertFile)
}

// parseCertificates returns the CERTIFICATE blocks of a file, each once. Text
// between the blocks, which openssl x509 -text writes, is passed over.
func parseCertificates(cfg Config, data []byte, file string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	holds := ""
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") || strings.HasSuffix(block.Type, "PARAMETERS") {
			holds = " but a " + strings.ToLower(block.Type)
			continue // in one file with its key
		}
		der := pki.CertificateDER(block)
		if der == nil {
			return nil, misconfigured("the file must have only certificates: BEGIN CERTIFICATE",
				"%s: unexpected PEM block %.40q", file, block.Type)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, unparsable(cfg, der, file, len(out)+1, err)
		}
		if err := checkAlgorithms(cfg, c, file); err != nil {
			return nil, err
		}
		if !contains(out, c) {
			out = append(out, c)
		}
		if len(out) > maxCerts {
			return nil, misconfigured("the file must have only the CA and the CAs above it", "%s: more than %d certificates", file, maxCerts)
		}
	}
	if len(out) == 0 {
		return nil, misconfigured("the file must be PEM: -----BEGIN CERTIFICATE-----", "%s has no certificate%s", file, holds)
	}
	return out, nil
}

// orderChain returns the path from the certificate of the key to its root. Of more
// certificates with that key, cross-signed or renewed, the CA is the self-signed
// one that lasts longest; leftOut are the others, what is only above those, and what is
// below the CA.
func orderChain(certs []*x509.Certificate, file string, key privateKey) (path, leftOut []*x509.Certificate, err error) {
	var own []*x509.Certificate
	for _, c := range certs {
		if key.belongsTo(c.PublicKey) {
			own = append(own, c)
		}
	}
	if own == nil {
		return nil, nil, misconfigured("openssl x509 -noout -pubkey -in "+file+" and openssl pkey -pubout -in "+key.file+" must print the same",
			"the key %s does not belong to the certificate in %s (%s)", key.file, file, subject(certs[0]))
	}
	paths := pathsToRoots(certs)
	slices.SortStableFunc(own, func(a, b *x509.Certificate) int {
		return cmp.Or(reach(paths[a])-reach(paths[b]), b.NotAfter.Compare(a.NotAfter))
	})
	if path = paths[own[0]]; path == nil {
		return nil, nil, misconfigured(importedChain, "%s: %s was signed by %q, whose certificate is not in the file", file, subject(own[0]), own[0].Issuer.String())
	}
	related := above(own, certs)
	for _, c := range certs {
		switch {
		case contains(path, c):
		case contains(related, c), slices.ContainsFunc(own, func(ca *x509.Certificate) bool { return contains(paths[c], ca) }):
			leftOut = append(leftOut, c)
		default:
			return nil, nil, misconfigured("leave only the CA and the CAs above it in the file",
				"%s: %s is not above %s", file, subject(c), subject(path[0]))
		}
	}
	return path, leftOut, nil
}

// reach orders paths: a root itself, then what leads to one, then the rest.
func reach(path []*x509.Certificate) int {
	switch len(path) {
	case 0:
		return 2
	case 1:
		return 0
	default:
		return 1
	}
}

// pathsToRoots returns the shortest way from each certificate to a self-signed
// one; of two issuers that are equally far, the one that lasts longer.
func pathsToRoots(certs []*x509.Certificate) map[*x509.Certificate][]*x509.Certificate {
	paths := map[*x509.Certificate][]*x509.Certificate{}
	for _, c := range certs {
		if selfSigned(c) {
			paths[c] = []*x509.Certificate{c}
		}
	}
	for range certs {
		found := map[*x509.Certificate][]*x509.Certificate{}
		for _, c := range certs {
			if paths[c] != nil {
				continue
			}
			var by *x509.Certificate
			for _, issuer := range certs {
				if paths[issuer] != nil && issuerOf(c, issuer) && (by == nil || issuer.NotAfter.After(by.NotAfter)) {
					by = issuer
				}
			}
			if by != nil {
				found[c] = append([]*x509.Certificate{c}, paths[by]...)
			}
		}
		maps.Copy(paths, found)
	}
	return paths
}

// above returns some certificates and all that is above them.
func above(of, certs []*x509.Certificate) []*x509.Certificate {
	out := slices.Clone(of)
	for i := 0; i < len(out); i++ {
		for _, c := range certs {
			if issuerOf(out[i], c) && !contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

func issuerOf(c, above *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, above.RawSubject) && signedBy(c, above)
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && signedBy(c, c)
}

// signedBy lets a SHA-1 signature pass: it is on a root, where it proves
// nothing, or takeOver refuses it.
func signedBy(c, by *x509.Certificate) bool {
	err := by.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	var insecure x509.InsecureAlgorithmError
	return err == nil || errors.As(err, &insecure)
}

// checkChain refuses what peers would refuse in a CA (RFC 5280, section 6.1.4).
func checkChain(cfg Config, path []*x509.Certificate, file string) error {
	for below, c := range path {
		switch {
		case !c.BasicConstraintsValid || !c.IsCA:
			return misconfigured(cfg.reextend(c),
				"%s: %s is not a CA (basicConstraints has no CA:TRUE)", file, subject(c))
		case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
			return misconfigured(cfg.reextend(c), "%s: %s may not sign certificates (keyUsage has no keyCertSign)", file, subject(c))
		case len(c.UnhandledCriticalExtensions) > 0:
			return misconfigured(cfg.reextend(c), "%s: %s has a critical extension (%s) that peers would refuse", file, subject(c), c.UnhandledCriticalExtensions[0])
		case pki.PathLen(c) >= 0 && pki.PathLen(c) < below:
			return misconfigured("have "+subject(path[0])+" signed by a CA with a larger path length; or "+cfg.anotherCA(),
				"%s: %s allows %d CAs below it (pathlen) and has %d", file, subject(c), pki.PathLen(c), below)
		}
		if err := checkStrength(c.PublicKey); err != nil {
			return misconfigured(cfg.anotherCA(), "%s: %s: %w", file, subject(c), err)
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

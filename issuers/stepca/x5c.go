package stepca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"

	"go.step.sm/crypto/jose"

	"renewer/internal/atomicfile"
)

const (
	maxCertFile = 256 << 10
	maxKeyFile  = 64 << 10
)

// logInX5C reads the certificate and its key, and checks what the server would
// only answer with an opaque 401.
func (i *Issuer) logInX5C(p provisioner) (*credentials, error) {
	certPEM, err := atomicfile.ReadLimited(i.cfg.X5CCert, maxCertFile)
	if err != nil {
		return nil, fileError(err, "x5c.cert", i.cfg.X5CCert)
	}
	keyPEM, err := atomicfile.ReadSecret(i.cfg.X5CKey, maxKeyFile)
	if err != nil {
		return nil, fileError(err, "x5c.key", i.cfg.X5CKey)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, misconfigured("x5c.cert is a PEM chain, leaf first, and x5c.key its key, not encrypted",
			"x5c.cert %s and x5c.key %s are not a usable pair: %w", i.cfg.X5CCert, i.cfg.X5CKey, err)
	}
	if err := i.checkX5C(pair, p); err != nil {
		return nil, err
	}
	alg, ok := algorithm(pair.PrivateKey)
	if !ok {
		return nil, misconfigured("use an ECDSA, RSA or Ed25519 key", "x5c.key %s has a key type that cannot sign tokens", i.cfg.X5CKey)
	}
	chain := make([]string, 0, len(pair.Certificate))
	for _, der := range pair.Certificate {
		chain = append(chain, base64.StdEncoding.EncodeToString(der)) // RFC 7515, section 4.1.6
	}
	return newCredentials(jose.SigningKey{Algorithm: alg, Key: pair.PrivateKey},
		map[jose.HeaderKey]any{"x5c": chain}, "x5c/"+i.cfg.Provisioner)
}

func (i *Issuer) checkX5C(pair tls.Certificate, p provisioner) error {
	leaf := pair.Leaf
	above := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return misconfigured("", "x5c.cert %s: %w", i.cfg.X5CCert, err)
		}
		above.AddCert(c)
	}
	now := i.now()
	switch {
	case now.After(leaf.NotAfter):
		return misconfigured("put a new certificate for "+leaf.Subject.CommonName+" and its key there", "x5c.cert %s expired at %s", i.cfg.X5CCert, date(leaf.NotAfter))
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return misconfigured("use a certificate with the key usage digitalSignature", "x5c.cert %s is not for signatures", i.cfg.X5CCert)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(p.Roots) {
		return nil // not shown: the server will judge
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: above, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return misconfigured("use a client certificate of a CA that is in the roots of the provisioner, with its intermediates",
			"provisioner %s will not accept x5c.cert %s: %w", i.cfg.Provisioner, i.cfg.X5CCert, err)
	}
	return nil
}

// algorithm returns how tokens are signed with a key (RFC 7518, RFC 8037).
func algorithm(key crypto.PrivateKey) (jose.SignatureAlgorithm, bool) {
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		alg, ok := map[int]string{256: jose.ES256, 384: jose.ES384, 521: jose.ES512}[k.Curve.Params().BitSize]
		return jose.SignatureAlgorithm(alg), ok
	case *rsa.PrivateKey:
		return jose.RS256, true
	case ed25519.PrivateKey:
		return jose.EdDSA, true
	default:
		return "", false
	}
}

// fileError is about one of the files that the configuration names.
func fileError(err error, key, path string) error {
	return misconfigured(hintOr(err, "check "+key+" of the issuer in the fleet file: "+path), "%s: %w", key, err)
}

package local

import (
	"crypto/x509"
	"slices"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"renewer/renewer/pki"
)

// Certificates returns the signing CA and what is above it up to the root, from
// the certificate file alone.
func Certificates(cfg Config) ([]*x509.Certificate, error) { return pathOf(cfg) }

// ExportTrust returns a PKCS #12 store of the root alone, as Java reads one.
func ExportTrust(cfg Config, passphrase string) ([]byte, error) {
	path, err := pathOf(cfg)
	if err != nil {
		return nil, err
	}
	store, err := pkcs12.Modern.EncodeTrustStore(path[len(path)-1:], passphrase)
	if err != nil {
		return nil, misconfigured("", "encode the CA of issuer %s as PKCS #12: %w", cfg.Name, err)
	}
	return store, nil
}

// ExportKey returns the certificates and the key as PEM. The key is encrypted where
// there is a passphrase; one that is encrypted in its own file is never exported
// without.
func ExportKey(cfg Config, passphrase []byte) ([]byte, error) {
	a, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	if a.encrypted && len(passphrase) == 0 {
		return nil, misconfigured("give --passphrase-file FILE", "the key of issuer %s is encrypted; it is not exported unencrypted", cfg.Name)
	}
	key, err := encodeKey(cfg, a.cas.Signer, passphrase)
	if err != nil {
		return nil, err
	}
	return slices.Concat(pki.PEM(a.path()...), key), nil
}

// ExportPKCS12 returns the certificates and the key as PKCS #12.
func ExportPKCS12(cfg Config, passphrase string) ([]byte, error) {
	a, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	store, err := pkcs12.Modern.Encode(a.cas.Signer, a.chain[0], a.path()[1:], passphrase)
	if err != nil {
		return nil, misconfigured("", "encode the CA of issuer %s as PKCS #12: %w", cfg.Name, err)
	}
	return store, nil
}

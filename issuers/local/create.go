package local

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.step.sm/crypto/keyutil"
	"go.step.sm/crypto/pemutil"
	"go.step.sm/crypto/x509util"

	"renewer/internal/atomicfile"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// CreateOptions may be left zero.
type CreateOptions struct {
	CommonName string        // default: "renewer NAME CA"
	Lifetime   time.Duration // default: ten years; below a parent five, but not beyond its end
	PathLen    int           // how many CAs may stand below it
	Parent     *Authority    // signs it; nil: it signs itself
}

// Create makes an ECDSA P-256 CA and returns it opened. It overwrites nothing.
//
// The key is written first, then the certificate. A crash between the two
// leaves a key alone, and the next Create goes on with that key.
func Create(cfg Config, o CreateOptions) (*Authority, error) {
	if o.CommonName == "" {
		o.CommonName = fmt.Sprintf("renewer %s CA", cfg.Name)
	}
	if len(o.CommonName) > maxCommonName {
		return nil, misconfigured("give the CA a shorter common name",
			"the common name %q has %d characters; at most %d are allowed (RFC 5280)", o.CommonName, len(o.CommonName), maxCommonName)
	}
	if err := o.Parent.mayHaveBelow(cfg.Name, o.PathLen+1); err != nil {
		return nil, err
	}
	passphrase, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	signer, err := keepOrMakeKey(cfg, passphrase)
	if err != nil {
		return nil, err
	}
	certs, err := certify(o, signer, time.Now())
	if err != nil {
		return nil, misconfigured("", "sign the CA certificate of issuer %s: %w", cfg.Name, err)
	}
	if err := writeCertificates(cfg, certs...); err != nil {
		return nil, err
	}
	return newAuthority(cfg, pki.PEM(certs...), cfg.CertFile, privateKey{signer: signer, file: cfg.KeyFile, encrypted: passphrase != nil})
}

// certify returns the certificate of a new CA, and what is above it.
func certify(o CreateOptions, signer crypto.Signer, now time.Time) ([]*x509.Certificate, error) {
	if o.Parent != nil {
		return o.Parent.signBelow(o, signer.Public())
	}
	cert, err := selfSign(o, signer, now)
	return []*x509.Certificate{cert}, err
}

func selfSign(o CreateOptions, signer crypto.Signer, now time.Time) (*x509.Certificate, error) {
	tmpl := authorityTemplate(o, now)
	return x509util.CreateCertificate(tmpl, tmpl, signer.Public(), signer)
}

func authorityTemplate(o CreateOptions, now time.Time) *x509.Certificate {
	now = now.Truncate(time.Second)
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: o.CommonName},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(10, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: o.PathLen, MaxPathLenZero: o.PathLen == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if o.Lifetime > 0 {
		tmpl.NotAfter = now.Add(o.Lifetime)
	}
	return tmpl
}

// prepare makes the directories, removes what a crash left half written,
// refuses to go on where a CA is, and reads the passphrase, if there is one.
func prepare(cfg Config) ([]byte, error) {
	for _, file := range []string{cfg.CertFile, cfg.KeyFile} {
		dir := filepath.Dir(file)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, misconfigured("make the directory writable for the user that renewer runs as", "make the directory of issuer %s: %w", cfg.Name, err)
		}
		if err := atomicfile.Clean(dir); err != nil {
			return nil, fileError(cfg, err)
		}
	}
	if _, err := os.Lstat(cfg.CertFile); err == nil {
		return nil, exists(cfg, cfg.CertFile)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fileError(cfg, err)
	}
	if cfg.PassphraseFile == "" {
		return nil, nil
	}
	return readPassphrase(cfg)
}

func exists(cfg Config, file string) error {
	return misconfigured("renewer ca show "+cfg.Name+" shows the CA; renewer ca rotate "+cfg.Name+" replaces it",
		"issuer %s already has a CA, which is not overwritten: %s: %w", cfg.Name, file, fs.ErrExist)
}

// keepOrMakeKey returns the key that an earlier Create left alone, or a new
// one that is on the disk.
func keepOrMakeKey(cfg Config, passphrase []byte) (crypto.Signer, error) {
	data, err := readKeyFile(cfg.KeyFile)
	if err == nil {
		return keptKey(cfg, data, passphrase)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fileError(cfg, err)
	}
	signer, err := keyutil.GenerateSigner("EC", "P-256", 0)
	if err != nil {
		return nil, misconfigured("", "make the key of issuer %s: %w", cfg.Name, err)
	}
	return signer, writeKey(cfg, signer, passphrase)
}

// keptKey accepts only what Create itself would have written: another key was
// put there by somebody for another purpose.
func keptKey(cfg Config, data, passphrase []byte) (crypto.Signer, error) {
	key, err := parseKey(cfg, data, cfg.KeyFile, passphrase)
	if err != nil {
		return nil, err
	}
	if keyType(key.signer.Public()) != string(renewer.ECDSAP256) || key.encrypted != (passphrase != nil) {
		return nil, misconfigured("copy its certificate to "+cfg.CertFile+"; or move the key away to make a new CA",
			"issuer %s has a key without a certificate, and ca init did not make it: %s", cfg.Name, cfg.KeyFile)
	}
	return key.signer, nil
}

// encodeKey returns a key as PEM of PKCS #8, encrypted (PBES2, AES-256-CBC, PBKDF2
// with HMAC-SHA-256) if there is a passphrase.
func encodeKey(cfg Config, signer crypto.Signer, passphrase []byte) ([]byte, error) {
	block, err := pemutil.Serialize(signer, pemutil.WithPKCS8(true))
	if err == nil && len(passphrase) > 0 {
		block, err = pemutil.EncryptPKCS8PrivateKey(rand.Reader, block.Bytes, passphrase, x509.PEMCipherAES256)
	}
	if err != nil {
		return nil, misconfigured("", "encode the key of issuer %s: %w", cfg.Name, err)
	}
	return pem.EncodeToMemory(block), nil
}

func writeKey(cfg Config, signer crypto.Signer, passphrase []byte) error {
	text, err := encodeKey(cfg, signer, passphrase)
	if err != nil {
		return err
	}
	err = atomicfile.WriteNew(cfg.KeyFile, text, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return exists(cfg, cfg.KeyFile)
	}
	if err != nil {
		return fileError(cfg, err)
	}
	return nil
}

func writeCertificates(cfg Config, certs ...*x509.Certificate) error {
	err := atomicfile.WriteNew(cfg.CertFile, pki.PEM(certs...), 0o644)
	if errors.Is(err, fs.ErrExist) {
		return exists(cfg, cfg.CertFile)
	}
	if err != nil {
		return fileError(cfg, err)
	}
	return nil
}

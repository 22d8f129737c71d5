// Package local is the issuer whose CA is two files on this machine: a
// certificate and its key, made by Create, taken over by Import, or any pair
// that openssl made. Signing is smallstep's softcas, reading keys is
// smallstep's pemutil; this package says what a certificate must be like and
// what is wrong with a file.
//
// The certificate file holds the signing CA and, if that is an intermediate,
// the certificates above it up to its root. The key file holds one key, in
// PKCS #8, PKCS #1 or SEC 1, encrypted or not.
//
// The next CA lies beside them until Switch makes it the one that signs (ca.next.pem,
// ca-key.next.pem), and those that signed before stay for their CRL
// (ca.old-HASH16.pem, ca-key.old-HASH16.pem). ca.pem is always the CA that signs.
//
// Every error is the context's or a *renewer.Error: misconfigured for what
// somebody can fix in the files (retried later), refused for an order that
// this CA will never sign. Neither key nor passphrase stands in an error.
package local

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"
	"github.com/smallstep/certificates/cas/softcas"

	"renewer/renewer/pki"
)

// Config says where a local CA is.
type Config struct {
	Name           string // of the issuer
	CertFile       string
	KeyFile        string
	PassphraseFile string // of the key; empty: the key is not encrypted
	CRLDir         string // where Revoke and CRL keep their list; empty: beside CertFile
	Policy         Policy

	from source
}

// Authority is a local CA that was loaded. It is safe for many goroutines and
// reads no file after it was opened, but its own CRL.
type Authority struct {
	name        string
	chain       []*x509.Certificate // the signing CA, then what is above it, without the root
	root        *x509.Certificate   // chain[0] itself, if that is self-signed
	authority   []byte              // key identifier of chain[0]
	constrained bool                // what it may sign is limited somewhere in the chain
	leftOut     []*x509.Certificate // of the file: others of the same key, what is above those, and what is below the CA
	encrypted   bool
	policy      Policy
	certFile    string
	keyFile     string
	instead     string // what to do once it is not valid any more
	crlFile     string
	cas         *softcas.SoftCAS
	clock       func() time.Time
}

// Open loads a CA and checks all that does not change with time: that it is
// a CA that may sign leaves, that the key belongs to it, that its chain reaches a
// root. Its dates are Health's and Sign's matter, so that an expired CA can
// still be shown and its root still be compared.
func Open(cfg Config) (*Authority, error) {
	for {
		certPEM, keyPEM, err := readFiles(cfg)
		if err != nil {
			return nil, err
		}
		a, err := open(cfg, certPEM, keyPEM)
		if err == nil {
			return a, nil
		}
		if now, gone := readCertificateFile(cfg.CertFile); gone != nil || bytes.Equal(now, certPEM) {
			return nil, err // else a Switch came in between
		}
	}
}

func open(cfg Config, certPEM, keyPEM []byte) (*Authority, error) {
	var passphrase []byte
	if cfg.PassphraseFile != "" {
		var err error
		if passphrase, err = readPassphrase(cfg); err != nil {
			return nil, err
		}
	}
	key, err := signingKey(cfg, certPEM, keyPEM, passphrase)
	if err != nil {
		return nil, err
	}
	if cfg.PassphraseFile != "" && !key.encrypted {
		return nil, misconfigured(encryptHint(cfg.KeyFile),
			"issuer %s: %s is not encrypted although passphrase_file is set", cfg.Name, key.file)
	}
	return newAuthority(cfg, certPEM, cfg.CertFile, key)
}

// signingKey is the key of the certificate: in its own file or, where Switch was
// cut short, in that of the next key.
func signingKey(cfg Config, certPEM, keyPEM, passphrase []byte) (privateKey, error) {
	key, err := parseKey(cfg, keyPEM, cfg.KeyFile, passphrase)
	next, missing := readKeyFile(cfg.next().KeyFile)
	if missing != nil {
		return key, err
	}
	certs, bad := parseCertificates(cfg, certPEM, cfg.CertFile)
	if bad != nil || err == nil && slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return key.belongsTo(c.PublicKey) }) {
		return key, err
	}
	other, failed := parseKey(cfg, next, cfg.next().KeyFile, passphrase)
	if failed == nil && slices.ContainsFunc(certs, func(c *x509.Certificate) bool { return other.belongsTo(c.PublicKey) }) {
		return other, nil
	}
	return key, err
}

// newAuthority checks a certificate file against its key.
func newAuthority(cfg Config, certPEM []byte, certFile string, key privateKey) (*Authority, error) {
	certs, err := parseCertificates(cfg, certPEM, certFile)
	if err != nil {
		return nil, err
	}
	path, leftOut, err := orderChain(certs, certFile, key)
	if err != nil {
		return nil, err
	}
	if err := checkChain(cfg, path, certFile); err != nil {
		return nil, err
	}
	a := &Authority{name: cfg.Name, root: path[len(path)-1], chain: path, leftOut: leftOut, encrypted: key.encrypted, policy: cfg.Policy, certFile: cfg.CertFile, keyFile: key.file, instead: cfg.instead(path), clock: time.Now}
	if len(path) > 1 {
		a.chain = path[:len(path)-1]
	}
	for below, c := range path {
		a.constrained = a.constrained || pki.Limited(c, below)
	}
	if a.authority, err = keyIdentifier(path[0]); err != nil {
		return nil, misconfigured("", "issuer %s: %w", cfg.Name, err)
	}
	a.crlFile = crlFile(cfg, a.authority)
	a.cas, err = softcas.New(context.Background(), apiv1.Options{CertificateChain: a.chain, Signer: key.signer})
	if err != nil {
		return nil, misconfigured("", "issuer %s: %w", cfg.Name, err)
	}
	return a, nil
}

// Roots returns the root that the CA leads to.
func (a *Authority) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return []*x509.Certificate{a.root}, nil
}

// Intermediates returns the signing CA and what is above it, below the root.
func (a *Authority) Intermediates() []*x509.Certificate {
	if a.chain[0] == a.root {
		return nil
	}
	return slices.Clone(a.chain)
}

// Health reports whether the CA is valid now.
func (a *Authority) Health(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.validAt(a.clock())
}

// validAt checks the dates of the whole chain.
func (a *Authority) validAt(now time.Time) error {
	for _, c := range append([]*x509.Certificate{a.root}, a.chain...) {
		switch {
		case now.Before(c.NotBefore):
			return misconfigured("compare the clock of this machine with the dates of the CA",
				"issuer %s: %s is not valid before %s; now is %s", a.name, subject(c), date(c.NotBefore), date(now))
		case now.After(c.NotAfter):
			return misconfigured(a.instead,
				"issuer %s: %s expired at %s", a.name, subject(c), date(c.NotAfter))
		}
	}
	return nil
}

func noCA(cfg Config, err error) error {
	return misconfigured("renewer ca init "+cfg.Name+" creates one; renewer ca import "+cfg.Name+" --cert FILE --key FILE imports an existing one", "issuer %s has no CA: %w", cfg.Name, err)
}

// readFiles says which half is missing, and what to do about it.
func readFiles(cfg Config) (certPEM, keyPEM []byte, err error) {
	certPEM, certErr := readCertificateFile(cfg.CertFile)
	keyPEM, keyErr := readKeyFile(cfg.KeyFile)
	if certErr == nil {
		certPEM, certErr = inPlace(cfg, certPEM, cfg.CertFile)
	}
	if keyErr == nil {
		keyPEM, keyErr = inPlace(cfg, keyPEM, cfg.KeyFile)
	}
	noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist)
	switch {
	case noCert && noKey:
		return nil, nil, noCA(cfg, certErr)
	case noCert:
		return nil, nil, misconfigured("renewer ca init "+cfg.Name+" makes the missing certificate for the key that is there; or restore the certificate from a backup",
			"issuer %s has a key (%s) and no certificate: %w", cfg.Name, cfg.KeyFile, certErr)
	case noKey:
		return nil, nil, misconfigured("restore the key from a backup; without one, move the certificate away and create a new CA with renewer ca init "+cfg.Name,
			"issuer %s has a certificate (%s) and no key: %w", cfg.Name, cfg.CertFile, keyErr)
	case certErr != nil:
		return nil, nil, fileError(cfg, certErr)
	case keyErr != nil:
		return nil, nil, fileError(cfg, keyErr)
	}
	return certPEM, keyPEM, nil
}

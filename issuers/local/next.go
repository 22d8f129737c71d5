package local

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.step.sm/crypto/keyutil"
	"go.step.sm/crypto/x509util"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// The next CA lies beside the signing one: ca.next.pem and ca-key.next.pem beside
// ca.pem and ca-key.pem. It signs nothing before Switch.

// beside returns the name of a file of another CA of the same issuer.
func beside(file, which string) string {
	ext := filepath.Ext(file)
	return strings.TrimSuffix(file, ext) + "." + which + ext
}

// next is the configuration of the next CA.
func (c Config) next() Config {
	n := c
	n.CertFile, n.KeyFile = beside(c.CertFile, "next"), beside(c.KeyFile, "next")
	return n
}

// Files returns all files that make the signing CA and the next one what they are.
func (c Config) Files() []string {
	n := c.next()
	return []string{c.CertFile, c.KeyFile, c.PassphraseFile, n.CertFile, n.KeyFile}
}

// NextOptions may be left zero.
type NextOptions struct {
	Key      renewer.KeyType        // default: that of the signing CA
	Lifetime time.Duration          // default: ten years
	Accept   func(*Authority) error // asked before anything is written; its error is returned
}

func (o NextOptions) accept(a *Authority) error {
	if o.Accept == nil {
		return nil
	}
	return o.Accept(a)
}

// CreateNext makes the next CA, unless there is one, and returns it. Its name is
// that of the signing CA with the next number. A crash between key and certificate
// leaves a key alone, and the next call makes another one.
func CreateNext(cfg Config, o NextOptions) (*Authority, error) {
	signing, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	if o.Key == "" {
		o.Key = renewer.KeyType(keyType(signing.chain[0].PublicKey))
	}
	if err := signing.mustBeRoot(); err != nil {
		return nil, err
	}
	signer, err := generate(o.Key)
	if err != nil {
		return nil, misconfigured("give --key ecdsa-p256", "make the next key of issuer %s: %w", cfg.Name, err)
	}
	cert, err := selfSign(CreateOptions{CommonName: successor(signing.chain[0].Subject.CommonName, cfg.Name), Lifetime: o.Lifetime, PathLen: max(signing.chain[0].MaxPathLen, 0)}, signer, time.Now())
	if err != nil {
		return nil, misconfigured("", "sign the next CA certificate of issuer %s: %w", cfg.Name, err)
	}
	would, err := newAuthority(cfg.next(), pki.PEM(cert), cfg.next().CertFile, privateKey{signer: signer})
	if err == nil {
		err = o.accept(would)
	}
	if err != nil {
		return nil, err
	}
	n, passphrase, err := prepareNext(cfg)
	if err != nil {
		return nil, err
	}
	if err := writeKey(n, signer, passphrase); err != nil {
		return nil, err
	}
	if err := writeCertificates(n, cert); err != nil {
		return nil, err
	}
	return OpenNext(cfg)
}

// generate makes a key of one of the types of the fleet file.
func generate(kind renewer.KeyType) (crypto.Signer, error) {
	switch kind {
	case renewer.Ed25519:
		return keyutil.GenerateSigner("OKP", "Ed25519", 0)
	case renewer.ECDSAP256:
		return keyutil.GenerateSigner("EC", "P-256", 0)
	case renewer.ECDSAP384:
		return keyutil.GenerateSigner("EC", "P-384", 0)
	}
	if bits, err := strconv.Atoi(strings.TrimPrefix(string(kind), "rsa-")); err == nil && bits >= minRSABits && bits <= 8192 {
		return keyutil.GenerateSigner("RSA", "", bits)
	}
	return nil, fmt.Errorf("a CA has no key of type %q; expected ecdsa-p256, ecdsa-p384, ed25519, rsa-3072 or rsa-4096", kind)
}

// successor names the CA after another one: peers and people tell the two apart.
func successor(cn, issuer string) string {
	if cn == "" {
		cn = fmt.Sprintf("renewer %s CA", issuer)
	}
	base, number := cn, 1
	if i := strings.LastIndexByte(cn, ' '); i > 0 {
		if n, err := strconv.Atoi(cn[i+1:]); err == nil && n > 0 && n < 1_000_000 {
			base, number = cn[:i], n
		}
	}
	if next := fmt.Sprintf("%s %d", base, number+1); len(next) <= maxCommonName {
		return next
	}
	return cn
}

// prepareNext makes room for the next CA, and refuses where there is one. A key
// without its certificate has signed nothing.
func prepareNext(cfg Config) (Config, []byte, error) {
	n := cfg.next()
	if err := settle(cfg); err != nil {
		return n, nil, err
	}
	passphrase, err := prepare(n)
	if err != nil {
		return n, nil, err
	}
	if err := remove(n.KeyFile); err != nil {
		return n, nil, fileError(cfg, err)
	}
	return n, passphrase, nil
}

// ImportNext takes a CA that was made elsewhere as the next one; see Import. accept is
// asked before anything is written.
func ImportNext(cfg Config, certFile, keyFile string, passphrase func() ([]byte, error), accept func(*Authority) error) (*Authority, error) {
	signing, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	n, own, err := prepareNext(cfg)
	if err != nil {
		return nil, err
	}
	n.from.next = true
	return takeOver(n, own, certFile, keyFile, passphrase, func(a *Authority) error {
		if a.chain[0].Equal(signing.chain[0]) {
			return misconfigured("renewer ca show "+cfg.Name+" shows it", "issuer %s already signs with this CA: %s", cfg.Name, subject(a.chain[0]))
		}
		return accept(a)
	})
}

// Reissue makes the next CA out of the signing one: the same key and name, with the
// extensions that strict peers ask for, and a longer life. What the CA has signed
// leads to both. Only the lifetime of the options can be chosen; it may not end before
// that of the CA, as certificates have to fit.
func Reissue(cfg Config, o NextOptions) (*Authority, error) {
	signing, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	was := signing.chain[0]
	if was != signing.root {
		return nil, misconfigured(fromAbove(cfg.Name),
			"issuer %s: %s was signed by %s, and only that CA can sign it again", cfg.Name, subject(was), subject(signing.root))
	}
	now := time.Now().Truncate(time.Second)
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{}, RawSubject: was.RawSubject, SubjectKeyId: signing.authority, // leaves name both
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(10, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: was.MaxPathLen, MaxPathLenZero: was.MaxPathLenZero,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	constrain(tmpl, was)
	if o.Lifetime > 0 {
		tmpl.NotAfter = now.Add(o.Lifetime)
	}
	if tmpl.NotAfter.Before(was.NotAfter) && o.Lifetime > 0 {
		return nil, misconfigured("give a longer --lifetime, or none: renewer ca reissue "+cfg.Name,
			"issuer %s: with this lifetime the CA would expire at %s, before the current one, at %s", cfg.Name, date(tmpl.NotAfter), date(was.NotAfter))
	} else if tmpl.NotAfter.Before(was.NotAfter) {
		tmpl.NotAfter = was.NotAfter
	}
	cert, err := x509util.CreateCertificate(tmpl, tmpl, signing.cas.Signer.Public(), signing.cas.Signer)
	if err != nil {
		return nil, misconfigured("", "reissue the CA certificate of issuer %s: %w", cfg.Name, err)
	}
	would, err := newAuthority(cfg.next(), pki.PEM(cert), cfg.next().CertFile, privateKey{signer: signing.cas.Signer})
	if err == nil {
		err = o.accept(would)
	}
	if err != nil {
		return nil, err
	}
	n, _, err := prepareNext(cfg)
	if err != nil {
		return nil, err
	}
	if err := writeCertificates(n, cert); err != nil {
		return nil, err
	}
	return OpenNext(cfg)
}

// constrain keeps what a CA may sign. The usage "any" limits nothing, but at OpenSSL,
// which does not count it: it is left out.
func constrain(tmpl, was *x509.Certificate) {
	tmpl.PermittedDNSDomainsCritical = was.PermittedDNSDomainsCritical
	tmpl.PermittedDNSDomains, tmpl.ExcludedDNSDomains = was.PermittedDNSDomains, was.ExcludedDNSDomains
	tmpl.PermittedIPRanges, tmpl.ExcludedIPRanges = was.PermittedIPRanges, was.ExcludedIPRanges
	tmpl.PermittedEmailAddresses, tmpl.ExcludedEmailAddresses = was.PermittedEmailAddresses, was.ExcludedEmailAddresses
	tmpl.PermittedURIDomains, tmpl.ExcludedURIDomains = was.PermittedURIDomains, was.ExcludedURIDomains
	if !slices.Contains(was.ExtKeyUsage, x509.ExtKeyUsageAny) {
		tmpl.ExtKeyUsage, tmpl.UnknownExtKeyUsage = was.ExtKeyUsage, was.UnknownExtKeyUsage
	}
}

// OpenNext opens the next CA; the error is fs.ErrNotExist where there is none. One
// that was reissued has the key of the signing CA.
func OpenNext(cfg Config) (*Authority, error) {
	n := cfg.next()
	next, _, err := NextRoot(cfg)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(n.KeyFile); errors.Is(err, fs.ErrNotExist) {
		signs, _, err := ends(cfg, cfg.CertFile)
		if err != nil {
			return nil, err
		}
		if own, ok := signs.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(next.PublicKey) {
			return nil, misconfigured(orCancel(cfg), "issuer %s has a next CA (%s), but its key is missing: %s", cfg.Name, n.CertFile, n.KeyFile)
		}
		n.KeyFile = cfg.KeyFile
	}
	a, err := Open(n)
	if err != nil {
		return nil, misconfigured(renewer.Hint(err)+"; or "+orCancel(cfg), "%w", err)
	}
	return a, nil
}

// orCancel is what to do about a file of the next CA.
func orCancel(cfg Config) string {
	return "restore the file; or cancel and start again: renewer ca rotate " + cfg.Name + " --cancel"
}

// NextRoot returns the root of the next CA without its key, and the certificate
// that will sign; fs.ErrNotExist where there is none.
func NextRoot(cfg Config) (signs, root *x509.Certificate, err error) {
	if signs, root, err = ends(cfg, cfg.next().CertFile); err != nil {
		err = misconfigured(orCancel(cfg), "%w", err)
	}
	return signs, root, err
}

// Signing returns the certificate that signs now, without its key.
func Signing(cfg Config) (*x509.Certificate, error) {
	signs, _, err := SigningRoot(cfg)
	return signs, err
}

// SigningRoot is Signing, with the root above.
func SigningRoot(cfg Config) (signs, root *x509.Certificate, err error) {
	return ends(cfg, cfg.CertFile)
}

// LeadsTo reports whether a CA is above the one that signs, or above the next one.
func LeadsTo(cfg Config, ca *x509.Certificate) (bool, error) {
	for _, file := range []string{cfg.CertFile, cfg.next().CertFile} {
		data, err := readCertificateFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, fileError(cfg, err)
		}
		certs, err := parseCertificates(cfg, data, file)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(certs[1:], func(c *x509.Certificate) bool { return Twins(c, ca) }) {
			return true, nil
		}
	}
	return false, nil
}

// Twins reports whether two CAs have the same name and key: what one has signed leads to
// both.
func Twins(a, b *x509.Certificate) bool {
	key, ok := a.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b.PublicKey) && bytes.Equal(a.RawSubject, b.RawSubject)
}

// ends returns the ends of the chain in a file that renewer wrote: first the CA, last
// its root.
func ends(cfg Config, file string) (signs, root *x509.Certificate, err error) {
	data, err := readCertificateFile(file)
	if err != nil {
		return nil, nil, fileError(cfg, err)
	}
	certs, err := parseCertificates(cfg, data, file)
	if err != nil {
		return nil, nil, err
	}
	return certs[0], certs[len(certs)-1], nil
}

// DropNext removes the next CA: certificate first, so that no key is ever missing
// beside one.
func DropNext(cfg Config) error {
	n := cfg.next()
	if _, err := os.Lstat(n.CertFile); err != nil { // a key alone may be the one that signs; else a Switch has not begun
		if err := settle(cfg); err != nil {
			return err
		}
	}
	for _, file := range []string{n.CertFile, n.KeyFile} {
		if err := remove(file); err != nil {
			return fileError(cfg, err)
		}
	}
	return nil
}

// remove removes a file that may be missing, for good.
func remove(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

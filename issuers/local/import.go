package local

import (
	"cmp"
	"errors"
	"io/fs"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Import takes over a CA that something else made, such as openssl, and
// returns it opened. certFile holds the CA and, for an intermediate, what is
// above it; keyFile its key, which others than its owner must not be able to read;
// empty where both are in one file. Either may be PEM, DER or PKCS #12.
//
// An encrypted key is opened with the issuer's own passphrase if that fits,
// else with what passphrase returns; it may be nil, and is called at most once. The
// key is stored encrypted with the issuer's passphrase. Without one, an
// encrypted key is refused: it never becomes a plain file by itself.
//
// Nothing is overwritten, and nothing is written unless all of it can be used
// now. A crash between key and certificate is completed by the same call.
func Import(cfg Config, certFile, keyFile string, passphrase func() ([]byte, error)) (*Authority, error) {
	own, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	return takeOver(cfg, own, certFile, keyFile, passphrase, func(*Authority) error { return nil })
}

// takeOver is Import once there is room. own is the issuer's passphrase.
func takeOver(cfg Config, own []byte, certFile, keyFile string, passphrase func() ([]byte, error), accept func(*Authority) error) (*Authority, error) {
	if passphrase != nil {
		passphrase = sync.OnceValues(passphrase)
	}
	cfg.from.cert, cfg.from.key = certFile, cmp.Or(keyFile, certFile)
	o := opener{own, passphrase}
	cert, err := foreign(cfg, "--cert", certFile, readCertificateFile, o)
	if err != nil {
		return nil, err
	}
	if !hasCertificate(cert.text) {
		_, err := parseCertificates(cfg, cert.text, certFile)
		return nil, renewer.WithHint(err, "set the file of the certificate: --cert FILE")
	}
	if keyFile == "" && !hasKey(cert.text) {
		return nil, misconfigured("set the file of the key: --key FILE", "import into issuer %s: %s has no private key", cfg.Name, certFile)
	}
	keyFile = cfg.from.key
	cfg.from.pkcs12, cfg.from.legacy = cert.pkcs12 && keyFile == certFile, cert.legacy
	key, err := openForeignKey(cfg, keyFile, o)
	if err != nil {
		return nil, err
	}
	if key.encrypted && own == nil {
		plain := "openssl pkey -in " + keyFile + " -out NEW-KEY.pem; " + cfg.take(certFile, "NEW-KEY.pem")
		if cfg.from.pkcs12 {
			plain = cfg.unpack(keyFile) + "; " + cfg.take("NEW-ALL.pem", "NEW-ALL.pem")
		}
		return nil, misconfigured("set passphrase_file of issuer "+cfg.Name+" in the fleet file; or, to store it unencrypted, decrypt it first: "+plain,
			"%s is encrypted, but issuer %s has no passphrase_file", keyFile, cfg.Name)
	}
	key.encrypted = own != nil
	a, err := newAuthority(cfg, cert.text, certFile, key)
	if err != nil {
		return nil, err
	}
	if err := a.validAt(time.Now()); err != nil {
		return nil, err
	}
	for _, c := range a.path() {
		if pki.Weak(c) && c != a.root {
			return nil, misconfigured("have it signed again by "+c.Issuer.String()+" with SHA-256 or more",
				"%s: %s is signed with %s, which peers refuse for certificates below a root", certFile, subject(c), c.SignatureAlgorithm)
		}
	}
	if err := accept(a); err != nil {
		return nil, err
	}
	if err := storeKey(cfg, key, own); err != nil {
		return nil, err
	}
	certs := a.chain
	if a.root != a.chain[0] {
		certs = append(certs[:len(certs):len(certs)], a.root)
	}
	if err := writeCertificates(cfg, certs...); err != nil {
		return nil, err
	}
	return a, nil
}

// foreign reads a file that a flag names.
func foreign(cfg Config, flag, file string, read func(string) ([]byte, error), o opener) (m material, err error) {
	data, err := read(file)
	if err != nil && renewer.Hint(err) == "" {
		err = renewer.WithHint(err, "set the file: "+flag+" FILE")
	}
	if err == nil {
		m, err = readMaterial(cfg, data, file, o)
	}
	if err != nil {
		return m, misconfigured(renewer.Hint(err), "import into issuer %s: %w", cfg.Name, err)
	}
	return m, nil
}

// openForeignKey says of a key that was encrypted in its container that it is encrypted.
func openForeignKey(cfg Config, file string, o opener) (privateKey, error) {
	m, err := foreign(cfg, "--key", file, func(file string) ([]byte, error) {
		data, err := readKeyFile(file)
		if all, failed := readCertificateFile(file); failed == nil && hasCertificate(pki.Plain(all)) && !hasKey(all) {
			return all, nil // others may read it: there is no key in it
		}
		return data, err
	}, o)
	if err != nil {
		return privateKey{}, err
	}
	key, err := parseKey(cfg, m.text, file, o.own)
	if o.ask != nil && (errors.Is(err, errNoPassphrase) || errors.Is(err, errWrongPassphrase)) {
		passphrase, failed := o.ask()
		if failed != nil {
			return privateKey{}, misconfigured("", "ask for the passphrase of %s: %w", file, failed)
		}
		key, err = parseKey(cfg, m.text, file, passphrase)
	}
	key.encrypted = key.encrypted || m.sealed
	return key, err
}

// storeKey accepts the same key from an earlier Import that was cut short.
func storeKey(cfg Config, key privateKey, passphrase []byte) error {
	data, err := readKeyFile(cfg.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return writeKey(cfg, key.signer, passphrase)
	}
	if err != nil {
		return fileError(cfg, err)
	}
	kept, err := parseKey(cfg, data, cfg.KeyFile, passphrase)
	if err != nil {
		return err
	}
	if !kept.belongsTo(key.signer.Public()) || kept.encrypted != (passphrase != nil) {
		return exists(cfg, cfg.KeyFile)
	}
	return nil
}

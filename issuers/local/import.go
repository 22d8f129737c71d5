package local

import (
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
	certPEM, err := readCertificateFile(certFile)
	if err == nil {
		certPEM, err = material(certPEM, certFile, passphrase)
	}
	if err != nil {
		return nil, misconfigured(renewer.Hint(err), "import into issuer %s: %w", cfg.Name, err)
	}
	if keyFile == "" {
		if !hasKey(certPEM) {
			return nil, misconfigured("name the file of the key: --key FILE", "import into issuer %s: %s holds no private key", cfg.Name, certFile)
		}
		keyFile = certFile
	}
	key, err := openForeignKey(cfg, keyFile, own, passphrase)
	if err != nil {
		return nil, err
	}
	if key.encrypted && own == nil {
		return nil, misconfigured("set passphrase_file of issuer "+cfg.Name+" in the fleet file; or, if it shall be stored in the clear, decrypt it first: openssl pkey -in "+keyFile+" -out PLAIN",
			"%s is encrypted, and issuer %s has no passphrase_file to keep it so", keyFile, cfg.Name)
	}
	key.encrypted = own != nil
	a, err := newAuthority(cfg, certPEM, certFile, key)
	if err != nil {
		return nil, err
	}
	if err := a.validAt(time.Now()); err != nil {
		return nil, err
	}
	for _, c := range a.path() {
		if pki.Weak(c) && c != a.root {
			return nil, misconfigured("have it signed anew by "+c.Issuer.String()+" with SHA-256 or more",
				"%s: %s is signed with %s, which peers refuse of what is below a root", certFile, subject(c), c.SignatureAlgorithm)
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

func openForeignKey(cfg Config, file string, own []byte, ask func() ([]byte, error)) (privateKey, error) {
	data, err := readKeyFile(file)
	if err == nil {
		data, err = material(data, file, ask)
	}
	if err != nil {
		return privateKey{}, misconfigured(renewer.Hint(err), "import into issuer %s: %w", cfg.Name, err)
	}
	key, err := parseKey(data, file, own)
	if ask == nil || !errors.Is(err, errNoPassphrase) && !errors.Is(err, errWrongPassphrase) {
		return key, err
	}
	passphrase, err := ask()
	if err != nil {
		return privateKey{}, misconfigured("", "ask for the passphrase of %s: %w", file, err)
	}
	return parseKey(data, file, passphrase)
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
	kept, err := parseKey(data, cfg.KeyFile, passphrase)
	if err != nil {
		return err
	}
	if !kept.belongsTo(key.signer.Public()) || kept.encrypted != (passphrase != nil) {
		return exists(cfg, cfg.KeyFile)
	}
	return nil
}

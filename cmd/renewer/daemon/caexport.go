package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"

	"renewer/configs"
	"renewer/internal/atomicfile"
	"renewer/issuers/local"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// CAExport is what is to be exported of a local CA. A passphrase is asked for
// where the form has one.
type CAExport struct {
	Issuer     string
	Format     string // pem, der or pkcs12
	Key        bool   // the private key too
	Passphrase func() ([]byte, error)
}

// Bytes returns it. What has no key is the signing CA with what is above it, in
// DER and PKCS #12 the root alone, which is what stores of trust take.
func (e CAExport) Bytes(fleet *configs.Fleet) ([]byte, error) {
	cfg, err := localIssuer(fleet, e.Issuer)
	if err != nil {
		return nil, err
	}
	var passphrase []byte
	if e.Passphrase != nil {
		if passphrase, err = e.Passphrase(); err != nil {
			return nil, err
		}
	}
	switch {
	case e.Format == "pkcs12" && e.Key:
		return local.ExportPKCS12(cfg, string(passphrase))
	case e.Format == "pkcs12":
		return local.ExportTrust(cfg, string(passphrase))
	case e.Key:
		return local.ExportKey(cfg, passphrase)
	}
	var path []*x509.Certificate
	if path, err = local.Certificates(cfg); err != nil {
		return nil, err
	}
	if e.Format == "der" {
		return path[len(path)-1].Raw, nil
	}
	return pki.PEM(path...), nil
}

// WriteExport writes a file that is not there yet; one with a key is its owner's
// alone.
func WriteExport(path string, data []byte, secret bool) error {
	mode := fs.FileMode(0o644)
	if secret {
		mode = 0o600
	}
	err := atomicfile.WriteNew(path, data, mode)
	if errors.Is(err, fs.ErrExist) {
		return renewer.WithHint(fmt.Errorf("%s is there already, and is not overwritten", path), "name another file, or move that one away")
	}
	return err
}

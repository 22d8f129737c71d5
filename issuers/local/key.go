package local

import (
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"go.step.sm/crypto/pemutil"

	"renewer/internal/atomicfile"
	"renewer/renewer"
	"renewer/renewer/pki"
)

const (
	maxKeyFile = 64 << 10
)

type privateKey struct {
	signer    crypto.Signer
	file      string
	encrypted bool // in its file
}

// belongsTo reports whether pub is the key's public half.
func (k privateKey) belongsTo(pub crypto.PublicKey) bool {
	own, ok := k.signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(pub)
}

func readKeyFile(path string) ([]byte, error) { return atomicfile.ReadSecret(path, maxKeyFile) }

// readPassphrase refuses an empty one.
func readPassphrase(cfg Config) ([]byte, error) {
	data, err := atomicfile.ReadPassphrase(cfg.PassphraseFile)
	if errors.Is(err, fs.ErrNotExist) && renewer.Hint(err) == "" {
		err = renewer.WithHint(err, "write the passphrase into that file, with mode 0600; or set passphrase_file of issuer "+cfg.Name+" to the file that has it")
	}
	if err != nil {
		return nil, fileError(cfg, fmt.Errorf("passphrase: %w", err))
	}
	if len(data) == 0 {
		return nil, misconfigured("write the passphrase into it", "passphrase_file of issuer %s: %s is empty", cfg.Name, cfg.PassphraseFile)
	}
	return data, nil
}

// errNoPassphrase and errWrongPassphrase are what Import asks again for.
var (
	errNoPassphrase    = errors.New("the key is encrypted and no passphrase is given")
	errWrongPassphrase = errors.New("the passphrase is wrong, or the file is damaged")
)

// parseKey reads the one private key of a PEM file. The errors of the parsers
// below are left out: they speak of bytes that no one may see.
func parseKey(cfg Config, data []byte, file string, passphrase []byte) (privateKey, error) {
	block, err := keyBlock(data, file)
	if err != nil {
		return privateKey{}, err
	}
	k := privateKey{file: file}
	if k.encrypted, err = encryption(block); err != nil {
		return privateKey{}, misconfigured(convertHint(file), "%s: %w", file, err)
	}
	if k.encrypted && len(passphrase) == 0 {
		return privateKey{}, misconfigured("set passphrase_file of issuer "+cfg.Name+" in the fleet file", "%s: %w", file, errNoPassphrase)
	}
	if k.encrypted {
		der, _ := pemutil.DecryptPEMBlock(block, passphrase) // nil where it is the wrong one, or what cannot be parsed
		block = &pem.Block{Type: strings.TrimPrefix(block.Type, "ENCRYPTED "), Bytes: der}
	}
	parsed, err := pemutil.Parse(pem.EncodeToMemory(block), pemutil.WithFilename(file))
	if name := pki.PrivateKeyAlgorithm(block.Bytes); err != nil && name != "" {
		return privateKey{}, unknownKey(cfg, name, file, "this CA")
	}
	if err != nil && k.encrypted {
		return privateKey{}, misconfigured("check passphrase_file of issuer "+cfg.Name+"; openssl pkey -in "+file+" -noout tests the passphrase",
			"%s: %w", file, errWrongPassphrase)
	}
	if err != nil {
		return privateKey{}, misconfigured("openssl pkey -in "+file+" -noout -check shows how openssl reads it",
			"%s has no readable RSA, ECDSA or Ed25519 private key", file)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return privateKey{}, misconfigured("", "%s: a key of this type cannot sign", file)
	}
	k.signer = signer
	return k, nil
}

// keyBlock finds the private key among what openssl writes beside it:
// parameters of a curve, certificates.
func keyBlock(data []byte, file string) (*pem.Block, error) {
	var key *pem.Block
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			if key != nil {
				return nil, misconfigured("leave only the CA's key in it", "%s has more than one private key", file)
			}
			key = block
		case "EC PARAMETERS", "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		case "OPENSSH PRIVATE KEY":
			return nil, misconfigured("ssh-keygen -p -m PKCS8 -f COPY converts a copy of it", "%s is a key of OpenSSH", file)
		default:
			return nil, misconfigured("the file must be PEM: -----BEGIN PRIVATE KEY-----", "%s: unexpected PEM block %.40q", file, block.Type)
		}
	}
	if key == nil {
		return nil, misconfigured("set the file of the key: --key FILE; in PEM it begins with -----BEGIN PRIVATE KEY-----", "%s has no private key", file)
	}
	return key, nil
}

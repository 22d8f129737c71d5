package renewer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Content makes what the files of a placement hold: ca is the roots, cert is
// the leaf and then the intermediates without the root, leaf the leaf alone,
// key a PKCS #8 PEM, bundle the key and then cert. It is the last look before
// anything is written: a key that does not belong to the leaf is an error.
func Content(files map[FileKind]string, chain Chain, key crypto.Signer, roots []*x509.Certificate) (map[FileKind][]byte, error) {
	out := map[FileKind][]byte{}
	for kind := range files {
		if kind == FileCA {
			if len(roots) == 0 {
				return nil, errors.New("there is no root for the ca file")
			}
			out[kind] = PEM(roots...)
			continue
		}
		if chain.Leaf == nil || key == nil {
			return nil, fmt.Errorf("the %s file needs a certificate with its key", kind)
		}
		if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(chain.Leaf.PublicKey) {
			return nil, errors.New("the key does not belong to the certificate")
		}
		keyPEM, err := EncodeKey(key)
		if err != nil {
			return nil, err
		}
		certs := PEM(append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...)...)
		switch kind {
		case FileCert:
			out[kind] = certs
		case FileLeaf:
			out[kind] = PEM(chain.Leaf)
		case FileKey:
			out[kind] = keyPEM
		case FileBundle:
			out[kind] = append(bytes.Clone(keyPEM), certs...)
		default:
			return nil, fmt.Errorf("unknown kind of file %q", kind)
		}
	}
	return out, nil
}

// NewKey makes a private key.
func NewKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("unknown key type %q", t)
	}
}

// KeyTypeOf names the type of a public key; empty for one that renewer would
// not make.
func KeyTypeOf(pub crypto.PublicKey) KeyType {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return KeyType("ecdsa-p" + fmt.Sprint(k.Curve.Params().BitSize))
	case ed25519.PublicKey:
		return Ed25519
	case *rsa.PublicKey:
		return KeyType("rsa-" + fmt.Sprint(k.N.BitLen()))
	default:
		return ""
	}
}

// EncodeKey returns a key as PKCS #8 PEM (RFC 5958), unencrypted.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// DecodeKey reads the first private key of a PEM text: PKCS #8, or as openssl
// wrote it before. Its errors never hold any of the text.
func DecodeKey(text []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, errors.New("there is no private key in the PEM text")
		}
		var key any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, errors.New("the private key cannot be read: it is damaged, encrypted or of an unknown kind")
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, errors.New("the private key cannot sign")
		}
		return signer, nil
	}
}

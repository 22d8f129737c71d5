package pki

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
	"slices"
	"strings"

	"renewer/renewer"
)

// Content makes what the files of a placement hold, in PEM:
//
//	cert    the leaf, then the intermediates, no root
//	leaf    the leaf alone
//	key     the private key, PKCS #8 (RFC 5958)
//	bundle  the key, then what cert holds
//	ca      the roots
//
// It is the last look before anything is written: a key that is not the
// leaf's is an error. Chain and key are needed only where a file needs them.
func Content(files map[renewer.FileKind]string, chain renewer.Chain, key crypto.Signer, roots []*x509.Certificate) (map[renewer.FileKind][]byte, error) {
	out := make(map[renewer.FileKind][]byte, len(files))
	for kind := range files {
		if kind == renewer.FileCA {
			if len(roots) == 0 {
				return nil, errors.New("no root for the ca file")
			}
			out[kind] = PEM(roots...)
			continue
		}
		certs, keyPEM, err := pair(chain, key)
		if err != nil {
			return nil, err
		}
		switch kind {
		case renewer.FileCert:
			out[kind] = certs
		case renewer.FileLeaf:
			out[kind] = PEM(chain.Leaf)
		case renewer.FileKey:
			out[kind] = keyPEM
		case renewer.FileBundle:
			out[kind] = slices.Concat(keyPEM, certs)
		default:
			return nil, fmt.Errorf("unknown kind of file %q", kind)
		}
	}
	return out, nil
}

func pair(chain renewer.Chain, key crypto.Signer) (certs, keyPEM []byte, err error) {
	switch {
	case chain.Leaf == nil || key == nil:
		return nil, nil, errors.New("no certificate to place")
	case !Belongs(key, chain.Leaf):
		return nil, nil, renewer.WithHint(errors.New("the private key does not match the certificate"), "renew the certificate to get a new pair")
	}
	list := []*x509.Certificate{chain.Leaf}
	for _, c := range chain.Intermediates { // some issuers send the root along
		if !bytes.Equal(c.RawSubject, c.RawIssuer) || c.CheckSignatureFrom(c) != nil {
			list = append(list, c)
		}
	}
	keyPEM, err = EncodeKey(key)
	return PEM(list...), keyPEM, err
}

// Belongs reports whether a private key is a certificate's.
func Belongs(key crypto.Signer, c *x509.Certificate) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && c != nil && pub.Equal(c.PublicKey)
}

// NewKey makes a private key.
func NewKey(t renewer.KeyType) (crypto.Signer, error) {
	switch t {
	case renewer.ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case renewer.ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case renewer.Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case renewer.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case renewer.RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case renewer.RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	default:
		return nil, fmt.Errorf("unknown key type %q", t)
	}
}

// KeyTypeOf names the type of a public key; empty for one that renewer would
// not make.
func KeyTypeOf(pub crypto.PublicKey) renewer.KeyType {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return renewer.KeyType("ecdsa-p" + fmt.Sprint(k.Curve.Params().BitSize))
	case ed25519.PublicKey:
		return renewer.Ed25519
	case *rsa.PublicKey:
		return renewer.KeyType("rsa-" + fmt.Sprint(k.N.BitLen()))
	default:
		return ""
	}
}

// EncodeKey returns a key as PKCS #8 PEM (RFC 5958), unencrypted.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := pkcs8(key)
	if err != nil {
		return nil, fmt.Errorf("encode the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// What stands in front of the two halves of a P-256 key in PKCS #8 (RFC 5958,
// RFC 5915, RFC 5480): always the same.
const (
	p256Private = "\x30\x81\x87\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b\x02\x01\x01\x04\x20"
	p256Public  = "\xa1\x44\x03\x42\x00"
)

// pkcs8 is x509.MarshalPKCS8PrivateKey, which takes a twentieth of an order for
// the usual kind of key.
func pkcs8(key crypto.Signer) ([]byte, error) {
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok || k.Curve != elliptic.P256() {
		return x509.MarshalPKCS8PrivateKey(key)
	}
	private, err := k.Bytes()
	if err != nil {
		return nil, err
	}
	public, err := k.PublicKey.Bytes()
	return slices.Concat([]byte(p256Private), private, []byte(p256Public), public), err
}

// DecodeKey reads the first private key of a PEM text, PKCS #8 or as openssl
// wrote it before. Its errors never hold any of the text.
func DecodeKey(text []byte) (crypto.Signer, error) {
	block := KeyBlock(text)
	if block == nil {
		return nil, errors.New("no private key in PEM")
	}
	if strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
		return nil, errors.New("the private key is encrypted")
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if name := PrivateKeyAlgorithm(block.Bytes); err != nil && name != "" {
		return nil, fmt.Errorf("the private key is %s, and cannot be parsed", name) // the cause might quote it
	}
	if err != nil {
		return nil, errors.New("the private key cannot be parsed")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

// KeyBlock returns the first private key block of a PEM text; nil for none.
func KeyBlock(text []byte) *pem.Block {
	for block, rest := pem.Decode(Plain(text)); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
	return nil
}

// DecodeCertificates reads every certificate of a PEM text; there must be one
// at least.
func DecodeCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(Plain(text)); block != nil; block, rest = pem.Decode(rest) {
		der := CertificateDER(block)
		if der == nil {
			continue
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, unreadable(len(certs)+1, der, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return certs, nil
}

package hosts

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"renewer/renewer"
)

// Content makes what goes into each file of a placement, in PEM:
//
//	cert    the leaf, then the intermediates, no root
//	leaf    the leaf alone
//	key     the private key, PKCS #8 (RFC 5958)
//	bundle  the key, the leaf, the intermediates
//	ca      the roots
//
// The chain and the key are looked at only where a file needs them. It
// refuses what a service would stumble over: a key that is not the leaf's, a
// chain in which one certificate did not sign the one before.
func Content(files map[renewer.FileKind]string, chain renewer.Chain, keyPEM []byte, roots []*x509.Certificate) (map[renewer.FileKind][]byte, error) {
	var certs, leaf, key []byte
	if slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(k renewer.FileKind) bool { return k != renewer.FileCA }) {
		if chain.Leaf == nil {
			return nil, errors.New("there is no certificate to place")
		}
		inters := withoutRoots(chain.Intermediates)
		if err := linked(append([]*x509.Certificate{chain.Leaf}, inters...)); err != nil {
			return nil, err
		}
		leaf = renewer.PEM(chain.Leaf)
		certs = slices.Concat(leaf, renewer.PEM(inters...))
	}
	out := make(map[renewer.FileKind][]byte, len(files))
	for kind := range files {
		if kind.Secret() && key == nil {
			var err error
			if key, err = keyFor(chain.Leaf, keyPEM); err != nil {
				return nil, err
			}
		}
		switch kind {
		case renewer.FileCert:
			out[kind] = certs
		case renewer.FileLeaf:
			out[kind] = leaf
		case renewer.FileKey:
			out[kind] = key
		case renewer.FileBundle:
			out[kind] = slices.Concat(key, certs)
		case renewer.FileCA:
			if len(roots) == 0 {
				return nil, errors.New("there is no root for the ca file")
			}
			out[kind] = renewer.PEM(roots...)
		default:
			return nil, fmt.Errorf("unknown kind of file %q", kind)
		}
	}
	return out, nil
}

func withoutRoots(certs []*x509.Certificate) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil
	})
}

func linked(chain []*x509.Certificate) error {
	for i, c := range chain[1:] {
		if err := chain[i].CheckSignatureFrom(c); err != nil {
			return renewer.WithHint(fmt.Errorf("chain: %q did not sign %q: %w", c.Subject, chain[i].Subject, err),
				"the issuer's intermediates are of another CA or in the wrong order")
		}
	}
	return nil
}

// keyFor returns the key as PKCS #8 PEM if it is the leaf's.
func keyFor(leaf *x509.Certificate, keyPEM []byte) ([]byte, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !matches(leaf, key) {
		return nil, renewer.WithHint(errors.New("the private key is not the certificate's: their public keys differ"), "renew the certificate to get a new pair")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func matches(leaf *x509.Certificate, key crypto.Signer) bool {
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && leaf != nil && pub.Equal(leaf.PublicKey)
}

// keyBlock finds the first private key in PEM.
func keyBlock(data []byte) *pem.Block {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return block
		}
	}
	return nil
}

// parseKey reads an unencrypted key as PKCS #8, SEC 1 or PKCS #1.
func parseKey(data []byte) (crypto.Signer, error) {
	block := keyBlock(data)
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
	if err != nil {
		return nil, errors.New("the private key cannot be parsed") // the cause might quote it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

// parseCerts reads every certificate in PEM; there must be one at least.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be parsed: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return certs, nil
}

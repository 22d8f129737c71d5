package pki

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"unicode/utf16"
)

const utf8Mark = "\ufeff"

// Plain returns PEM as pem.Decode finds it: without the byte order marks of an
// editor, from UTF-16, with lines that end as they should and begin at their
// first letter. Other text stays as it is.
func Plain(text []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte{0xff, 0xfe}), bytes.HasPrefix(text, []byte("-\x00")):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte{0xfe, 0xff}), bytes.HasPrefix(text, []byte("\x00-")):
		order = binary.BigEndian
	}
	if order != nil {
		units := make([]uint16, len(text)/2)
		for i := range units {
			units[i] = order.Uint16(text[2*i:])
		}
		text = []byte(string(utf16.Decode(units)))
	}
	if bytes.Contains(text, []byte(utf8Mark)) {
		text = bytes.ReplaceAll(text, []byte(utf8Mark), nil)
	}
	if bytes.IndexByte(text, '\n') < 0 {
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	if bytes.Contains(text, []byte(" -----")) || bytes.Contains(text, []byte("\t-----")) {
		lines := bytes.Split(text, []byte("\n"))
		for i := range lines {
			lines[i] = bytes.TrimLeft(lines[i], " \t")
		}
		text = bytes.Join(lines, []byte("\n"))
	}
	return text
}

// CertificateDER returns the certificate of a PEM block; nil if it holds none.
// openssl's TRUSTED CERTIFICATE has notes of its own behind the certificate.
func CertificateDER(block *pem.Block) []byte {
	switch block.Type {
	case "CERTIFICATE", "X509 CERTIFICATE":
		return block.Bytes
	case "TRUSTED CERTIFICATE":
		var first asn1.RawValue
		if _, err := asn1.Unmarshal(block.Bytes, &first); err == nil {
			return first.FullBytes
		}
		return block.Bytes
	default:
		return nil
	}
}

// Algorithms of RFC 5280, RFC 4055, RFC 5480 and RFC 8410 by what they are
// called, where crypto/x509 does not know them or not all of their parameters.
var algorithms = map[string]string{
	"1.2.840.113549.1.1.10": "RSA-PSS", "1.2.840.10040.4.1": "DSA", "2.16.840.1.101.3.4.3.2": "DSA",
	"1.3.101.113": "Ed448", "1.3.101.111": "X448", "1.3.101.110": "X25519", "1.2.840.10046.2.1": "Diffie-Hellman",
	"1.3.132.0.10": "secp256k1", "1.3.132.0.33": "P-224", "1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384", "1.3.132.0.35": "P-521",
	"1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1", "1.3.36.3.3.2.8.1.1.11": "brainpoolP384r1", "1.3.36.3.3.2.8.1.1.13": "brainpoolP512r1",
	"1.3.36.3.3.2.8.1.1.8": "brainpoolP256t1", "1.3.36.3.3.2.8.1.1.12": "brainpoolP384t1", "1.3.36.3.3.2.8.1.1.14": "brainpoolP512t1",
}

var ecPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1} // id-ecPublicKey of RFC 5480

type algorithm struct {
	ID         asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// name is what people call it.
func (a algorithm) name() string {
	if a.ID.Equal(ecPublicKey) {
		var curve asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(a.Parameters.FullBytes, &curve); err != nil {
			return "ECDSA with explicit curve parameters, those of " + explicitCurve(a.Parameters.FullBytes)
		}
		if name, ok := algorithms[curve.String()]; ok {
			return "ECDSA on " + name
		}
		return "ECDSA on the curve " + curve.String()
	}
	if name, ok := algorithms[a.ID.String()]; ok {
		return name
	}
	return "algorithm " + a.ID.String()
}

// explicitCurve names the curve whose parameters stand there in full (ECParameters of
// RFC 3279, section 2.3.5), by the prime of its field.
func explicitCurve(parameters []byte) string {
	var p struct {
		Version int
		Field   struct {
			Type  asn1.ObjectIdentifier
			Prime *big.Int
		}
		Curve, Base, Order asn1.RawValue
		Cofactor           asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(parameters, &p); err == nil {
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			if curve.Params().P.Cmp(p.Field.Prime) == 0 {
				return curve.Params().Name
			}
		}
	}
	return "another curve than P-256, P-384 and P-521"
}

// KeyAlgorithm names the algorithm of the public key in a certificate (DER) that
// crypto/x509 may not read; empty if it is no certificate.
func KeyAlgorithm(der []byte) string {
	_, key := algorithmsOf(der)
	return key
}

// SignatureAlgorithm names that of its signature; empty if it is no certificate.
func SignatureAlgorithm(der []byte) string {
	signature, _ := algorithmsOf(der)
	return signature
}

// algorithmsOf reads as much of a certificate as is before its extensions.
func algorithmsOf(der []byte) (signature, key string) {
	var c struct {
		TBS struct {
			Version                                      int `asn1:"optional,explicit,default:0,tag:0"`
			Serial, Signature, Issuer, Validity, Subject asn1.RawValue
			Key                                          struct {
				Algorithm algorithm
				Bits      asn1.BitString
			}
		}
		Signature algorithm
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		return "", ""
	}
	return c.Signature.name(), c.TBS.Key.Algorithm.name()
}

// PrivateKeyAlgorithm names the algorithm of a key in PKCS #8 or SEC 1 (RFC 5915); empty
// if it is none.
func PrivateKeyAlgorithm(der []byte) string {
	var k struct {
		Version   int
		Algorithm algorithm
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &k); err == nil {
		return k.Algorithm.name()
	}
	var ec struct {
		Version    int
		Key        []byte
		Parameters asn1.RawValue  // [0], or none
		Public     asn1.BitString `asn1:"optional,explicit,tag:1"`
	}
	if _, err := asn1.Unmarshal(der, &ec); err != nil || ec.Parameters.Tag != 0 {
		return ""
	}
	ec.Parameters.FullBytes = ec.Parameters.Bytes
	return algorithm{ID: ecPublicKey, Parameters: ec.Parameters}.name()
}

// unreadable says of a certificate that cannot be parsed what it is.
func unreadable(n int, der []byte, err error) error {
	if name := KeyAlgorithm(der); name != "" {
		return fmt.Errorf("certificate %d cannot be parsed: %w (its key is %s)", n, err, name)
	}
	return fmt.Errorf("certificate %d cannot be parsed: %w", n, err)
}

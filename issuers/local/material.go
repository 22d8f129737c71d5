package local

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"renewer/renewer/pki"
)

// material returns the PEM of what people have as a CA: PEM as an editor left it,
// DER, or PKCS #12, which ask opens. Encrypted keys stay encrypted.
func material(data []byte, file string, ask func() ([]byte, error)) ([]byte, error) {
	text := pki.Plain(data)
	if block, _ := pem.Decode(text); block != nil {
		return text, wrongBlocks(text, file)
	}
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil || outer.Tag != asn1.TagSequence || !outer.IsCompound {
		if bytes.Contains(text, []byte("BEGIN ")) {
			return nil, misconfigured("openssl x509 -in "+file+" -noout shows what openssl makes of it; each line of PEM is a line of the file, and five hyphens stand on each side of BEGIN CERTIFICATE",
				"%s looks like PEM, and is damaged", file)
		}
		return text, nil // who reads it says what is missing
	}
	return fromDER(data, file, outer, ask)
}

// wrongBlocks names containers that renewer does not open.
func wrongBlocks(text []byte, file string) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PKCS7", "CMS":
			return misconfigured("openssl pkcs7 -in "+file+" -print_certs -out NEW.pem", "%s is PKCS #7", file)
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			return misconfigured("give the certificate that was made for it", "%s is a certificate request", file)
		}
	}
	return nil
}

// fromDER tells the forms by their first fields: RFC 5280, RFC 5958, RFC 8017,
// RFC 5915, RFC 7292, RFC 5652.
func fromDER(data []byte, file string, outer asn1.RawValue, ask func() ([]byte, error)) ([]byte, error) {
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	var first, second asn1.RawValue
	rest, err := asn1.Unmarshal(outer.Bytes, &first)
	if err == nil {
		_, err = asn1.Unmarshal(rest, &second)
	}
	version := -1
	if first.Tag == asn1.TagInteger && len(first.Bytes) == 1 {
		version = int(first.Bytes[0])
	}
	switch {
	case err != nil:
	case first.Tag == asn1.TagOID:
		return nil, misconfigured("openssl pkcs7 -inform DER -in "+file+" -print_certs -out NEW.pem", "%s is PKCS #7", file)
	case version == 3:
		return fromPKCS12(data, file, ask)
	case version >= 0 && second.Tag == asn1.TagSequence:
		return encode("PRIVATE KEY", outer.FullBytes), nil
	case version == 0 && second.Tag == asn1.TagInteger:
		return encode("RSA PRIVATE KEY", outer.FullBytes), nil
	case version == 1 && second.Tag == asn1.TagOctetString:
		return encode("EC PRIVATE KEY", outer.FullBytes), nil
	case first.Tag == asn1.TagSequence && second.Tag == asn1.TagOctetString:
		return encode("ENCRYPTED PRIVATE KEY", outer.FullBytes), nil
	case first.Tag == asn1.TagSequence && second.Tag == asn1.TagSequence:
		var out []byte // certificates may stand one after another
		for rest := data; len(rest) > 0; {
			var c asn1.RawValue
			behind, err := asn1.Unmarshal(rest, &c)
			if err != nil {
				return out, nil //nolint:nilerr // notes behind it, such as openssl's, are no certificate
			}
			out, rest = append(out, encode("CERTIFICATE", c.FullBytes)...), behind
		}
		return out, nil
	}
	return nil, misconfigured("renewer reads PEM, DER and PKCS #12; openssl asn1parse -inform DER -in "+file+" shows what is in it",
		"%s is neither a certificate nor a key", file)
}

// fromPKCS12 opens a container. Of two that fit, the passphrase that is not
// asked for comes first.
func fromPKCS12(data []byte, file string, ask func() ([]byte, error)) ([]byte, error) {
	key, cert, above, err := pkcs12.DecodeChain(data, "")
	if errors.Is(err, pkcs12.ErrIncorrectPassword) && ask != nil {
		passphrase, asked := ask()
		if asked != nil {
			return nil, misconfigured("", "ask for the passphrase of %s: %w", file, asked)
		}
		key, cert, above, err = pkcs12.DecodeChain(data, string(passphrase))
	}
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return nil, misconfigured("openssl pkcs12 -in "+file+" -noout asks for the passphrase and tries it", "%s: %w", file, errWrongPassphrase)
	}
	var der []byte
	if err == nil {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return nil, misconfigured("openssl pkcs12 -in "+file+" -nodes -out NEW.pem writes what is in it as PEM", "%s is PKCS #12 that cannot be read: %w", file, err)
	}
	return slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pki.PEM(append([]*x509.Certificate{cert}, above...)...)), nil
}

// hasKey reports whether a PEM text has a private key.
func hasKey(text []byte) bool { return pki.KeyBlock(text) != nil }

// checkAlgorithms names what Go, and with it dockerd, does not understand, before
// its signature is taken for one of another CA.
func checkAlgorithms(c *x509.Certificate, file string) error {
	if c.PublicKey == nil || c.PublicKeyAlgorithm == x509.UnknownPublicKeyAlgorithm {
		return unknownKey(pki.KeyAlgorithm(c.Raw), file, subject(c))
	}
	if c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return nil
	}
	name := pki.SignatureAlgorithm(c.Raw)
	if name == "RSA-PSS" {
		name = "RSA-PSS with parameters"
	}
	return misconfigured(resign(file)+"; of RSA-PSS the salt has to be as long as the hash: -sigopt rsa_pss_saltlen:digest",
		"%s: %s is signed by %s that Go programs, such as dockerd, do not know", file, subject(c), name)
}

// resign has openssl sign a root anew with its own key: the same name, key and
// extensions.
func resign(file string) string {
	return "sign it anew with its own key: openssl x509 -in " + file + " -signkey KEY -sha256 -days 3650 -out NEW.pem"
}

// unknownKey says of a kind of key that TLS peers do not know what to do.
func unknownKey(name, file, whose string) error {
	hint := "make a new CA, with an ECDSA P-256 key: renewer ca init"
	if strings.Contains(name, "explicit") {
		hint = "write the key with the name of its curve: openssl pkey -in KEY -ec_param_enc named_curve -out NEW-KEY; then " + strings.Replace(resign(file), "-signkey KEY", "-signkey NEW-KEY", 1)
	}
	return misconfigured(hint, "%s: the key of %s is %s, which Go programs, such as dockerd, do not know", file, whose, name)
}

// unparsable explains a certificate that crypto/x509 refuses to read.
func unparsable(der []byte, file string, n int, err error) error {
	if name := pki.KeyAlgorithm(der); strings.HasPrefix(name, "ECDSA") && !strings.HasPrefix(name, "ECDSA on P-") {
		return unknownKey(name, file, fmt.Sprintf("certificate %d", n))
	}
	return misconfigured("openssl x509 -in "+file+" -noout -text shows what openssl makes of it; have it signed anew without that fault", "%s: certificate %d cannot be read by Go programs, such as dockerd: %w", file, n, err)
}

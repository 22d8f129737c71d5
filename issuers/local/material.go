package local

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"strings"

	"renewer/renewer/pki"
)

// material is what people have as a CA, as PEM. Encrypted keys stay encrypted, but for
// those in PKCS #12.
type material struct {
	text   []byte
	pkcs12 bool
	legacy bool // see source
	sealed bool // only a passphrase opened it
}

// opener has the passphrases of PKCS #12: the issuer's own first, since that asks for
// nothing.
type opener struct {
	own []byte
	ask func() ([]byte, error)
}

// readMaterial reads PEM as an editor left it, DER, or PKCS #12.
func readMaterial(cfg Config, data []byte, file string, o opener) (material, error) {
	text := pki.Plain(data)
	if block, _ := pem.Decode(text); block != nil {
		return material{text: text}, wrongBlocks(cfg, text, file)
	}
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil || outer.Tag != asn1.TagSequence || !outer.IsCompound {
		if bytes.Contains(text, []byte("BEGIN ")) {
			show := "openssl x509 -in "
			if bytes.Contains(text, []byte("PRIVATE KEY")) {
				show = "openssl pkey -in "
			}
			return material{}, misconfigured(show+file+" -noout shows how openssl reads it; check that the line breaks and the BEGIN and END lines are intact",
				"%s looks like PEM, but is damaged", file)
		}
		return material{text: text}, nil // who reads it says what is missing
	}
	if m, is, err := fromPKCS12(cfg, data, file, o); is {
		return m, err
	}
	text, err := fromDER(cfg, data, file, outer)
	return material{text: text}, err
}

// inPlace is readMaterial of a file in its place, which is asked for no passphrase.
func inPlace(cfg Config, data []byte, file string) ([]byte, error) {
	m, err := readMaterial(cfg, data, file, opener{})
	return m.text, err
}

// wrongBlocks names containers that renewer does not open.
func wrongBlocks(cfg Config, text []byte, file string) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PKCS7", "CMS":
			return pkcs7(cfg, file, "")
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			return misconfigured("use the certificate that was issued for it", "%s is a certificate request", file)
		}
	}
	return nil
}

func pkcs7(cfg Config, file, form string) error {
	_, _, key := cfg.origin()
	return misconfigured("write its certificates as PEM: openssl pkcs7"+form+" -in "+file+" -print_certs -out NEW.pem; "+cfg.take("NEW.pem", key), "%s is PKCS #7", file)
}

// fromDER tells the forms by their first fields: RFC 5280, RFC 5958, RFC 8017,
// RFC 5915, RFC 5652.
func fromDER(cfg Config, data []byte, file string, outer asn1.RawValue) ([]byte, error) {
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
		return nil, pkcs7(cfg, file, " -inform DER")
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

// hasCertificate reports whether a PEM text has a certificate, or something else that is
// taken for one.
func hasCertificate(text []byte) bool {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") && !strings.HasSuffix(block.Type, "PARAMETERS") {
			return true
		}
	}
	return false
}

// hasKey reports whether a PEM text has a private key.
func hasKey(text []byte) bool { return pki.KeyBlock(text) != nil }

package pki_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"testing"
	"unicode/utf16"

	"renewer/internal/testpki"
	"renewer/renewer/pki"
)

// What an editor shows as PEM is read as PEM.
func TestPEMAsEditorsWriteIt(t *testing.T) {
	t.Parallel()
	pair := testpki.New(t).Leaf(t, testpki.Options{SANs: []string{"web"}})
	wide := func(order binary.AppendByteOrder, mark string) func([]byte) []byte {
		return func(b []byte) (out []byte) {
			for _, u := range utf16.Encode([]rune(mark + string(b))) {
				out = order.AppendUint16(out, u)
			}
			return out
		}
	}
	for name, write := range map[string]func([]byte) []byte{
		"as it should be":                func(b []byte) []byte { return b },
		"a UTF-8 byte order mark":        func(b []byte) []byte { return append([]byte("\ufeff"), b...) },
		"a mark in the middle of a file": func(b []byte) []byte { return append([]byte("\ufeffnotes\n\ufeff"), b...) },
		"UTF-16, little end first":       wide(binary.LittleEndian, "\ufeff"),
		"UTF-16, big end first":          wide(binary.BigEndian, "\ufeff"),
		"UTF-16 without a mark":          wide(binary.LittleEndian, ""),
		"UTF-16 without a mark, big end": wide(binary.BigEndian, ""),
		"lines of Windows":               func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) },
		"UTF-16 with lines of Windows": func(b []byte) []byte {
			return wide(binary.LittleEndian, "\ufeff")(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
		},
		"lines of an old Macintosh": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r")) },
		"indented, as copied out of YAML": func(b []byte) []byte {
			return bytes.ReplaceAll(append([]byte("ca: |\n"), b...), []byte("\n"), []byte("\n    "))
		},
		"openssl's text in front": func(b []byte) []byte { return append([]byte("Certificate:\n    Data:\n        Version: 3\n"), b...) },
	} {
		certs, err := pki.DecodeCertificates(write(pair.CertPEM))
		if err != nil || !certs[0].Equal(pair.Cert) {
			t.Errorf("%s: %v", name, err)
		}
		key, err := pki.DecodeKey(write(pair.KeyPEM))
		if err != nil || !pki.Belongs(key, pair.Cert) {
			t.Errorf("%s: key: %v", name, err)
		}
	}
	trusted := pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: append(bytes.Clone(pair.Cert.Raw), 0x30, 2, 0x30, 0)})
	if certs, err := pki.DecodeCertificates(trusted); err != nil || !certs[0].Equal(pair.Cert) {
		t.Errorf("TRUSTED CERTIFICATE: %v", err)
	}
}

// A key that is not understood is named, in PKCS #8 and in SEC 1, and none of it is shown.
func TestDecodeKeyNamesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	ecKey, secp256k1, secret := asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 3, 132, 0, 10}, make([]byte, 32)
	type algorithm struct{ ID, Curve asn1.ObjectIdentifier }
	for kind, key := range map[string]any{
		"EC PRIVATE KEY": struct {
			Version int
			Key     []byte
			Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
		}{1, secret, secp256k1},
		"PRIVATE KEY": struct {
			Version   int
			Algorithm algorithm
			Key       []byte
		}{0, algorithm{ecKey, secp256k1}, secret},
	} {
		der, err := asn1.Marshal(key)
		must(t, err)
		_, err = pki.DecodeKey(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		if err == nil || err.Error() != "the private key is ECDSA on secp256k1, and cannot be parsed" {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

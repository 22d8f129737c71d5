package local

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"slices"

	"go.step.sm/crypto/pemutil"
	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"renewer/renewer/pki"
)

// fromPKCS12 opens a container, if the data is one.
func fromPKCS12(cfg Config, data []byte, file string, o opener) (m material, is bool, err error) {
	bags, is := containerOf(data)
	if !is {
		return m, false, nil
	}
	m.pkcs12, m.legacy = true, bytes.Contains(data, rc2)
	cfg.from.pkcs12, cfg.from.legacy = true, m.legacy
	passphrase := []byte(nil)
	key, cert, above, err := pkcs12.DecodeChain(data, "")
	for _, next := range []func() ([]byte, error){func() ([]byte, error) { return o.own, nil }, o.ask} {
		if !errors.Is(err, pkcs12.ErrIncorrectPassword) || next == nil {
			continue
		}
		given, failed := next()
		if failed != nil {
			return m, true, misconfigured("", "ask for the passphrase of %s: %w", file, failed)
		}
		if len(given) > 0 {
			passphrase, m.sealed = given, true
			key, cert, above, err = pkcs12.DecodeChain(data, string(given))
		}
	}
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return m, true, misconfigured(cfg.openPKCS12(file)+" -noout tests the passphrase", "%s: %w", file, errWrongPassphrase)
	}
	if name := algorithmIn(bags, passphrase); err != nil && name != "" {
		return m, true, unknownKey(cfg, name, file, "this CA")
	}
	var der []byte
	if err == nil {
		der, err = x509.MarshalPKCS8PrivateKey(key)
	}
	if err != nil {
		return m, true, misconfigured("convert it to PEM, and import that: "+cfg.unpack(file)+"; "+cfg.take("NEW-ALL.pem", "NEW-ALL.pem"),
			"%s is PKCS #12 that cannot be read: %w", file, err)
	}
	m.text = slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pki.PEM(append([]*x509.Certificate{cert}, above...)...))
	return m, true, nil
}

// Of PFX (RFC 7292, section 4 and appendix D) as much as leads to its key.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	safeBag struct {
		ID         asn1.ObjectIdentifier
		Value      asn1.RawValue `asn1:"tag:0,explicit"`
		Attributes asn1.RawValue `asn1:"set,optional"`
	}
)

// containerOf returns the bags of a PKCS #12 container that are not encrypted as a
// whole, if the data is one.
func containerOf(data []byte) (bags []safeBag, is bool) {
	var pfx struct {
		Version  int
		AuthSafe contentInfo
		MAC      asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(data, &pfx); err != nil || pfx.Version != 3 {
		return nil, false
	}
	var safe []byte
	var contents []contentInfo
	if _, err := asn1.Unmarshal(pfx.AuthSafe.Content.Bytes, &safe); err == nil {
		_, _ = asn1.Unmarshal(safe, &contents) // who opens it says what is wrong
	}
	for _, c := range contents {
		var inner []byte
		var some []safeBag
		if _, err := asn1.Unmarshal(c.Content.Bytes, &inner); err != nil {
			continue // encrypted: those are certificates
		}
		if _, err := asn1.Unmarshal(inner, &some); err == nil {
			bags = append(bags, some...)
		}
	}
	return bags, true
}

// rc2 is the identifier of pbeWithSHAAnd40BitRC2-CBC (RFC 7292, appendix C), in DER.
var rc2 = []byte{0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x06}

var (
	oidKeyBag      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShroudedBag = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
)

// algorithmIn names the algorithm of the key in a container that was opened; empty
// where that is encrypted as before RFC 8018.
func algorithmIn(bags []safeBag, passphrase []byte) string {
	for _, bag := range bags {
		der := bag.Value.Bytes
		if bag.ID.Equal(oidShroudedBag) && checkPKCS8(der) == nil {
			der, _ = pemutil.DecryptPKCS8PrivateKey(der, passphrase) // nil names nothing
		} else if !bag.ID.Equal(oidKeyBag) {
			continue
		}
		return pki.PrivateKeyAlgorithm(der)
	}
	return ""
}

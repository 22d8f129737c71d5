package pki

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"renewer/renewer"
)

const (
	lifetimeLine = "Lifetime: "
	requestBlock = "CERTIFICATE REQUEST"
)

// EncodeRequest returns the file of an order that is carried to a CA: what a CSR cannot say
// stands before it, not signed, and other software passes over it.
func EncodeRequest(o renewer.Order) ([]byte, error) {
	csr, err := o.RequestPEM()
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "Certificate: %s\nGeneration: %d\n%s%s\n", o.Certificate, o.Generation, lifetimeLine, o.Lifetime), csr...), nil
}

// readable refuses a name that is shown as another than it is, and a wildcard that no
// client takes (RFC 9525, section 6.3).
func readable(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) }) {
		return fmt.Errorf("it requests %q, which has control characters", name)
	}
	if rest := strings.TrimPrefix(name, "*."); name != "" && rest == "" || strings.Contains(rest, "*") {
		return fmt.Errorf("it requests %q, but a wildcard has to be one *. at the beginning of a name", name)
	}
	return nil
}

// DecodeRequest returns the order of such a file, or of any CSR in PEM, for the one that has
// the key of a CA. Its own key signed it. Without its line the lifetime is 0.
func DecodeRequest(text []byte) (o renewer.Order, err error) {
	text = Plain(text)
	block, _ := pem.Decode(text)
	for rest := text; block != nil && block.Type != requestBlock && block.Type != "NEW "+requestBlock; {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return o, errors.New("no certificate request in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return o, fmt.Errorf("its certificate request cannot be parsed: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return o, fmt.Errorf("its certificate request was not signed with its key: %w", err)
	}
	if more := len(csr.URIs) + len(csr.EmailAddresses); more > 0 {
		return o, errors.New("it requests names that are neither DNS names nor IP addresses")
	}
	o.Key, o.CommonName, o.SANs = public{csr.PublicKey}, csr.Subject.CommonName, csr.DNSNames
	for _, ip := range csr.IPAddresses {
		o.SANs = append(o.SANs, ip.String())
	}
	for _, name := range append([]string{o.CommonName}, o.SANs...) {
		if err := readable(name); err != nil {
			return o, renewer.WithHint(err, "create the request again, without that name")
		}
	}
	if o.Request.Key = KeyTypeOf(csr.PublicKey); !slices.Contains(renewer.KeyTypes, o.Request.Key) {
		return o, fmt.Errorf("its key (%s) is of a type that renewer does not make", cmp.Or(string(o.Request.Key), "of another kind"))
	}
	for _, e := range csr.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) {
			continue
		}
		var ids []asn1.ObjectIdentifier
		if rest, err := asn1.Unmarshal(e.Value, &ids); err != nil || len(rest) > 0 {
			return o, errors.New("the requested usages cannot be parsed")
		}
		for _, id := range ids {
			o.Usages = append(o.Usages, renewer.UsageOf(id))
		}
	}
	before, _, _ := bytes.Cut(text, []byte("-----BEGIN "))
	for line := range strings.Lines(string(before)) {
		if value, ok := strings.CutPrefix(line, lifetimeLine); ok {
			if o.Lifetime, err = time.ParseDuration(strings.TrimSpace(value)); err != nil || o.Lifetime <= 0 {
				return o, errors.New("the lifetime before the request cannot be parsed")
			}
		}
	}
	return o, nil
}

// public is the key of an order whose private half is elsewhere.
type public struct{ key crypto.PublicKey }

func (p public) Public() crypto.PublicKey { return p.key }

func (public) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the private key is not on this machine")
}

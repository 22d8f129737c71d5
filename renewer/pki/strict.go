package pki

import (
	"crypto/x509"
	"encoding/asn1"
)

var (
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSAN              = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// EmptySubject is the strict fault that signing a CA anew by the same name keeps.
const EmptySubject = "its subject is empty"

// StrictFaults says why peers that verify strictly refuse a certificate which
// others accept: those with OpenSSL's X509_V_FLAG_X509_STRICT, such as Python from
// 3.13 on by default. The rules are those of RFC 5280 that this flag enforces.
func StrictFaults(c *x509.Certificate) (out []string) {
	critical := map[string]bool{}
	for _, e := range c.Extensions {
		critical[e.Id.String()] = e.Critical
	}
	has := func(id asn1.ObjectIdentifier) bool { _, ok := critical[id.String()]; return ok }
	if c.Version < 3 {
		return []string{"it is an X.509 certificate of version 1, without extensions"}
	}
	emptySubject := len(c.Subject.Names) == 0
	if c.IsCA {
		if !critical[oidBasicConstraints.String()] {
			out = append(out, "its basicConstraints are not critical")
		}
		if !has(oidKeyUsage) {
			out = append(out, "it has no keyUsage")
		}
		if len(c.SubjectKeyId) == 0 {
			out = append(out, "it has no subject key identifier")
		}
		if emptySubject {
			out = append(out, EmptySubject)
		}
	} else if emptySubject && !critical[oidSAN.String()] {
		out = append(out, "its subject is empty and its names are not critical")
	}
	if selfSigned := string(c.RawSubject) == string(c.RawIssuer); !selfSigned && len(c.AuthorityKeyId) == 0 {
		out = append(out, "it has no authority key identifier")
	}
	return out
}

package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"

	"renewer/renewer"
)

var (
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSAN              = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNetscapeType     = asn1.ObjectIdentifier{2, 16, 840, 1, 113730, 1, 1}
)

// EmptySubject is the strict fault that signing a CA again by the same name keeps.
const EmptySubject = "its subject is empty"

// StrictFaults says why peers that verify strictly refuse a certificate which
// others accept: those with OpenSSL's X509_V_FLAG_X509_STRICT, such as Python from
// 3.13 on by default. The rules are those of RFC 5280 that this flag enforces, and of a
// CA what OpenSSL asks of one that signs for servers or clients.
func StrictFaults(c *x509.Certificate) (out []string) {
	critical := map[string]bool{}
	for _, e := range c.Extensions {
		critical[e.Id.String()] = e.Critical
	}
	has := func(id asn1.ObjectIdentifier) bool { _, ok := critical[id.String()]; return ok }
	if c.Version < 3 {
		return []string{"it is an X.509 version 1 certificate, without extensions"}
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
		if slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) && !signsFor(c, renewer.UsageServer) && !signsFor(c, renewer.UsageClient) {
			out = append(out, "its extendedKeyUsage is any, which OpenSSL accepts neither for servers nor for clients")
		}
	} else if emptySubject && !critical[oidSAN.String()] {
		out = append(out, "its subject is empty and its names are not critical")
	}
	if selfSigned := string(c.RawSubject) == string(c.RawIssuer); !selfSigned && len(c.AuthorityKeyId) == 0 {
		out = append(out, "it has no authority key identifier")
	}
	return out
}

// ChainFaults are the StrictFaults of a leaf and of the intermediates above it, with
// whose they are and who signed that: only who signed it can fix it.
func ChainFaults(chain renewer.Chain) (out []string) {
	for _, c := range append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...) {
		if c == nil || string(c.RawSubject) == string(c.RawIssuer) {
			continue // a root is not sent
		}
		whose := "the certificate"
		if c.IsCA {
			whose = "the intermediate " + c.Subject.String()
		}
		for _, fault := range StrictFaults(c) {
			out = append(out, fmt.Sprintf("of %s, signed by %s, %s", whose, c.Issuer, fault))
		}
	}
	return out
}

// StrictWarnings say what strict peers refuse of a chain that they did not refuse of
// the one before.
func StrictWarnings(chain renewer.Chain, before *renewer.Generation) (out []string) {
	faults := ChainFaults(chain)
	if len(faults) > 0 && before != nil {
		if was, err := before.Parse(); err == nil {
			known := ChainFaults(was)
			faults = slices.DeleteFunc(faults, func(fault string) bool { return slices.Contains(known, fault) })
		}
	}
	for _, fault := range faults {
		out = append(out, "peers that verify strictly, such as Python 3.13 and later, refuse it: "+fault)
	}
	return out
}

// Weak reports whether a signature is by a hash that peers do not take any more: MD5
// or SHA-1. On a root it proves nothing, and harms nothing.
func Weak(c *x509.Certificate) bool {
	return c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm && c.SignatureAlgorithm <= x509.SHA1WithRSA ||
		c.SignatureAlgorithm == x509.DSAWithSHA1 || c.SignatureAlgorithm == x509.ECDSAWithSHA1
}

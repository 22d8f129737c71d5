package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"time"

	"renewer/renewer"
)

// EarliestEnd returns the notAfter of the root that expires first.
func EarliestEnd(roots []*x509.Certificate) time.Time {
	var end time.Time
	for _, c := range roots {
		if end.IsZero() || c.NotAfter.Before(end) {
			end = c.NotAfter.UTC()
		}
	}
	return end
}

// PEM encodes certificates one after another.
func PEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a Buffer does not fail
	}
	return b.Bytes()
}

// Under returns those of the roots that a chain leads to, by signature and
// name; whether they are valid now is another question.
func Under(chain renewer.Chain, roots []*x509.Certificate) renewer.RootSet {
	out := renewer.NewRootSet()
	if chain.Leaf == nil {
		return out
	}
	last := chain.Leaf
	for _, c := range chain.Intermediates {
		if last.CheckSignatureFrom(c) != nil {
			break
		}
		last = c
	}
	for _, root := range roots {
		if bytes.Equal(root.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(root) == nil || last.Equal(root) {
			out = renewer.NewRootSet(append(out, renewer.RootID(root.Raw))...)
		}
	}
	return out
}

// Twins reports whether two roots were made for the same name and key, so that
// peers verify with either what that key signed.
func Twins(a, b *x509.Certificate) bool {
	sameID := len(a.SubjectKeyId) == 0 || len(b.SubjectKeyId) == 0 || bytes.Equal(a.SubjectKeyId, b.SubjectKeyId)
	return sameID && bytes.Equal(a.RawSubject, b.RawSubject) && bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) && !a.Equal(b)
}

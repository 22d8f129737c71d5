package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"renewer/renewer"
	"slices"
	"time"
)

// TrustDigest identifies a set of roots, whatever their order: 16 hex digits
// of a SHA-256. Empty for no roots.
func TrustDigest(roots []*x509.Certificate) string {
	if len(roots) == 0 {
		return ""
	}
	prints := make([]string, 0, len(roots))
	for _, c := range roots {
		prints = append(prints, renewer.Fingerprint(c.Raw))
	}
	slices.Sort(prints)
	prints = slices.Compact(prints)
	h := sha256.New()
	for _, p := range prints {
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// EarliestEnd returns the notAfter of the root that ends first.
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

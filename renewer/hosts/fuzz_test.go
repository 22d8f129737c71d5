package hosts

import (
	"bytes"
	"testing"

	"renewer/internal/testpki"
)

// What is found on a host was written by others.
func FuzzUsable(f *testing.F) {
	ca := testpki.New(f)
	pair := ca.Leaf(f, testpki.Options{})
	f.Add(pair.CertPEM)
	f.Add(append(bytes.Clone(pair.KeyPEM), pair.CertPEM...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { usable([]file{{data: data}}, "x") })
}

package pki_test

import (
	"testing"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/pki"
)

// Whatever a program or a file holds, a chain is of the key that was asked for.
func FuzzDecodeChain(f *testing.F) {
	key, err := pki.NewKey(renewer.ECDSAP256)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(testpki.New(f).Leaf(f, testpki.Options{Key: key}).CertPEM)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		chain, err := pki.DecodeChain(text, key.Public())
		if err == nil && (!pki.Belongs(key, chain.Leaf) || len(chain.Intermediates) > 16) {
			t.Errorf("%d above %v", len(chain.Intermediates), chain.Leaf)
		}
	})
}

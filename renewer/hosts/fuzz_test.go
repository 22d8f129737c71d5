package hosts

import (
	"bytes"
	"encoding/binary"
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
	f.Fuzz(func(_ *testing.T, data []byte) { usable([]File{{Data: data}}, "x") })
}

// FuzzUnframed: whatever a daemon sends as a container's words, they are no
// more than it sent, and those in good frames are whole.
func FuzzUnframed(f *testing.F) {
	f.Add([]byte("hangup\n"), []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x'})
	f.Add([]byte{}, []byte("no frame"))
	f.Fuzz(func(t *testing.T, words, junk []byte) {
		frame := append(binary.BigEndian.AppendUint32([]byte{2, 0, 0, 0}, uint32(len(words))), words...)
		got := unframed(append(frame, junk...))
		if !bytes.HasPrefix(got, words) || len(got) > len(words)+len(junk) {
			t.Errorf("%q", got)
		}
	})
}

package local

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"syscall"
	"testing"
	"time"

	"renewer/renewer/pki"
)

// floor is the least work for a certificate: key, signature, PEM.
func floor(b *testing.B, a *Authority, signer *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	tmpl, err := template(testOrder(key, time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	tmpl.NotBefore, tmpl.NotAfter = now.Add(-time.Minute), now.Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.root, key.Public(), signer)
	if err != nil {
		b.Fatal(err)
	}
	_ = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func issue(b *testing.B, a *Authority) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	chain, err := a.Sign(b.Context(), testOrder(key, time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	_ = pki.PEM(chain.Leaf)
}

// BenchmarkSign prints the CPU time of an order as a ratio to the floor,
// measured turn by turn in the same run.
func BenchmarkSign(b *testing.B) {
	a := testAuthority(b)
	signer := a.cas.Signer.(*ecdsa.PrivateKey)
	var least, ours time.Duration
	for b.Loop() {
		start := cpuTime(b)
		floor(b, a, signer)
		middle := cpuTime(b)
		issue(b, a)
		least += middle - start
		ours += cpuTime(b) - middle
	}
	b.ReportMetric(float64(ours)/float64(least), "x-floor")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "cpu-µs/order")
}

// cpuTime is that of the whole process, the garbage collector's included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkFloor(b *testing.B) {
	a := testAuthority(b)
	signer := a.cas.Signer.(*ecdsa.PrivateKey)
	for b.Loop() {
		floor(b, a, signer)
	}
}

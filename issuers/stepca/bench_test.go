package stepca_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/smallstep/certificates/api"
	"github.com/smallstep/certificates/ca"
	"golang.org/x/sync/errgroup"

	"renewer/internal/teststepca"
	"renewer/renewer"
)

// serveEnv makes this test binary a step-ca in the directory that it names,
// until its input ends: the CPU time of the benchmarks is then the client's.
const serveEnv = "RENEWER_TEST_STEPCA"

func serve(dir string) int {
	ca, err := teststepca.Start(dir, teststepca.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(ca); err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := ca.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// apart is a step-ca in a process of its own.
func apart(b *testing.B) *teststepca.CA {
	b.Helper()
	exe, err := os.Executable()
	must(b, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), serveEnv+"="+b.TempDir())
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() {
		must(b, in.Close())
		must(b, cmd.Wait())
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	must(b, err)
	var ca teststepca.CA
	must(b, json.Unmarshal(line, &ca))
	return &ca
}

// cpuTime is that of this process, the garbage collector's included.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// least is the cryptography that an order cannot do without here: a key, the
// CSR, the token's signature, and reading what came back.
func least(b *testing.B, signer *ecdsa.PrivateKey, chain renewer.Chain) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	_, err = orderFor(key).CSR()
	must(b, err)
	sum := sha256.Sum256([]byte("token"))
	_, err = ecdsa.SignASN1(rand.Reader, signer, sum[:])
	must(b, err)
	for _, c := range append([]*x509.Certificate{chain.Leaf}, chain.Intermediates...) {
		_, err = x509.ParseCertificate(c.Raw)
		must(b, err)
	}
}

// BenchmarkOrder is the CPU time of an order on this side, many at once, and
// that of the cryptography alone, batch by batch.
func BenchmarkOrder(b *testing.B) {
	i := open(b, configOf(apart(b)))
	chain, err := i.Sign(b.Context(), orderFor(newKey(b)))
	must(b, err)
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	var floor, ours time.Duration
	orders := 0
	for b.Loop() {
		start := cpuTime(b)
		together(b, batch, func() error { least(b, signer, chain); return nil })
		middle := cpuTime(b)
		together(b, batch, func() error {
			_, err := i.Sign(b.Context(), orderFor(newKey(b)))
			return err
		})
		floor += middle - start
		ours += cpuTime(b) - middle
		orders += batch
	}
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
	b.ReportMetric(float64((ours-floor).Microseconds())/float64(orders), "µs-above-floor")
	b.ReportMetric(float64(ours.Microseconds())/float64(orders), "cpu-µs/order")
}

const (
	callers = 16 // orders under way at once
	batch   = 200
)

// BenchmarkThroughput compares many orders at once with a bare loop of
// smallstep's client, batch by batch against the same server.
func BenchmarkThroughput(b *testing.B) {
	server := apart(b)
	i := open(b, configOf(server))
	bare, err := ca.NewProvisioner(teststepca.Provisioner, "", server.URL, []byte(teststepca.Password), ca.WithRootSHA256(server.Fingerprint))
	must(b, err)
	defer bare.CloseIdleConnections()
	var floor, ours time.Duration
	orders := 0
	for b.Loop() {
		floor += together(b, batch, func() error { return bareOrder(b, bare) })
		ours += together(b, batch, func() error {
			_, err := i.Sign(b.Context(), orderFor(newKey(b)))
			return err
		})
		orders += batch
	}
	b.ReportMetric(float64(ours)/float64(floor), "x-floor")
	b.ReportMetric(float64(orders)/ours.Seconds(), "orders/s")
	b.ReportMetric(float64(ours.Microseconds())/float64(orders), "µs/order")
	b.ReportMetric(100*float64(floor)/float64(ours), "%-of-bare-client")
}

// together is how long n orders take, callers at a time.
func together(b *testing.B, n int64, order func() error) time.Duration {
	b.Helper()
	var g errgroup.Group
	var done atomic.Int64
	begin := time.Now()
	for range callers {
		g.Go(func() error {
			for done.Add(1) <= n {
				if err := order(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(b, g.Wait())
	return time.Since(begin)
}

func bareOrder(b *testing.B, p *ca.Provisioner) error {
	o := orderFor(newKey(b))
	der, err := o.CSR()
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	token, err := p.Token(o.CommonName, o.SANs...)
	if err != nil {
		return err
	}
	req := &api.SignRequest{CsrPEM: api.NewCertificateRequest(csr), OTT: token}
	req.NotAfter.SetDuration(o.Lifetime)
	_, err = p.SignWithContext(b.Context(), req)
	return err
}

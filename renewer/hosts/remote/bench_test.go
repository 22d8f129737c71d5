package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"renewer/internal/testpki"
	"renewer/renewer"
	"renewer/renewer/hosts"
	"renewer/renewer/pki"
	"renewer/renewer/probes"
)

// BenchmarkHost is a renewal on one Docker host: connect and log in, stage,
// flip, close, and probe what is served as a client would. The floor, turn by
// turn in the same run, is a bare SSH handshake and login. Both in CPU time of
// this process alone; the host is another one.
func BenchmarkHost(b *testing.B) {
	ctx := context.Background()
	ca := testpki.New(b)
	leaf := func(usages ...x509.ExtKeyUsage) testpki.Pair {
		return ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}, Usages: usages})
	}
	contents := func(pair testpki.Pair) map[renewer.FileKind][]byte {
		c, err := pki.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(b, err)
		return c
	}
	pair, root := leaf(), b.TempDir()
	before, after := contents(leaf()), contents(pair)
	cfg, docker := elsewhere(b, b.TempDir(), ca, pair)
	p := benchPlacement
	p.Probe = renewer.Probe{Kind: renewer.ProbeDocker, Address: docker, Mutual: true}
	clientPair, wrongPair := leaf(x509.ExtKeyUsageClientAuth), leaf(x509.ExtKeyUsageServerAuth)
	cl, prober := client(b), probes.New()
	var cpu parts
	n := 0
	for b.Loop() {
		n++
		cfg.Root = filepath.Join(root, strconv.Itoa(n))
		must(b, os.MkdirAll(cfg.Root+p.Dir, 0o755))
		prepare(b, hosts.Local(cfg.Root), p, before)

		cpu.start(b)
		bareHandshake(b, cfg)
		cpu.end(b, "floor")
		tr := cl.Transport(cfg)
		h := hosts.New(renewer.Host{Name: "host-b"}, tr)
		must(b, h.Check(ctx))
		cpu.end(b, "connect")
		st, err := h.Stage(ctx, p, after)
		must(b, err)
		cpu.end(b, "stage")
		must(b, h.Flip(ctx, p, st.Revision))
		cpu.end(b, "flip")
		seen, err := prober.Probe(ctx, renewer.ProbeRequest{
			Placement: p, Expect: renewer.Expected{Leaf: renewer.Fingerprint(pair.Cert.Raw), Roots: renewer.RootSetOf([]*x509.Certificate{ca.Root}), Origin: renewer.OriginIssued}, Roots: []*x509.Certificate{ca.Root},
			Client: &clientPair.TLS, Wrong: &wrongPair.TLS, Host: h,
		})
		must(b, err)
		if len(seen.NotChecked) > 0 {
			b.Fatal(seen.NotChecked)
		}
		cpu.end(b, "probe")
		must(b, tr.Close())
		cpu.end(b, "close")
	}
	var whole time.Duration
	for name, took := range cpu.took {
		b.ReportMetric(float64(took.Microseconds())/float64(n), name+"-µs")
		whole += took
	}
	floor := cpu.took["floor"]
	b.ReportMetric(float64(whole-floor)/float64(floor), "x-floor")
	b.ReportMetric(float64((whole-floor).Microseconds())/float64(n), "cpu-µs/host")
}

// BenchmarkTLSProbe is one visit of the TLS probe with a client certificate, the files
// on disk among it. The floor, turn by turn in the same run, is a handshake that
// verifies and is ended. Both in CPU time of this process alone.
func BenchmarkTLSProbe(b *testing.B) {
	ca := testpki.New(b)
	pair := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}})
	_, address := elsewhere(b, b.TempDir(), ca, pair)
	client := ca.Leaf(b, testpki.Options{SANs: []string{"127.0.0.1"}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	content, err := pki.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
	must(b, err)
	root, p, roots := b.TempDir(), benchPlacement, []*x509.Certificate{ca.Root}
	must(b, os.MkdirAll(root+p.Dir, 0o755))
	prepare(b, hosts.Local(root), p, content)
	p.Probe = renewer.Probe{Kind: renewer.ProbeTLS, Address: address, Mutual: true}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Root)
	prober, h := probes.New(), hosts.New(renewer.Host{Name: "host-b"}, hosts.Local(root))
	var cpu parts
	n := 0
	for b.Loop() {
		n++
		cpu.start(b)
		c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", Certificates: []tls.Certificate{client.TLS}})
		must(b, err)
		must(b, c.Close())
		cpu.end(b, "floor")
		_, err = prober.Probe(b.Context(), renewer.ProbeRequest{
			Placement: p, Expect: renewer.Expected{Leaf: renewer.Fingerprint(pair.Cert.Raw), Roots: renewer.RootSetOf(roots), Origin: renewer.OriginIssued},
			Roots: roots, Client: &client.TLS, Host: h,
		})
		must(b, err)
		cpu.end(b, "probe")
	}
	b.ReportMetric(float64(cpu.took["probe"].Microseconds())/float64(n), "cpu-µs/visit")
	b.ReportMetric(float64(cpu.took["probe"])/float64(cpu.took["floor"]), "x-floor")
}

// parts adds up the CPU time of the parts of each turn.
type parts struct {
	last time.Duration
	took map[string]time.Duration
}

func (p *parts) start(b *testing.B) {
	b.Helper()
	if p.took == nil {
		p.took = map[string]time.Duration{}
	}
	p.last = cpuTime(b)
}

func (p *parts) end(b *testing.B, name string) {
	b.Helper()
	now := cpuTime(b)
	p.took[name] += now - p.last
	p.last = now
}

var benchFiles = map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "cert.pem", renewer.FileKey: "key.pem"}

var benchPlacement = renewer.Placement{
	Certificate: "docker@host-b", Host: "host-b", Dir: "/etc/docker/tls", Files: benchFiles,
	Modes: map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400},
}

// prepare puts in place what is renewed.
func prepare(b *testing.B, tr hosts.Transport, p renewer.Placement, content map[renewer.FileKind][]byte) {
	b.Helper()
	h := hosts.New(renewer.Host{Name: "host-b"}, tr)
	st, err := h.Stage(context.Background(), p, content)
	must(b, err)
	must(b, h.Flip(context.Background(), p, st.Revision))
	must(b, tr.Close())
}

func bareHandshake(b *testing.B, cfg Config) {
	b.Helper()
	key, err := os.ReadFile(cfg.IdentityFile)
	must(b, err)
	signer, err := ssh.ParsePrivateKey(key)
	must(b, err)
	address := net.JoinHostPort(cfg.Address, strconv.Itoa(cfg.Port))
	c, err := ssh.Dial("tcp", address, &ssh.ClientConfig{
		User: cfg.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyAlgorithms: modern[:1],
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil }, // nothing is looked at: this is the floor
	})
	must(b, err)
	must(b, c.Close())
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

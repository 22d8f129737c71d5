package remote

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"renewer/internal/testpki"
	"renewer/internal/testssh"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// BenchmarkHost is a renewal on one host: connect, log in, stage, flip, close.
// The floor, turn by turn in the same run, is a bare handshake and login. Both
// in CPU time of this process alone; the host is another one.
func BenchmarkHost(b *testing.B) {
	dir := b.TempDir()
	cfg := elsewhere(b, dir)
	cl := client(b)
	root := b.TempDir()
	ca := testpki.New(b)
	contents := func() map[renewer.FileKind][]byte {
		pair := ca.Leaf(b, testpki.Options{SANs: []string{"host-b"}})
		c, err := renewer.Content(benchFiles, renewer.Chain{Leaf: pair.Cert}, pair.Key, []*x509.Certificate{ca.Root})
		must(b, err)
		return c
	}
	before, after := contents(), contents()
	var least, ours time.Duration
	n := 0
	for b.Loop() {
		n++
		cfg.Root = filepath.Join(root, strconv.Itoa(n))
		must(b, os.MkdirAll(cfg.Root+benchPlacement.Dir, 0o755))
		bring(b, hosts.Local(cfg.Root), before)
		start := cpuTime(b)
		bareHandshake(b, cfg)
		middle := cpuTime(b)
		bring(b, cl.Transport(cfg), after)
		least += middle - start
		ours += cpuTime(b) - middle
	}
	b.ReportMetric(float64(ours)/float64(least), "x-floor")
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "cpu-µs/host")
}

var benchFiles = map[renewer.FileKind]string{renewer.FileCA: "ca.pem", renewer.FileCert: "cert.pem", renewer.FileKey: "key.pem"}

var benchPlacement = renewer.Placement{
	Certificate: "docker@host-b", Host: "host-b", Dir: "/etc/docker/tls", Files: benchFiles,
	Modes: map[renewer.FileKind]fs.FileMode{renewer.FileCA: 0o444, renewer.FileCert: 0o444, renewer.FileKey: 0o400},
}

func bring(b *testing.B, tr hosts.Transport, content map[renewer.FileKind][]byte) {
	b.Helper()
	h := hosts.New(renewer.Host{Name: "host-b"}, tr)
	st, err := h.Stage(context.Background(), benchPlacement, content)
	must(b, err)
	must(b, h.Flip(context.Background(), benchPlacement, st.Revision))
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

// elsewhere runs the SSH server in a process of its own: this test binary.
func elsewhere(b *testing.B, dir string) Config {
	b.Helper()
	self, err := os.Executable()
	must(b, err)
	cmd := exec.Command(self, "-test.run=^TestServeElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), "RENEWER_TEST_SERVE="+dir)
	in, err := cmd.StdinPipe()
	must(b, err)
	out, err := cmd.StdoutPipe()
	must(b, err)
	must(b, cmd.Start())
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	cfg := Config{Name: "host-b", Address: "127.0.0.1", User: testssh.User, IdentityFile: dir + "/id", KnownHostsFile: dir + "/known_hosts"}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if port, ok := strings.CutPrefix(lines.Text(), "port "); ok {
			cfg.Port, err = strconv.Atoi(port)
			must(b, err)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return cfg
		}
	}
	b.Fatal("the server did not start")
	return cfg
}

func TestServeElsewhere(t *testing.T) {
	dir := os.Getenv("RENEWER_TEST_SERVE")
	if dir == "" {
		return // a benchmark's other process
	}
	s := testssh.Start(t, testssh.Options{})
	for name, file := range map[string]string{"id": s.Login.File, "known_hosts": s.KnownHosts(t)} {
		data, err := os.ReadFile(file)
		must(t, err)
		write(t, filepath.Join(dir, name), string(data))
	}
	fmt.Printf("\nport %d\n", s.Port)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark is over
}

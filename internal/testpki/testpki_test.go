package testpki_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"renewer/internal/testpki"
)

func TestPairsShakeHandsThroughAnIntermediate(t *testing.T) {
	t.Parallel()
	root := testpki.New(t)
	ca := root.Intermediate(t, testpki.Options{CommonName: "Test Intermediate"})
	server := ca.Leaf(t, testpki.Options{SANs: []string{"host-b", "127.0.0.1"}, Usages: testpki.ServerUsage})
	client := ca.Leaf(t, testpki.Options{CommonName: "peer", Usages: testpki.ClientUsage})

	if err := handshake(t, root.Server(server), root.Client(client)); err != nil {
		t.Errorf("with a client certificate: %v", err)
	}
	if err := handshake(t, root.Server(server), root.Client(testpki.Pair{})); err == nil {
		t.Error("without a client certificate: accepted")
	}
	if err := handshake(t, root.Server(client), root.Client(client)); err == nil {
		t.Error("a client certificate was accepted as the server's")
	}
}

func TestExpiredLeaf(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	old := ca.Leaf(t, testpki.Options{NotAfter: time.Now().Add(-time.Minute)})
	_, err := old.Cert.Verify(x509.VerifyOptions{Roots: ca.Pool()})
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("verify gave %v, want expired", err)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	pair := testpki.New(t).Leaf(t, testpki.Options{})
	cert, key := pair.Write(t, t.TempDir())
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
}

// handshake ends with a byte from the server: a TLS 1.3 client's own
// handshake has ended before the server has looked at its certificate.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte{1})
	}()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", ln.Addr().String(), client)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

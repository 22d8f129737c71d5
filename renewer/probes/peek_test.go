package probes

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// Whatever is served is seen: expired, without a name, to clients with a certificate
// alone.
func TestPeekSeesWhatIsServed(t *testing.T) {
	t.Parallel()
	ca := testpki.New(t)
	pair := ca.Leaf(t, testpki.Options{Usages: testpki.ClientUsage, NotAfter: time.Now().Add(-time.Hour)})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair.TLS}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_ = c.(*tls.Conn).HandshakeContext(t.Context())
				_ = c.Close()
			}
		}()
		chain, err := New().Peek(t.Context(), renewer.Probe{Kind: renewer.ProbeTLS, Address: ln.Addr().String()})
		if err != nil || len(chain) == 0 || !chain[0].Equal(pair.Cert) {
			t.Errorf("saw %d certificates, %v", len(chain), err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	_ = ln.Close()
	if _, err := New().Peek(t.Context(), renewer.Probe{Kind: renewer.ProbeTLS, Address: address}); renewer.ProbeErrorKindOf(err) != renewer.ProbeUnreachable {
		t.Errorf("nothing there: %v", err)
	}
}

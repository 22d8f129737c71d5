package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"renewer/renewer"
)

var errSeen = errors.New("seen")

// Peek returns the chain that a probe's address shows, leaf first, and verifies
// nothing of it: for who wants to say what is wrong with it. Nothing is sent over the
// connection.
func (p *Prober) Peek(ctx context.Context, at renewer.Probe) (chain []*x509.Certificate, err error) {
	name, err := serverName(at)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.step, fmt.Errorf("no answer within %s", p.step))
	defer cancel()
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", at.Address)
	if err != nil {
		return nil, unreachable(ctx, at.Address, err)
	}
	defer tcp.Close()
	conn := tls.Client(tcp, &tls.Config{
		MinVersion: tls.VersionTLS10, ServerName: name, // whatever is there is to be named
		InsecureSkipVerify: true, //nolint:gosec // G402: see above
		VerifyConnection: func(cs tls.ConnectionState) error {
			chain = cs.PeerCertificates
			return errSeen
		},
	})
	if err := conn.HandshakeContext(ctx); len(chain) == 0 {
		if err == nil {
			err = errors.New("no certificate was presented")
		}
		return nil, unreachable(ctx, at.Address, err)
	}
	return chain, nil
}

package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"renewer/internal/netcause"
	"renewer/renewer"
)

// visit is what one TLS connection showed.
type visit struct {
	conn  *tls.Conn
	raw   *rawConn
	peer  *peer
	asked bool  // the server asked for a client certificate
	fits  error // why ours does not suit what it asked for

	early []byte // read before the exchange

	mu      sync.Mutex
	ended   error // first error of Read
	granted bool  // a session ticket came
	waiting bool  // for a ticket: end Read when it comes
}

// rawConn knows whether the connection was closed below TLS: crypto/tls gives
// io.EOF for that and for close_notify.
type rawConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *rawConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		c.closed.Store(true)
	}
	return n, err
}

// Read remembers how the connection ended: clients above TLS only keep a text.
func (v *visit) Read(b []byte) (int, error) {
	if len(v.early) > 0 {
		n := copy(b, v.early)
		v.early = v.early[n:]
		return n, nil
	}
	n, err := v.conn.Read(b)
	if err != nil {
		v.mu.Lock()
		if v.ended == nil {
			v.ended = err
		}
		v.mu.Unlock()
	}
	return n, err
}

// stream is a visit as a connection for clients that speak over it.
type stream struct {
	*tls.Conn
	v *visit
}

func (s stream) Read(b []byte) (int, error) { return s.v.Read(b) }

// Get and Put make the visit a tls.ClientSessionCache: nothing is resumed, but
// a ticket to keep means that the server has finished its handshake.
func (v *visit) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func (v *visit) Put(_ string, s *tls.ClientSessionState) {
	if s == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.granted = true
	if v.waiting {
		_ = v.raw.SetReadDeadline(past)
	}
}

// past is a deadline that ends a Read at once.
var past = time.Unix(1, 0)

// waits says whether a ticket ends a Read, and reports whether one came.
func (v *visit) waits(on bool) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting = on
	return v.granted
}

// cheap is the key exchange that every server has (RFC 8446, section 9.1), at a fifth of
// the cost of one that withstands quantum computers: enough where nothing is going to be
// said.
var cheap = []tls.CurveID{tls.CurveP256}

// connect dials and shakes hands. What the visit before has verified, if there
// was one, is not verified again, and nothing is to be said over this one: it
// sees whether it is refused. The visit is there even with an error, if
// without a connection; its peer holds what was served.
func (p *Prober) connect(ctx context.Context, r renewer.ProbeRequest, client *tls.Certificate, before *visit, alpn ...string) (*visit, error) {
	if before != nil || r.Placement.Probe.Kind == renewer.ProbeTLS {
		v, err := p.shake(ctx, r, client, before, cheap, alpn...)
		if v.asked || v.peer.leaf != nil || renewer.ProbeErrorKindOf(err) != renewer.ProbeRejected {
			return v, err
		} // it went no further than to the key exchange
	}
	return p.shake(ctx, r, client, before, nil, alpn...)
}

func (p *Prober) shake(ctx context.Context, r renewer.ProbeRequest, client *tls.Certificate, before *visit, curves []tls.CurveID, alpn ...string) (*visit, error) {
	v := &visit{peer: &peer{}}
	if before != nil {
		v.peer.before = before.peer.leaf
	}
	address := r.Placement.Probe.Address
	name, err := serverName(r.Placement.Probe)
	if err != nil {
		return v, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.step, fmt.Errorf("no answer within %s", p.step))
	defer cancel()
	tcp, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return v, atHost(r, unreachable(ctx, address, err))
	}
	v.raw = &rawConn{Conn: tcp}
	v.conn = tls.Client(v.raw, &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: name,
		NextProtos: alpn,

		CurvePreferences: curves,
		// The chain, name, dates and usage are verified in VerifyConnection,
		// with the rules that crypto/tls would use; it is off here only so
		// that a certificate that fails is seen, and can be named, too. Nothing
		// is sent over a connection before it has passed. A later visit of the
		// same probe takes the very leaf that has passed in the one before.
		InsecureSkipVerify: true, //nolint:gosec // G402: VerifyConnection verifies more than crypto/tls would
		VerifyConnection: func(cs tls.ConnectionState) error {
			return v.peer.verify(cs.PeerCertificates, r, name, p.now())
		},
		GetClientCertificate: func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			v.asked = true
			if client == nil {
				return &tls.Certificate{}, nil
			}
			// Presented even if the server's list of CAs does not have its
			// issuer: the server's refusal says more than our silence.
			v.fits = info.SupportsCertificate(client)
			return client, nil
		},
		ClientSessionCache: v,
	})
	if err := v.conn.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return v, v.handshakeFailed(ctx, address, err)
	}
	return v, nil
}

// handshakeFailed says what a failed handshake means.
func (v *visit) handshakeFailed(ctx context.Context, address string, err error) error {
	var plain tls.RecordHeaderError
	switch {
	case v.peer.err != nil:
		return v.peer.err
	case isAlert(err), v.asked && ended(err):
		return v.refused(address, err)
	case errors.As(err, &plain):
		return &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: renewer.WithHint(
			fmt.Errorf("%s does not speak TLS: %w", address, err), "check that this is the TLS port, and that TLS is on in the configuration of the service")}
	default:
		return unreachable(ctx, address, err)
	}
}

// refused is the error for a server that ends the connection on us.
func (v *visit) refused(address string, err error) error {
	err = fmt.Errorf("%s refused the connection: %w", address, netcause.Of(err))
	if v.fits != nil {
		err = fmt.Errorf("%w (renewer's client certificate does not match what the server requested: %w)", err, v.fits)
	}
	if v.asked {
		err = renewer.WithHint(err, "the server has to trust the CA of renewer's client certificate, and to have loaded its ca file; check its ca file and log")
	}
	return &renewer.ProbeError{Kind: renewer.ProbeRejected, Err: err}
}

// accepted reads until it is clear whether the server accepted us. quiet tells
// that nothing was heard.
func (p *Prober) accepted(ctx context.Context, v *visit, address string) (quiet bool, err error) {
	if v.conn.ConnectionState().Version < tls.VersionTLS13 {
		return false, nil
	}
	if err := v.raw.SetReadDeadline(time.Now().Add(p.quiet)); err != nil {
		return false, unreachable(ctx, address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = v.raw.SetReadDeadline(past) })
	v.waits(true)
	early := make([]byte, 1)
	n, err := v.conn.Read(early)
	stop()
	granted := v.waits(false)
	_ = v.raw.SetReadDeadline(time.Time{}) // a Read that timed out can go on
	switch {
	case n > 0, granted, errors.Is(err, io.EOF) && !v.raw.closed.Load():
		v.early = early[:n]
		return false, nil
	case ctx.Err() != nil:
		return false, unreachable(ctx, address, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	default:
		return false, v.refused(address, err)
	}
}

// isAlert reports whether the other side sent a TLS alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// ended reports whether the connection just ended.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func unreachable(ctx context.Context, address string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	err = fmt.Errorf("%s cannot be reached: %w", address, netcause.Of(err))
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = renewer.WithHint(err, "nothing listens there: check that the service is running, and that the address is correct")
	}
	return &renewer.ProbeError{Kind: renewer.ProbeUnreachable, Err: err}
}

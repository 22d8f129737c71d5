package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// A port belongs to the process, and not to an issuer: two accounts at one CA, and the
// issuer before and after a reload, answer on the same one. It is open while a
// challenge is.
var ports = struct {
	sync.Mutex
	open map[string]*port
}{open: map[string]*port{}}

// port answers the challenges that are open at one address.
type port struct {
	users  int
	server *http.Server
	ended  chan struct{}

	mu      sync.RWMutex
	answers map[string]answer // by token
}

// answer is that of http-01 and, with a certificate, that of tls-alpn-01.
type answer struct {
	text string
	name string // that the certificate is asked for by
	cert *tls.Certificate
}

// acquire opens a port, or joins those that use it. release has to be called.
func acquire(at string, secure bool) (*port, error) {
	ports.Lock()
	defer ports.Unlock()
	if p := ports.open[at]; p != nil {
		p.users++
		return p, nil
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", at)
	if err != nil {
		return nil, cannotListen(at, err)
	}
	p := &port{users: 1, answers: map[string]answer{}, ended: make(chan struct{})}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	if secure {
		l = tls.NewListener(l, &tls.Config{GetCertificate: p.certificate, NextProtos: []string{acmez.ACMETLS1Protocol}, MinVersion: tls.VersionTLS12})
	}
	ports.open[at] = p
	go func() {
		defer close(p.ended)
		_ = p.server.Serve(l)
	}()
	return p, nil
}

func release(at string) {
	ports.Lock()
	defer ports.Unlock()
	p := ports.open[at]
	if p == nil {
		return
	}
	if p.users--; p.users > 0 {
		return
	}
	delete(ports.open, at)
	_ = p.server.Close()
	<-p.ended
}

// certificate answers tls-alpn-01 (RFC 8737, section 3).
func (p *port) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, a := range p.answers {
		if a.cert != nil && a.name == strings.ToLower(hello.ServerName) {
			return a.cert, nil
		}
	}
	return nil, errors.New("no challenge is in progress for this name")
}

// cannotListen says what to do about a port that cannot be had.
func cannotListen(at string, err error) error {
	_, number, _ := net.SplitHostPort(at)
	hint := "set listen of the challenge to an address of this machine"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "ss -ltnp 'sport = :" + number + "' shows the process that uses the port; if it is a web server, use challenge: {http-01: {host: HOST, dir: DIR}}"
	case errors.Is(err, os.ErrPermission):
		hint = "ports below 1024 need AmbientCapabilities=CAP_NET_BIND_SERVICE in renewer.service; or forward the port to a higher one, and set listen to that"
	}
	return misconfigured(hint, "the challenge port cannot be opened: %w", err)
}

const wellKnown = "/.well-known/acme-challenge/"

// ServeHTTP answers http-01 (RFC 8555, section 8.3).
func (p *port) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, wellKnown)
	p.mu.RLock()
	a, known := p.answers[token]
	p.mu.RUnlock()
	if !ok || !known || a.cert != nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write([]byte(a.text))
}

// portSolver answers http-01 or tls-alpn-01 on a port of its own.
type portSolver struct {
	at     string
	secure bool // tls-alpn-01
}

func (s *portSolver) kind() string {
	if s.secure {
		return TLSALPN01
	}
	return HTTP01
}

func (s *portSolver) hint(c challenge) string {
	if s.secure {
		return "the CA has to reach, at port 443 of the name, " + s.at + " of this machine; test from outside: openssl s_client -connect " + cmp.Or(c.Identifier.Value, "NAME") + ":443 -alpn " + acmez.ACMETLS1Protocol
	}
	return "the CA has to reach, at port 80 of the name, " + s.at + " of this machine; test from outside: curl -v http://" + cmp.Or(c.Identifier.Value, "NAME") + wellKnown + "x"
}

func (s *portSolver) present(_ context.Context, c challenge) error {
	var cert *tls.Certificate
	if s.secure {
		var err error
		if cert, err = acmez.TLSALPN01ChallengeCert(c.Challenge); err != nil {
			return err
		}
	}
	p, err := acquire(s.at, s.secure)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[c.Token] = answer{c.KeyAuthorization, serverName(c.Identifier), cert}
	return nil
}

func (s *portSolver) cleanUp(_ context.Context, c challenge) error {
	ports.Lock()
	p := ports.open[s.at]
	ports.Unlock()
	if p == nil {
		return nil
	}
	p.mu.Lock()
	_, had := p.answers[c.Token]
	delete(p.answers, c.Token)
	p.mu.Unlock()
	if had { // else it was not acquired
		release(s.at)
	}
	return nil
}

func (s *portSolver) check(context.Context) error {
	if _, err := acquire(s.at, s.secure); err != nil {
		return err
	}
	release(s.at)
	return nil
}

// serverName is what a server that validates a name asks for by SNI: for an address its
// name in reverse DNS (RFC 8738, section 6).
func serverName(id acme.Identifier) string {
	ip, err := netip.ParseAddr(id.Value)
	if err != nil {
		return strings.ToLower(id.Value)
	}
	bytes := ip.Unmap().AsSlice()
	slices.Reverse(bytes)
	var b strings.Builder
	for _, x := range bytes {
		if len(bytes) == 4 {
			fmt.Fprintf(&b, "%d.", x)
		} else {
			fmt.Fprintf(&b, "%x.%x.", x&15, x>>4)
		}
	}
	if len(bytes) == 4 {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

package daemon

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer/pki"
)

// peer is what a program has loaded from the files of a directory: the roots
// that it checks others with and, unless it has only a trust bundle, its pair.
type peer struct {
	pair  *tls.Certificate
	roots []*x509.Certificate
}

// readPeer reads ca.crt, tls.crt and tls.key of a directory. All come from the
// revision that ca.crt leads to, so that a flip between two reads gives no
// mixture.
func readPeer(dir string) (*peer, error) {
	current, err := filepath.EvalSymlinks(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	in := func(name string) string { return filepath.Join(filepath.Dir(current), name) }
	text, err := os.ReadFile(in("ca.crt"))
	if err != nil {
		return nil, err
	}
	p := &peer{}
	if p.roots, err = pki.DecodeCertificates(text); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(in("tls.crt")); err != nil {
		return p, nil
	}
	pair, err := tls.LoadX509KeyPair(in("tls.crt"), in("tls.key"))
	p.pair = &pair
	return p, err
}

func (p *peer) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, root := range p.roots {
		pool.AddCert(root)
	}
	return pool
}

// service is a TLS service in this process. It loads its files at its start and on
// request, and at no other time.
type service struct {
	dir    string
	addr   string
	mutual bool
	hung   atomic.Bool // it neither answers nor loads
	slow   atomic.Bool // it loads some time after the request
	busy   sync.Mutex  // until it has
	has    atomic.Pointer[peer]
	after  func() // loading
}

// serve starts a service over the files of a directory; activation is the
// activate: of its entry.
func serve(t *testing.T, dir string, mutual bool, after func()) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &service{dir: dir, addr: ln.Addr().String(), mutual: mutual, after: after}
	_ = s.load() // there may be nothing yet
	must(t, syscall.Mkfifo(dir+".tell", 0o600))
	must(t, syscall.Mkfifo(dir+".replies", 0o600))
	tell, err := os.OpenFile(dir+".tell", os.O_RDWR, 0)
	must(t, err)
	replies, err := os.OpenFile(dir+".replies", os.O_RDWR, 0)
	must(t, err)
	var work sync.WaitGroup
	work.Go(func() {
		for lines := bufio.NewScanner(tell); lines.Scan(); {
			s.obey(replies)
		}
	})
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() { s.answer(c) })
		}
	})
	t.Cleanup(func() {
		_, _, _ = ln.Close(), tell.Close(), replies.Close()
		work.Wait()
	})
	return s
}

// activation tells the service to load its files and waits until it has.
func activation(dir string) string {
	return strings.ReplaceAll(`{command: [/bin/sh, -c, "echo load >DIR.tell; read -r answer <DIR.replies; echo $answer; test $answer = loaded"], timeout: 10s}`, "DIR", dir)
}

// slowness is as long as a service may take to load its files after a signal.
const slowness = 300 * time.Millisecond

// obey loads the files and answers when it has; a slow service answers at once,
// as where a signal is sent.
func (s *service) obey(replies io.Writer) {
	s.busy.Lock()
	defer s.busy.Unlock()
	if s.hung.Load() {
		_, _ = fmt.Fprintln(replies, "loaded")
		return
	}
	slow := s.slow.Load()
	if slow {
		_, _ = fmt.Fprintln(replies, "loaded")
		<-time.After(slowness)
	}
	answer := "loaded"
	if err := s.load(); err != nil {
		answer = err.Error() // the old files stay loaded
	}
	s.after()
	if !slow {
		_, _ = fmt.Fprintln(replies, answer)
	}
}

// loaded waits until the service is at rest and returns what it has.
func (s *service) loaded() *peer {
	s.busy.Lock()
	defer s.busy.Unlock()
	return s.has.Load()
}

func (s *service) load() error {
	p, err := readPeer(s.dir)
	if err == nil && p.pair == nil {
		err = errors.New("there is no tls.crt")
	}
	if err == nil {
		s.has.Store(p)
	}
	return err
}

func (s *service) answer(raw net.Conn) {
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(requestTimeout))
	has := s.has.Load()
	if has == nil || s.hung.Load() {
		return
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, CurvePreferences: cheap, Certificates: []tls.Certificate{*has.pair}}
	if s.mutual {
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, has.pool()
	}
	c := tls.Server(raw, config)
	if c.Handshake() == nil {
		_, _ = io.WriteString(c, "hello")
		_ = c.Close()
	}
}

// cheap: there are thousands of handshakes.
var cheap = []tls.CurveID{tls.X25519}

const requestTimeout = 20 * time.Second

// client reads its files at each request, which has a connection of its own.
type client struct {
	name string
	dir  string
	to   *service
}

func (c client) ask() error {
	has, err := readPeer(c.dir)
	if err != nil {
		return err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, CurvePreferences: cheap, ServerName: "localhost", RootCAs: has.pool()}
	if has.pair != nil {
		config.Certificates = []tls.Certificate{*has.pair}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: requestTimeout}, "tcp", c.to.addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(requestTimeout))
	text, err := io.ReadAll(conn)
	if err == nil && string(text) != "hello" {
		err = fmt.Errorf("the answer is %q", text)
	}
	return err
}

// conversation has clients ask all the time and notes who was refused.
type conversation struct {
	clients []client

	mu      sync.Mutex
	doing   string
	refused []string
}

// now says what is going on, for the note of a refusal.
func (c *conversation) now(doing string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doing = doing
}

// ask has every client ask once.
func (c *conversation) ask(at string) {
	for _, one := range c.clients {
		if err := one.ask(); err != nil {
			c.mu.Lock()
			c.refused = append(c.refused, fmt.Sprintf("%s, %s: %s is refused: %v", c.doing, at, one.name, err))
			c.mu.Unlock()
		}
	}
}

// begin has them ask every 100 ms from now on, until the test ends.
func (c *conversation) begin(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				c.ask("meanwhile")
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
}

// refusals returns what was refused so far.
func (c *conversation) refusals() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.refused)
}

// writeCA puts a CA into the files of a local issuer.
func writeCA(t *testing.T, dir string, ca *testpki.CA) *testpki.CA {
	t.Helper()
	chain := ca.PEM()
	if len(ca.Chain) > 0 {
		chain = testpki.PEM(append(slices.Clone(ca.Chain), ca.Root)...)
	}
	testpki.WriteFile(t, filepath.Join(dir, "ca.pem"), chain, 0o644)
	testpki.WriteFile(t, filepath.Join(dir, "ca-key.pem"), testpki.KeyPEM(t, ca.Key), 0o600)
	return ca
}

// rootCA makes the CA of a local issuer by hand.
func rootCA(t *testing.T, name string) *testpki.CA {
	t.Helper()
	return testpki.NewWith(t, testpki.Options{CommonName: name + " CA", NotAfter: time.Now().AddDate(10, 0, 0)})
}

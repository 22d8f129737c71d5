// Package testssh is an SSH server for tests, in process and on a loopback
// port: it runs commands with /bin/sh, serves the files of this machine by
// SFTP, forwards connections for jumps, and can fail where it is configured to. It
// knows nothing of renewer.
//
//	s := testssh.Start(t, testssh.Options{})
//	s.Port, s.Login.File, s.KnownHosts(t)
package testssh

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// User is the account that may log in.
const User = "renewer"

// Options describe a server. The zero value has an ed25519 host key and sudo
// that lets everything through.
type Options struct {
	HostKeys   []ssh.Signer  // default: one ed25519 key
	Login      *Key          // who may log in; default: a new key
	SudoSays   string        // refusal that sudo prints; empty: it obeys
	SFTPServer string        // the one path under which there is an SFTP server; default: Debian's
	NoFiles    bool          // no SFTP subsystem
	Questions  []string      // asked after the key was taken, if it is not nil; empty answers do not do
	Authority  ssh.PublicKey // whose certificates may log in, beside Login
	Banner     string        // before login
	Noise      string        // what the shell prints before it starts an SFTP server
	Sessions   int64         // how many one connection may have (MaxSessions of sshd); default: any number
	Refused    func()        // called for each session beyond that; nil: nothing is
}

// Key is a key with which one logs in, and the file that holds it.
type Key struct {
	Signer ssh.Signer
	Raw    ed25519.PrivateKey
	File   string
}

// Server is a running server. It ends with the test.
type Server struct {
	Host  string // 127.0.0.1
	Port  int
	Login *Key
	Bin   string // a directory that comes first in PATH of what runs

	opts     Options
	listener net.Listener
	work     sync.WaitGroup
	accepted atomic.Int64

	mu      sync.Mutex
	streams map[net.Conn]bool
	frozen  chan struct{} // closed while the server works
	fault   func(Request) Fault
	look    func(Request)
	serial  int
}

// NewKey makes a key and its file.
func NewKey(t testing.TB) *Key {
	t.Helper()
	_, raw, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	signer, err := ssh.NewSignerFromKey(raw)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(raw, "")
	check(t, err)
	file := filepath.Join(t.TempDir(), "id_ed25519")
	check(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return &Key{signer, raw, file}
}

// Start starts a server.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.HostKeys == nil {
		o.HostKeys = []ssh.Signer{NewKey(t).Signer}
	}
	if o.Login == nil {
		o.Login = NewKey(t)
	}
	if o.SFTPServer == "" {
		o.SFTPServer = "/usr/lib/openssh/sftp-server"
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	s := &Server{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Login: o.Login, Bin: t.TempDir(),
		opts: o, listener: l, streams: map[net.Conn]bool{}, frozen: make(chan struct{}),
	}
	close(s.frozen)
	sudo := "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || { echo 'sudo: unexpected arguments' >&2; exit 99; }\nshift 2\nexec \"$@\"\n"
	if o.SudoSays != "" {
		sudo = "#!/bin/sh\necho '" + o.SudoSays + "' >&2\nexit 1\n"
	}
	check(t, os.WriteFile(filepath.Join(s.Bin, "sudo"), []byte(sudo), 0o700)) //nolint:gosec // a program has to be executable
	s.work.Go(s.accept)
	t.Cleanup(func() {
		_ = l.Close()
		s.Freeze(false)
		s.Cut()
		s.work.Wait()
	})
	return s
}

// KnownHosts writes a known_hosts file with the server's keys, under the names
// given or its address.
func (s *Server) KnownHosts(t testing.TB, names ...string) string {
	t.Helper()
	if len(names) == 0 {
		names = []string{s.Address()}
	}
	file := filepath.Join(t.TempDir(), "known_hosts")
	var text string
	for _, key := range s.opts.HostKeys {
		text += knownhosts.Line(names, key.PublicKey()) + "\n"
	}
	check(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// Address is host:port.
func (s *Server) Address() string { return net.JoinHostPort(s.Host, fmt.Sprint(s.Port)) }

// Connections counts all connections so far.
func (s *Server) Connections() int { return int(s.accepted.Load()) }

// Cut closes all connections, without a word.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.streams {
		_ = c.Close()
	}
}

// Freeze makes the server stop reading and answering, connections staying
// open, until it is called with false.
func (s *Server) Freeze(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.frozen:
		if on {
			s.frozen = make(chan struct{})
		}
	default:
		if !on {
			close(s.frozen)
		}
	}
}

func (s *Server) thaw() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frozen
}

// stream is a connection that freezes with its server.
type stream struct {
	net.Conn
	s *Server
}

func (c stream) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	<-c.s.thaw()
	return n, err
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.accepted.Add(1)
		s.mu.Lock()
		s.streams[c] = true
		s.mu.Unlock()
		s.work.Go(func() {
			defer func() {
				_ = c.Close()
				s.mu.Lock()
				delete(s.streams, c)
				s.mu.Unlock()
			}()
			s.connection(stream{c, s})
		})
	}
}

var errNotAllowed = errors.New("not allowed")

func (s *Server) login(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	signed := ssh.CertChecker{IsUserAuthority: func(by ssh.PublicKey) bool {
		return s.opts.Authority != nil && string(by.Marshal()) == string(s.opts.Authority.Marshal())
	}}
	_, err := signed.Authenticate(m, key)
	if m.User() != User || err != nil && string(key.Marshal()) != string(s.Login.Signer.PublicKey().Marshal()) {
		return nil, errNotAllowed
	}
	if s.opts.Questions == nil {
		return nil, nil
	}
	return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{
		KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", s.opts.Questions, make([]bool, len(s.opts.Questions)))
			if err == nil && slices.Contains(answers, "") {
				err = errNotAllowed
			}
			return nil, err
		},
	}}
}

func (s *Server) connection(c net.Conn) {
	config := &ssh.ServerConfig{PublicKeyCallback: s.login}
	if s.opts.Banner != "" {
		config.BannerCallback = func(ssh.ConnMetadata) string { return s.opts.Banner }
	}
	for _, key := range s.opts.HostKeys {
		config.AddHostKey(key)
	}
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer conn.Close()
	work.Go(func() {
		for r := range requests {
			if r.WantReply {
				_ = r.Reply(false, nil) // what sshd says to a keepalive
			}
		}
	})
	var sessions atomic.Int64
	for ch := range channels {
		switch ch.ChannelType() {
		case "session":
			if n := sessions.Add(1); s.opts.Sessions > 0 && n > s.opts.Sessions {
				sessions.Add(-1)
				if s.opts.Refused != nil {
					s.opts.Refused()
				}
				_ = ch.Reject(ssh.ConnectionFailed, "open failed") // in sshd's words
				continue
			}
			work.Go(func() { s.session(c, ch); sessions.Add(-1) })
		case "direct-tcpip":
			work.Go(func() { forward(ch) })
		default:
			_ = ch.Reject(ssh.UnknownChannelType, "")
		}
	}
}

// forward connects a channel to where it says (RFC 4254, section 7.2).
func forward(ch ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(ch.ExtraData(), &to); err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	far, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	near, requests, err := ch.Accept()
	if err != nil {
		_ = far.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
	both.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
	both.Wait()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

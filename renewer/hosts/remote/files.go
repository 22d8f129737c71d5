package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// files is the SFTP session of a connection.
type files struct {
	*sftp.Client
	syncs  bool        // the server has fsync@openssh.com
	silent atomic.Bool // it did not answer in time, and was given up for that
	end    func()
	users  int // under the connection's lock; see conn.evict
}

// sftp returns the SFTP session with some rights, starting one if there is none;
// first is asked with its greeting then, and was sent.
func (c *conn) sftp(ctx context.Context, as rights, first func(*sftp.Batch)) (f *files, sent bool, err error) {
	select { // one starts it, the others wait
	case c.start <- struct{}{}:
		defer func() { <-c.start }()
	case <-c.over:
		return nil, false, c.broken(ErrLost)
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	c.mu.Lock()
	f = c.files[as]
	if f != nil {
		f.users++
	}
	c.mu.Unlock()
	if f != nil {
		return f, false, nil
	}
	if f, err = c.startSFTP(ctx, as, first); err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	c.files[as] = f
	f.users++
	c.mu.Unlock()
	return f, first != nil, nil
}

// unused says that a session is not used any more by who got it from sftp.
func (c *conn) unused(f *files) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.users--
}

// evict ends a session with the rights of some user that no one uses, to make
// room for another one. The one that everything begins with stays.
func (c *conn) evict() {
	c.mu.Lock()
	var idle *files
	for as, f := range c.files {
		if as != c.t.rights() && f.users == 0 {
			idle = f
			delete(c.files, as)
			break
		}
	}
	c.mu.Unlock()
	if idle != nil {
		idle.end()
	}
}

// drop gives up an SFTP session that does not answer or has ended.
func (c *conn) drop(f *files) {
	c.mu.Lock()
	for as, have := range c.files {
		if have == f {
			delete(c.files, as)
		}
	}
	c.mu.Unlock()
	f.end()
}

// serveIn starts a server of root's in a directory, and makes sure that it is
// in that one: from then on names without a path are looked up in what is open,
// whatever becomes of the way there.
func (c *conn) serveIn(ctx context.Context, dir string) (*files, error) {
	c.t.mu.Lock()
	server := cmp.Or(c.t.cfg.SFTPServer, c.t.sftpServer, hosts.SFTPPlaces[0])
	c.t.mu.Unlock()
	f, err := c.serve(ctx, asRoot, server, nil, hosts.InDirectory(dir)...)
	if err != nil {
		return nil, err
	}
	real, err := sftp.One(ctx, f.Client, func(b *sftp.Batch) sftp.Reply[string] { return b.RealPath(".") })
	if err == nil && real != dir {
		err = fmt.Errorf("%s was changed meanwhile: it pointed to %s", dir, real)
	}
	if err != nil {
		f.end()
		return nil, err
	}
	return f, nil
}

// startSFTP starts the subsystem, or the server as a command. Its usual place
// is tried before the host is searched for it, which costs a command.
func (c *conn) startSFTP(ctx context.Context, as rights, first func(*sftp.Batch)) (*files, error) {
	server := c.t.cfg.SFTPServer
	if server != "" || as == asLogin {
		f, err := c.serve(ctx, as, server, first)
		if server != "" || !errors.Is(err, sftp.ErrProtocol) {
			return f, err
		}
		// What the account's shell prints while it starts stands in front of the subsystem
		// too. A command has a mark.
	}
	c.t.mu.Lock()
	server = c.t.sftpServer
	c.t.mu.Unlock()
	if server == "" {
		server = hosts.SFTPPlaces[0]
	}
	f, err := c.serve(ctx, as, server, first)
	var failed *startError
	if errors.As(err, &failed) {
		var there []string
		out, _ := c.command(ctx, words(asLogin, append([]string{"ls", "-d"}, hosts.SFTPPlaces...)), "ls") // fails if any is missing
		if out != nil {
			there = strings.Fields(string(out.answer.bytes()))
		}
		at := slices.IndexFunc(hosts.SFTPPlaces, func(s string) bool { return slices.Contains(there, s) })
		switch {
		case at < 0:
			return nil, misconfigured(fmt.Errorf("no SFTP server found in %s: %w", strings.Join(hosts.SFTPPlaces, ", "), err), "install openssh-sftp-server on the host, or set sftp_server:")
		case hosts.SFTPPlaces[at] == server:
			return nil, err
		}
		server = hosts.SFTPPlaces[at]
		f, err = c.serve(ctx, as, server, first)
	}
	if err == nil {
		c.t.mu.Lock()
		c.t.sftpServer = server
		c.t.mu.Unlock()
	}
	return f, err
}

// startError: the SFTP server did not start.
type startError struct {
	server string // empty: the subsystem
	said   string
	err    error
}

func (e *startError) Error() string {
	text := fmt.Sprintf("start SFTP server %s: %v", cmp.Or(e.server, "(the subsystem)"), e.err)
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

func (e *startError) Unwrap() error { return e.err }

// serve starts a server and shakes hands with it.
func (c *conn) serve(ctx context.Context, as rights, server string, first func(*sftp.Batch), more ...string) (*files, error) {
	s, end, err := c.stream(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.t.client.limit(ctx)
	defer cancel()
	said := &tail{limit: outputKept}
	f, err := await(ctx, func() (*files, error) { return c.begin(s, as, server, said, first, more) }, nil)
	if err != nil {
		end()
		if err := c.broken(err); errors.Is(err, ErrLost) || ctx.Err() != nil {
			return nil, c.hangs(err)
		}
		return nil, c.explainStart(as, server, said.line(), err)
	}
	f.end = sync.OnceFunc(func() { _ = f.Close(); end() })
	if f.Extension("posix-rename@openssh.com") == "" {
		f.end()
		return nil, misconfigured(errors.New("the SFTP server cannot rename onto an existing name (posix-rename@openssh.com)"),
			"use OpenSSH's SFTP server: set sftp_server:, or Subsystem in sshd_config")
	}
	f.syncs = f.Extension("fsync@openssh.com") == "1"
	return f, nil
}

// begin starts the server on a session.
func (c *conn) begin(s *stream, as rights, server string, said *tail, first func(*sftp.Batch), more []string) (*files, error) {
	var out io.Reader = s
	var behind *unmarked
	noise := newNoise(func(error) { go s.Close() })
	request, what := "subsystem", "sftp"
	if server != "" {
		line, err := commandLine(c.mark, words(as, hosts.SFTPServer(server, more...)))
		if err != nil {
			return nil, err
		}
		request, what = "exec", line
		behind = newUnmarked(c.mark, out, noise)
		out = behind
	}
	ok, err := s.SendRequest(request, true, ssh.Marshal(struct{ What string }{what})) // sshd takes nothing before its answer
	if err == nil && !ok {
		err = errors.New("the host refused to start it")
	}
	if err != nil {
		return nil, err
	}
	spoken := make(chan struct{})
	go func() { defer close(spoken); _, _ = io.Copy(aside{noise, said}, s.Stderr()) }() // ends with the session
	to := newGather(closing{s})
	client, err := sftp.New(out, to, first)
	if err == nil {
		noise.ended()
		return &files{Client: client}, nil
	}
	_ = to.Close() // nothing is sent any more
	// It has ended, or ends now that its input has; what it said says why.
	switch {
	case noise.tooMuch() != nil:
		return nil, c.endless(noise.tooMuch())
	case server != "":
		how := s.exit()
		<-spoken
		if err := noise.tooMuch(); err != nil {
			return nil, c.endless(err)
		}
		if behind.found {
			return nil, cmp.Or(how, err)
		}
		if errors.Is(err, errSpeaksSFTP) {
			_, _ = said.Write([]byte(err.Error()))
		}
		return nil, c.noCommands(server, lineOf(append(behind.last.bytes(), said.bytes()...)), how)
	case !errors.Is(err, sftp.ErrProtocol): // a subsystem has no exit status to wait for
		err = errors.New("it exited")
	}
	return nil, err
}

// closing closes the input of what runs in a session.
type closing struct{ ssh.Channel }

func (c closing) Close() error { return c.CloseWrite() }

// exit waits for the end of what ran, and is how it ended (RFC 4254, section 6.10);
// nil where it ended well, or that is not said.
func (s *stream) exit() (how error) {
	for r := range s.requests {
		switch r.Type {
		case "exit-status":
			var is struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &is) == nil && is.Status != 0 {
				how = fmt.Errorf("exit status %d", is.Status)
			}
		case "exit-signal":
			how = errors.New("it was killed")
		}
		if r.WantReply {
			_ = r.Reply(false, nil)
		}
	}
	return how
}

func (c *conn) explainStart(as rights, server, said string, err error) error {
	switch {
	case errors.As(err, new(*endlessError)), errors.As(err, new(*NoCommandsError)):
		return err
	case server == "":
		return misconfigured(&startError{err: err, said: said}, "enable it on the host: Subsystem sftp internal-sftp in sshd_config")
	case strings.Contains(said, "unknown user "+string(as)):
		return misconfigured(fmt.Errorf("a directory belongs to user %s, which has no name on the host: %w", as, &startError{server: server, err: errors.New(said)}),
			fmt.Sprintf("give the user a name: on the host, run useradd -M -s /usr/sbin/nologin -u %s NAME; or add Defaults runas_allow_unknown_id to sudoers", string(as[1:])))
	case as != asLogin && sudoRefused(said):
		return c.sudoError(&startError{server: server, err: errors.New(said)}, as, server, said)
	}
	return misconfigured(&startError{server: server, err: exitError(err), said: said},
		"set sftp_server: to the path on the host; startup files of the account's shell must not print anything")
}

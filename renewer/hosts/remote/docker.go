package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// DialDocker connects to the Docker daemon of the host by `docker system
// dial-stdio`, as the docker command itself does for ssh:// hosts: it copies
// between its own streams and the socket. So sudo applies as it does to every
// command, and sshd need not allow any forwarding. The connection has one of
// the host's sessions until it is closed.
func (t *Transport) DialDocker(ctx context.Context, socket string) (net.Conn, error) {
	if !path.IsAbs(socket) || path.Clean(socket) != socket {
		return nil, fmt.Errorf("connect to %q: not an absolute, clean path", socket)
	}
	argv := hosts.DialDocker(path.Join("/", t.cfg.Root, socket))
	c, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	p, err := c.pipe(ctx, argv)
	if err != nil {
		c.release()
		return nil, err
	}
	return p, nil
}

// pipe starts a command whose standard input and output are a connection.
func (c *conn) pipe(ctx context.Context, argv []string) (*pipe, error) {
	line, err := commandLine(c.mark, words(c.t.rights(), alone(c.t.cfg.Sudo, argv)))
	if err != nil {
		return nil, err
	}
	s, end, err := c.session(ctx)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	p := &pipe{c: c, argv: argv, session: s, said: &tail{limit: outputKept}, done: make(chan struct{})}
	p.close = sync.OnceFunc(func() { end(); c.release() })
	p.noise = newNoise(func(error) { go end() })
	s.Stderr = aside{p.noise, p.said}
	if p.in, err = s.StdinPipe(); err == nil {
		var out io.Reader
		out, err = s.StdoutPipe()
		p.out = newUnmarked(c.mark, out, p.noise)
	}
	if err == nil {
		_, err = await(ctx, func() (struct{}, error) { return struct{}{}, s.Start(line) }, nil)
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("run %s: %w", argv[0], c.broken(err))
	}
	c.t.work.Go(func() {
		defer close(p.done)
		p.ended = s.Wait()
	})
	return p, nil
}

// pipe is a command on the host as a connection. It has no deadlines: a caller that
// has enough of it closes it.
type pipe struct {
	c       *conn
	argv    []string
	session *ssh.Session
	in      io.WriteCloser
	out     io.Reader
	said    *tail
	noise   *noise
	close   func()

	done  chan struct{} // closed when the command has ended
	ended error         // how; valid once done is closed
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	<-p.done // the output ends with the command, or with the session
	if why := p.explain(); why != nil {
		return 0, why
	}
	return 0, io.EOF
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	if err != nil {
		select {
		case <-p.done:
			if why := p.explain(); why != nil {
				err = why
			}
		default:
		}
	}
	return n, err
}

// explain says why the command failed, in terms of a connection to a socket.
func (p *pipe) explain() error {
	if err := p.noise.tooMuch(); err != nil {
		return p.c.endless(err)
	}
	if p.ended == nil {
		return nil
	}
	err := p.c.explainRun(p.ended, p.c.t.rights(), p.argv, p.said)
	said := p.said.line()
	switch {
	case renewer.Hint(err) != "":
		return err
	case strings.Contains(said, "unable to resolve docker endpoint"):
		return renewer.WithHint(fmt.Errorf("%w: %s", err, said), "the environment of that account redirects docker: remove DOCKER_TLS_VERIFY, DOCKER_CERT_PATH and DOCKER_TLS from /etc/environment on the host")
	case !aboutSocket(said):
	case strings.Contains(said, "permission denied"):
		return fmt.Errorf("%w: %s: %w", err, said, fs.ErrPermission)
	default:
		return fmt.Errorf("%w: %s: %w", err, said, syscall.ECONNREFUSED)
	}
	if said != "" {
		return fmt.Errorf("%w: %s", err, said)
	}
	return err
}

// aboutSocket reports whether docker says that it could not connect. That some
// other file is not there says nothing of the daemon.
func aboutSocket(said string) bool {
	dialled := strings.Contains(said, "dial unix ")
	return strings.Contains(said, "Cannot connect to the Docker daemon") || strings.Contains(said, "permission denied while trying to connect to the Docker daemon") ||
		dialled && (strings.Contains(said, "connection refused") || strings.Contains(said, "no such file or directory") || strings.Contains(said, "permission denied"))
}

// alone takes the variables of the account away from a question to the Docker
// daemon. sudo does that itself.
func alone(privileged bool, argv []string) []string {
	if privileged || !hosts.AsksDocker(argv) {
		return argv
	}
	out := []string{"env"}
	for _, name := range hosts.DockerVariables {
		out = append(out, "-u", name)
	}
	return append(out, argv...)
}

func (p *pipe) Close() error {
	p.close()
	return nil
}

func (p *pipe) LocalAddr() net.Addr  { return stdio{} }
func (p *pipe) RemoteAddr() net.Addr { return stdio{} }

var errNoDeadline = errors.New("a command's streams have no deadlines")

func (p *pipe) SetDeadline(time.Time) error      { return errNoDeadline }
func (p *pipe) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (p *pipe) SetWriteDeadline(time.Time) error { return errNoDeadline }

type stdio struct{}

func (stdio) Network() string { return "stdio" }
func (stdio) String() string  { return "docker system dial-stdio" }

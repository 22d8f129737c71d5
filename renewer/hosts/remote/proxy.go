package remote

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"renewer/internal/cleanenv"
)

// environment is that of commands that this account's ~/.ssh/config names.
func (c *Client) environment() []string {
	env := append(cleanenv.Of(os.Environ()), "HOME="+c.Home)
	if c.Agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+c.Agent)
	}
	return env
}

// proxyCommand starts the command of ProxyCommand and is the stream to the host
// over it. It ends with the stream.
func (c *Client) proxyCommand(line string) (net.Conn, error) {
	cmd := exec.Command("/bin/sh", "-c", "exec "+line) //nolint:noctx // it lives as long as the connection
	cmd.Env = c.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said := &tail{limit: outputKept}
	cmd.Stderr, cmd.WaitDelay = said, time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &proxied{in: in, out: out, said: said, line: line}
	p.end = sync.OnceValue(func() error {
		_ = in.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		kill := time.AfterFunc(termGrace, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer kill.Stop()
		return cmd.Wait()
	})
	return p, nil
}

// proxied is a stream over a command on this machine.
type proxied struct {
	in   io.WriteCloser
	out  io.Reader
	said *tail
	line string
	end  func() error
}

func (p *proxied) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	return n, p.explain(err)
}

func (p *proxied) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	return n, p.explain(err)
}

// explain says how the command ended where the stream did: what it printed is
// known when it has been waited for.
func (p *proxied) explain(err error) error {
	if err == nil {
		return nil
	}
	_ = p.end()
	if said := p.said.line(); said != "" {
		return fmt.Errorf("ProxyCommand exited: %s: %w", said, io.EOF)
	}
	return fmt.Errorf("ProxyCommand exited: %w", io.EOF)
}

func (p *proxied) Close() error {
	_ = p.end() // its exit status says nothing: it was stopped
	return nil
}

func (p *proxied) LocalAddr() net.Addr              { return nowhere }
func (p *proxied) RemoteAddr() net.Addr             { return nowhere }
func (p *proxied) SetDeadline(time.Time) error      { return errNoDeadline }
func (p *proxied) SetReadDeadline(time.Time) error  { return errNoDeadline }
func (p *proxied) SetWriteDeadline(time.Time) error { return errNoDeadline }

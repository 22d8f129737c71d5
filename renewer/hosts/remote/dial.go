package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"renewer/internal/netcause"

	"golang.org/x/crypto/ssh"
)

// dial connects and logs in, until ctx ends. reached says that there is a stream.
func (t *Transport) dial(ctx context.Context, reached *atomic.Bool) (*conn, error) {
	to, err := t.client.resolve(t.cfg)
	if err != nil {
		return nil, err
	}
	doing := func(err error) error { return to.without(fmt.Errorf("connect to %s: %w", to.address(), err)) }
	known, err := t.client.hostKeys(ctx, to)
	if err != nil {
		return nil, doing(err)
	}
	keys, skipped, hangUp, err := t.client.login(ctx, to)
	if err != nil {
		return nil, doing(err)
	}
	defer hangUp()
	raw, free, err := t.reach(ctx, to)
	if err != nil {
		return nil, doing(err)
	}
	reached.Store(true)
	stream := &noticed{Conn: raw, closed: make(chan struct{})}
	c, err := shake(ctx, stream, to, known, &talk{to: to, keys: keys, skipped: skipped})
	if err != nil {
		free()
		return nil, doing(err)
	}
	c.closed = stream.closed
	return newConn(t, c, to, free), nil
}

// reach opens the stream to the host, through the host to jump over if there
// is one. free gives that one free again.
func (t *Transport) reach(ctx context.Context, to target) (raw net.Conn, free func(), err error) {
	jump, err := t.jump(to)
	if err != nil {
		return nil, nil, err
	}
	if jump == nil && to.command != "" {
		raw, err := t.client.proxyCommand(to.command)
		return raw, func() {}, err
	}
	if jump == nil {
		raw, err := to.dial(ctx)
		return raw, func() {}, err
	}
	over, err := jump.acquire(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("through %s: %w", jump.cfg.Name, err)
	}
	raw, err = await(ctx, func() (net.Conn, error) { return over.client.Dial("tcp", to.address()) }, func(c net.Conn) { _ = c.Close() })
	if err != nil {
		over.release()
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) && refused.Reason == ssh.Prohibited {
			return nil, nil, misconfigured(fmt.Errorf("through %s: %w", jump.cfg.Name, err), "set AllowTcpForwarding yes in sshd_config on that host")
		}
		return nil, nil, fmt.Errorf("through %s: %w", jump.cfg.Name, err)
	}
	return raw, over.release, nil
}

// dial connects over TCP, from the address and in the family that the ssh configuration says.
func (t target) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	if t.bind != "" {
		from, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(t.bind, "0"))
		if err != nil {
			return nil, misconfigured(fmt.Errorf("BindAddress %s: %w", t.bind, err), "set BindAddress in the ssh configuration to an address of this machine")
		}
		d.LocalAddr = from
	}
	raw, err := d.DialContext(ctx, firstOf(t.network, "tcp"), t.address())
	return raw, netcause.Of(err)
}

// link is a connection that was logged in. What the host asks comes here, where
// ssh.NewClient has three goroutines that wait for it: with some hundred hosts, that
// is much of the memory.
type link struct {
	client   *ssh.Client
	channels <-chan ssh.NewChannel
	requests <-chan *ssh.Request
	closed   <-chan struct{} // its stream was
}

// shake does the handshake, which knows no context: closing the stream ends it.
func shake(ctx context.Context, raw net.Conn, to target, known *hostKeys, talk *talk) (*link, error) {
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	safe := ssh.SupportedAlgorithms()
	c, channels, requests, err := ssh.NewClientConn(raw, to.address(), &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: safe.KeyExchanges, Ciphers: safe.Ciphers, MACs: withoutSHA1MAC(safe.MACs)},
		User:              to.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(talk.keys...), ssh.KeyboardInteractive(talk.answer)},
		AuthCallback:      talk.next,
		BannerCallback:    talk.banner,
		HostKeyCallback:   known.check,
		HostKeyAlgorithms: known.algorithms(),
		ClientVersion:     "SSH-2.0-renewer",
	})
	if !stop() {
		if err == nil {
			_ = c.Close()
		}
		return nil, context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, talk.explain(err)
	}
	return &link{client: &ssh.Client{Conn: c}, channels: channels, requests: requests}, nil
}

func withoutSHA1MAC(macs []string) (out []string) {
	for _, m := range macs {
		if m != ssh.HMACSHA1 {
			out = append(out, m)
		}
	}
	return out
}

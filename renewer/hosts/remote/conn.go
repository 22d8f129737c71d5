package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// sessionsAtOnce is less than what sshd gives one connection, MaxSessions 10
// (sshd_config(5)): a session that was closed still counts for a moment, while
// the next one is asked for already.
const sessionsAtOnce = 7

// How long to wait after a session was refused, at first and at most.
const (
	refusedPause = 10 * time.Millisecond
	longestPause = time.Second
)

// conn is one connection that was logged in.
type conn struct {
	t *Transport
	*link
	to    target
	mark  string        // what the account's shell prints in front of an answer
	free  func()        // gives the host to jump over free
	over  chan struct{} // closed when the connection has ended
	slots chan struct{} // one for each session
	doing atomic.Int32  // commands that run
	ended atomic.Int32  // sessions that have ended
	start chan struct{} // one may start the SFTP session

	mu     sync.Mutex // guards what follows
	why    error      // it ended; nil while it has not
	users  int
	idle   *time.Timer
	files  map[rights]*files
	owners map[string]hosts.Owner // looked up before
	notOf  map[member]bool        // of whom it is known that they may not give a file to that group
	ways   map[string]way         // by the directories that they lead to
	beside bool                   // a command ran beside the SFTP session
}

func newConn(t *Transport, l *link, to target, free func()) *conn {
	c := &conn{
		t: t, link: l, to: to, mark: "renewer-" + rand.Text(), free: free, over: make(chan struct{}),
		slots: make(chan struct{}, sessionsAtOnce), start: make(chan struct{}, 1), owners: map[string]hosts.Owner{}, notOf: map[member]bool{}, files: map[rights]*files{}, ways: map[string]way{},
	}
	c.idle = time.AfterFunc(t.client.Idle, c.expire)
	return c
}

// use keeps the connection open until release; false if it has ended.
func (c *conn) use() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return false
	}
	c.users++
	c.idle.Stop()
	return true
}

func (c *conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 && c.why == nil {
		c.idle.Reset(c.t.client.Idle)
	}
}

func (c *conn) expire() {
	c.end(errIdle, func() bool { return c.users == 0 })
}

var errIdle = errors.New("not used")

// fail ends the connection; the first reason stays.
func (c *conn) fail(why error) { c.end(why, func() bool { return true }) }

func (c *conn) end(why error, holds func() bool) {
	c.mu.Lock()
	first := c.why == nil && holds()
	if first {
		c.why = cmp.Or(why, ErrLost)
		c.idle.Stop()
	}
	c.mu.Unlock()
	if first {
		_ = c.client.Close()
	}
}

// watch ends with the connection. Meanwhile it asks the host whether it is there.
func (c *conn) watch() {
	tick := time.NewTicker(c.t.client.Keepalive)
	defer tick.Stop()
	for alive := true; alive; {
		select {
		case <-c.closed:
			alive = false
		case <-tick.C:
			alive = c.keepAlive()
		case r := <-c.requests:
			if r != nil && r.WantReply {
				_ = r.Reply(false, nil)
			}
		case ch := <-c.channels:
			if ch != nil {
				_ = ch.Reject(ssh.Prohibited, "")
			}
		}
	}
	c.fail(c.client.Wait())
	c.free()
	close(c.over)
	if why := c.reason(); !errors.Is(why, errIdle) && !errors.Is(why, errClosed) {
		c.t.client.Log.Warn("connection to host lost", "host", c.t.cfg.Name, "error", why)
	}
}

// keepAlive ends the connection if the host does not answer in time.
func (c *conn) keepAlive() bool {
	late := time.AfterFunc(c.t.client.patience(), func() { c.fail(errSilent) })
	defer late.Stop()
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	if err != nil {
		c.fail(err)
	}
	return err == nil
}

// noticed is a stream that tells when it was closed, as the library does when the
// connection has ended: no goroutine has to wait for that alone.
type noticed struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (n *noticed) Close() error {
	n.once.Do(func() { close(n.closed) })
	return n.Conn.Close()
}

// reason is why the connection ended; nil while it has not.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// broken makes of an error of the libraries one that says that the connection,
// or its SFTP session, is gone, if it is.
func (c *conn) broken(err error) error {
	if err == nil {
		return nil
	}
	why := c.reason()
	if why == nil {
		if why = err; !lost(err) {
			return err
		}
	}
	if errors.Is(why, errClosed) || errors.Is(why, ErrLost) {
		return why
	}
	if errors.Is(why, sftp.ErrEnded) { // which says no more
		return ErrLost
	}
	return fmt.Errorf("%w: %w", ErrLost, why)
}

// session opens a session within the client's timeout. A host that says nothing
// in that time is taken for dead; one that has no session free is asked again.
func (c *conn) session(ctx context.Context) (*ssh.Session, func(), error) {
	s, end, err := session(ctx, c, c.client.NewSession)
	if err != nil {
		return nil, nil, err
	}
	c.doing.Add(1)
	return s, sync.OnceFunc(func() { c.doing.Add(-1); end() }), nil
}

// stream is a session that nothing was started in, and what the host asks there.
type stream struct {
	ssh.Channel
	requests <-chan *ssh.Request
}

// stream opens one. The library's own has a goroutine that waits for requests, of
// which there is one, at the end.
func (c *conn) stream(ctx context.Context) (*stream, func(), error) {
	return session(ctx, c, func() (*stream, error) {
		ch, requests, err := c.client.OpenChannel("session", nil)
		return &stream{ch, requests}, err
	})
}

func session[T io.Closer](ctx context.Context, c *conn, open func() (T, error)) (s T, end func(), err error) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.evict()
		select {
		case c.slots <- struct{}{}:
		case <-c.over:
			return s, nil, c.broken(ErrLost)
		case <-ctx.Done():
			return s, nil, context.Cause(ctx)
		}
	}
	free := func() { <-c.slots }
	limited, cancel := c.t.client.limit(ctx)
	defer cancel()
	if s, err = opened(limited, c, open); err != nil {
		free()
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) && ctx.Err() == nil {
			c.fail(err) // silent or gone: the library has no one error for that
		}
		return s, nil, c.broken(err)
	}
	return s, sync.OnceFunc(func() { _ = s.Close(); c.ended.Add(1); free() }), nil
}

// opened asks for a session until there is one. A host that has refused one is not
// silent, whenever the time is up. It is asked again for as long as one may become free: while a
// command runs, and for a moment after a session has ended.
func opened[T io.Closer](ctx context.Context, c *conn, open func() (T, error)) (none T, err error) {
	var refused *ssh.OpenChannelError
	since, ended := time.Now(), c.ended.Load()
	for pause := refusedPause; ; pause = min(2*pause, longestPause) {
		s, err := asked(ctx, c, open)
		var no *ssh.OpenChannelError
		if errors.As(err, &no) && (no.Reason == ssh.ConnectionFailed || no.Reason == ssh.ResourceShortage) {
			refused = no
		} else if err == nil || refused == nil || ctx.Err() == nil {
			return s, err
		}
		c.evict()
		if now := c.ended.Load(); now != ended || c.doing.Load() > 0 {
			since, ended = time.Now(), now
		} else if time.Since(since) > besidePatience {
			return none, c.tooFew(refused)
		}
		next := time.NewTimer(pause)
		select {
		case <-next.C:
		case <-c.over:
			next.Stop()
			return none, ErrLost
		case <-ctx.Done():
			next.Stop()
			return none, c.tooFew(refused)
		}
	}
}

// tooFew says how many sessions a connection has to have (MaxSessions of sshd_config(5)).
func (c *conn) tooFew(refused error) error {
	hint := "set MaxSessions in its sshd_config to 2 or more (default 10): renewer needs one session for files and one for commands; if it is set, check sshd's log"
	if c.t.cfg.Sudo {
		hint = "set MaxSessions in its sshd_config to 3 or more (default 10): renewer needs two sessions for files, because a directory belongs to another user than root, and one for commands; if it is set, check sshd's log"
	}
	return misconfigured(fmt.Errorf("the host does not open another session: %w", refused), hint)
}

// asked asks for a session once. The library forgets a request that is sent while
// a connection ends, and waits for its answer for ever (mux.openChannel, after
// dropAll); so the end of the connection counts here.
func asked[T io.Closer](ctx context.Context, c *conn, open func() (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-c.over:
			cancel(ErrLost)
		case <-done:
		}
	}()
	return await(ctx, open, func(s T) { _ = s.Close() })
}

// besidePatience is how long a session that was closed may still count at the
// host, where there should be room for a second one.
const besidePatience = 2 * time.Second

// RunsBeside reports an error where the host gives a connection one session, or the
// account runs no commands: files could be placed, and then no command would run.
func (t *Transport) RunsBeside(ctx context.Context) error {
	c, err := t.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	c.mu.Lock()
	known := c.beside
	c.mu.Unlock()
	if known {
		return nil
	}
	if _, _, err := c.sftp(ctx, t.rights(), nil); err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, min(besidePatience, t.client.Timeout), t.client.late)
	defer cancel()
	if _, err := c.command(limited, words(asLogin, []string{"true"}), "true"); err != nil {
		return err
	}
	c.mu.Lock()
	c.beside = true
	c.mu.Unlock()
	return nil
}

// retry calls again what failed because the connection had been lost without
// anybody noticing.
func retry[T any](ctx context.Context, call func() (T, error)) (T, error) {
	for again := 2; ; again-- {
		v, err := call()
		if again == 0 || !errors.Is(err, ErrLost) || ctx.Err() != nil {
			return v, err
		}
	}
}

package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"renewer/renewer"
	"renewer/renewer/hosts"
)

// Config is one host, as the fleet file has it.
type Config struct {
	Name           string // for messages
	Address        string // name, IP address, or alias of ~/.ssh/config; default: Name
	Port           int    // 0: that of ~/.ssh/config, else 22
	User           string // empty: that of ~/.ssh/config, else the account's own name
	Sudo           bool   // files and commands under sudo -n
	SFTPServer     string // absolute path; empty: the subsystem, or with Sudo looked for in the usual places
	IdentityFile   string // empty: those of ~/.ssh/config, else ssh-agent
	KnownHostsFile string // empty: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
	Jump           *Transport
	Root           string // prefix of all file paths; empty or / for none

	ownJump bool // Jump is closed with this one
	depth   int  // of ProxyJump
}

// Transport reaches one host. It implements hosts.Transport.
type Transport struct {
	client *Client
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // every goroutine

	noTimeout atomic.Bool                 // timeout(1) cannot be used on the host
	self      atomic.Pointer[hosts.Owner] // whom what is written belongs to

	mu         sync.Mutex // guards what follows
	current    *conn
	attempt    *attempt // the dial under way
	proxy      *Transport
	sftpServer string // found before
	closed     bool
}

var _ hosts.Transport = (*Transport)(nil)

// attempt is a dial that several may wait for. No caller owns it: one that gives
// up waiting does not end it.
type attempt struct {
	done    chan struct{}
	conn    *conn
	err     error
	reached atomic.Bool // there is a stream to the host
}

// late says of an error of a time that is up how far it came.
func (a *attempt) late(t *Transport, err error) error {
	at := t.cfg.Address
	if t.cfg.Port != 0 {
		at = fmt.Sprintf("-p %d %s", t.cfg.Port, at)
	}
	far, hint := "the host does not answer", "check that the host is up and that firewalls allow SSH; run ssh -v "+at+" to see where it stops"
	if a.reached.Load() {
		far, hint = "it accepts the connection, but does not complete the SSH handshake", "run ssh -v "+at+" to see where it stops; the host may be out of memory, or another program than sshd listens on that port"
	}
	return renewer.WithHint(fmt.Errorf("%w: %s", err, far), hint)
}

// timeUp is a deadline that has passed, in words.
type timeUp struct{ error }

func (timeUp) Error() string   { return "timed out" }
func (t timeUp) Unwrap() error { return t.error }

func inWords(why error) error {
	if why == context.DeadlineExceeded { //nolint:errorlint // alone it says no more
		return timeUp{why}
	}
	return why
}

// Transport returns the transport to a host; nothing is dialled yet. The jumps
// must not lead in a circle. A host that is jumped over is to be closed after
// those behind it.
func (c *Client) Transport(cfg Config) *Transport {
	if cfg.Address == "" {
		cfg.Address = cfg.Name
	}
	t := &Transport{client: c, cfg: cfg}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// acquire returns the connection, opening one if there is none. It is not
// closed for being idle before release.
func (t *Transport) acquire(ctx context.Context) (*conn, error) {
	for {
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			return nil, errClosed
		}
		if c := t.current; c != nil && c.use() {
			t.mu.Unlock()
			return c, nil
		}
		a := t.attempt
		if a == nil {
			a = &attempt{done: make(chan struct{})}
			t.attempt = a
			t.work.Go(func() { t.connect(a) })
		}
		t.mu.Unlock()
		select {
		case <-a.done:
		case <-ctx.Done():
			return nil, notReached{a.late(t, fmt.Errorf("connect to %s: %w", t.cfg.Address, inWords(context.Cause(ctx))))}
		}
		if a.err != nil {
			return nil, notReached{a.err}
		}
	}
}

func (t *Transport) connect(a *attempt) {
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(t.ctx, t.client.Timeout, fmt.Errorf("not finished within %s", t.client.Timeout))
	defer cancel()
	if a.conn, a.err = t.dial(ctx, &a.reached); a.err != nil && ctx.Err() != nil && t.ctx.Err() == nil {
		a.err = a.late(t, a.err)
	}
	t.mu.Lock()
	t.attempt = nil
	closed := t.closed
	if a.err == nil {
		t.current = a.conn
	}
	t.mu.Unlock()
	close(a.done)
	if a.err == nil {
		if closed { // too late for Close to see it
			a.conn.fail(errClosed)
		}
		t.client.Log.Debug("host connected", "host", t.cfg.Name, "took", time.Since(start))
		t.work.Go(a.conn.watch)
	}
}

// jump returns the host that this one is reached over; nil for none.
func (t *Transport) jump(to target) (*Transport, error) {
	if t.cfg.Jump != nil || len(to.jumps) == 0 {
		return t.cfg.Jump, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proxy == nil {
		proxy, err := t.client.proxyJump(to.jumps, t.cfg.depth+1)
		if err != nil {
			return nil, err
		}
		t.proxy = proxy
	}
	return t.proxy, nil
}

// Close ends the connection and all that goes over it.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	c, proxy := t.current, t.proxy
	t.mu.Unlock()
	t.cancel()
	if c != nil {
		c.fail(errClosed)
	}
	t.work.Wait()
	var errs []error
	if proxy != nil {
		errs = append(errs, proxy.Close())
	}
	if t.cfg.ownJump {
		errs = append(errs, t.cfg.Jump.Close())
	}
	return errors.Join(errs...)
}

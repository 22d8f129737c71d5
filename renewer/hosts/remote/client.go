package remote

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"time"
)

// Options say whose side of the connections this is. The zero value is the
// account that runs the process.
type Options struct {
	Home  string       // the directory that holds .ssh; default: the account's
	Agent string       // socket of ssh-agent(1); default: $SSH_AUTH_SOCK
	Log   *slog.Logger // default: none

	Timeout   time.Duration // to connect and log in, to start a session, for one file operation; default 30 s
	Keepalive time.Duration // how often a host is asked whether it is there; default 15 s. It has 10 s to answer, or as long as this.
	Idle      time.Duration // after which an unused connection is closed; default 1 min
}

// Client is this side of all connections. It is used by many goroutines.
type Client struct {
	Options
	late      error  // what ends an operation after Timeout
	account   string // who runs the process
	allHosts  string // known hosts of the whole machine
	allConfig string // ssh_config of the whole machine
	known     cache[*knownHosts]
	revoked   cache[*knownHosts]
	sshConfig cache[[]directive]
	told      sync.Map // what of ssh_config is not done, by what and where
	names     resolver
}

// NewClient returns the client of an account.
func NewClient(o Options) *Client {
	c := &Client{Options: o, allHosts: "/etc/ssh/ssh_known_hosts", allConfig: "/etc/ssh/ssh_config", names: net.DefaultResolver}
	if u, err := user.Current(); err == nil {
		c.account = u.Username
		c.Home = cmp.Or(c.Home, os.Getenv("HOME"), u.HomeDir)
	}
	c.Home = cmp.Or(c.Home, os.Getenv("HOME"), "/")
	c.Agent = cmp.Or(c.Agent, os.Getenv("SSH_AUTH_SOCK"))
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.Keepalive = cmp.Or(c.Keepalive, 15*time.Second)
	c.Idle = cmp.Or(c.Idle, time.Minute)
	c.late = fmt.Errorf("%w within %s", errSilent, c.Timeout)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// patience is how long a host may take to answer a keepalive.
func (c *Client) patience() time.Duration { return min(10*time.Second, c.Keepalive) }

// limit bounds one thing that a host is asked for.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.Timeout, c.late)
}

// ssh is the path of a file in ~/.ssh.
func (c *Client) ssh(name string) string { return filepath.Join(c.Home, ".ssh", name) }

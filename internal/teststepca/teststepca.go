// Package teststepca runs a step-ca for tests: the real server, from the
// module whose client the issuer uses, on a loopback port. Its root signs an
// intermediate, which signs leaves for two provisioners: a JWK one with a
// password, and an X5C one. What it signed and revoked is in a database below
// its directory, so it can be stopped and started again as the same CA.
package teststepca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/smallstep/certificates/authority/config"
	"github.com/smallstep/certificates/ca"
	"go.uber.org/goleak"

	"renewer/renewer"
)

// Names of its provisioners.
const (
	Provisioner    = "renewer"
	X5CProvisioner = "x5c"
)

// Password of the JWK provisioner, also in CA.PasswordFile.
const Password = "correct-Horse-7"

// Options of a CA; the zero value is a usual one.
type Options struct {
	// IntermediateLife is how long the intermediate lives from now; default: a
	// year.
	IntermediateLife time.Duration
	// MaxLifetime of a leaf; default: 31 days.
	MaxLifetime time.Duration
	// OwnLimit is a limit of the JWK provisioner's own; default: none.
	OwnLimit time.Duration
	// Federated are PEM files of further roots, those of other CAs.
	Federated []string
	// NoDatabase leaves the database out: nothing can be revoked.
	NoDatabase bool
}

// CA is a step-ca, running or stopped.
type CA struct {
	URL          string
	Address      string // host:port
	Fingerprint  string // SHA-256 of the root, lower-case hex
	PasswordFile string // of the JWK provisioner
	X5CCertFile  string // for the X5C provisioner
	X5CKeyFile   string
	ConfigFile   string // what the step-ca command reads
	Root         *x509.Certificate
	Intermediate *x509.Certificate

	dir             string
	intermediateKey crypto.Signer
	rootKey         crypto.Signer

	mu     sync.Mutex
	server *ca.CA
	ended  chan error
}

// Start makes a CA in dir, which must exist, and runs it.
func Start(dir string, o Options) (*CA, error) {
	c, err := Make(dir, o)
	if err != nil {
		return nil, err
	}
	return c, c.Start()
}

// Start runs a CA that is stopped and returns when it answers.
func (c *CA) Start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		return nil
	}
	cfg, err := config.LoadConfiguration(c.ConfigFile)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.ConfigFile, err)
	}
	own := config.DefaultTLSOptions // which several of them in one process would share, and write to
	cfg.TLS = &own
	server, err := ca.New(cfg, ca.WithQuiet(true), ca.WithConfigFile(c.ConfigFile))
	if err != nil {
		return fmt.Errorf("make the step-ca in %s: %w", c.dir, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Run() }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for {
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.Address)
		if err == nil {
			c.server, c.ended = server, ended
			return conn.Close()
		}
		select {
		case err := <-ended:
			return fmt.Errorf("run the step-ca on %s: %w", c.Address, err)
		case <-late:
			return fmt.Errorf("the step-ca on %s does not answer: %w", c.Address, err)
		case <-tick.C:
		}
	}
}

// Stop ends the server; it is no error if none runs.
func (c *CA) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return nil
	}
	err := c.server.Stop()
	if end := <-c.ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	c.server = nil
	if err != nil {
		return fmt.Errorf("stop the step-ca on %s: %w", c.Address, err)
	}
	return nil
}

// Leaf signs a leaf with the intermediate itself, behind the server's back,
// and returns its chain: leaf, then intermediate.
func (c *CA) Leaf(tmpl *x509.Certificate, key crypto.Signer) (renewer.Chain, error) {
	leaf, err := sign(tmpl, key.Public(), c.Intermediate, c.intermediateKey)
	return renewer.Chain{Leaf: leaf, Intermediates: []*x509.Certificate{c.Intermediate}}, err
}

func (c *CA) path(name string) string { return filepath.Join(c.dir, name) }

// Leftovers are the goroutines of step-ca's dependencies that start with the
// program or never end: goleak has to look past them.
func Leftovers() []goleak.Option {
	return []goleak.Option{goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon")}
}

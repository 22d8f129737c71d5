// Package acme is the issuer on a server that speaks ACME (RFC 8555): a public CA, or
// a private one such as step-ca, Vault or OpenBao. The protocol is mholt/acmez's; what
// is done in which order, and what each answer means, is decided here.
//
// The account is made at the first login, with a key that is sealed and kept in the
// state file together with the orders that are under way. An order that a crash or a
// deadline cut off goes on where it was: its authorizations are not asked for again.
// Only one whose certificate was made for a key that is lost is started again.
//
// The server decides how long a certificate lives where it has a profile, or does not
// let an order say so. Each call has a deadline, an answer a size limit, and redirects
// are not followed. HTTPS_PROXY and NO_PROXY of the environment are heeded.
//
// Every error is the context's or a *renewer.Error with the server's problem document
// in one line: retry for a server that is away or busy, that wants to be asked later,
// or that could not validate a name; refused for an order that it will not sign;
// misconfigured for what can be changed on this side. Neither the account's key nor
// that of an external account stands in an error.
package acme

import (
	"context"
	"crypto/x509"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// callTimeout bounds one call of this package, all its requests together, and
	// orderTimeout one of Sign.
	callTimeout  = 30 * time.Second
	orderTimeout = 4 * time.Minute
	// System is what Config.Roots says of the roots of this machine: those of public CAs.
	System = "system"
)

// Config says where the server is, who asks there, and how names are proven.
type Config struct {
	Name      string // of the issuer
	Directory string // URL of the directory
	Email     string // a contact of the account; empty: none
	CACert    string // PEM: trust for the server's own TLS; empty: the roots of this machine
	// EABKeyID and EABHMAC are files with what binds the account to one that the CA
	// knows already; both or none.
	EABKeyID, EABHMAC string
	Roots             string // System, or a PEM file: what the certificates lead to
	Profile           string // of the server; empty: its own choice
	PreferredChain    string // common name of a root; empty: the server's first chain
	Challenge         Challenge
	// StateFile keeps the account and the orders under way; its directory is made, but
	// not what is above that.
	StateFile string
	Seal      Sealer
}

// Public reports whether the server is one of the CAs that everybody trusts, which do
// not sign everything.
func (c Config) Public() bool { return c.Roots == System }

// Sealer seals the key of the account.
type Sealer interface {
	Seal(plain []byte) (sealed []byte, err error)
	Open(sealed []byte) (plain []byte, err error)
}

// Issuer signs at an ACME server. It is safe for many goroutines.
type Issuer struct {
	cfg    Config
	solver solver
	now    func() time.Time
	// timeout of a call, of an order, and of what is taken away after a challenge;
	// callTimeout, orderTimeout and cleanTimeout but for tests.
	timeout, patience, cleaning time.Duration

	// clock is by how much the server's is ahead, as of its last answer.
	clock atomic.Pointer[time.Duration]
	// signers are the CAs between the last leaf and its root.
	signers atomic.Pointer[[]*x509.Certificate]
	// undated is the shortest lifetime, in nanoseconds, that the server did not let an
	// order ask for; 0: none.
	undated atomic.Int64

	// login serializes logging in; a channel, so that a waiting call can be cancelled.
	login   chan struct{}
	session atomic.Pointer[session]

	mu   sync.Mutex
	busy map[string]bool // certificates that are being ordered
}

// New checks the configuration alone.
func New(cfg Config) (*Issuer, error) {
	solver, err := newSolver(cfg)
	if err != nil {
		return nil, err
	}
	return &Issuer{cfg: cfg, solver: solver, now: time.Now, timeout: callTimeout, patience: orderTimeout, cleaning: cleanTimeout, login: make(chan struct{}, 1), busy: map[string]bool{}}, nil
}

// within bounds one call. It ends before the caller's deadline, so that what the call
// knows by then can still be said.
func (i *Issuer) within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end)*9/10)
	}
	return context.WithTimeout(ctx, timeout)
}

// Health reports whether the server is there and has the directory that it had.
func (i *Issuer) Health(ctx context.Context) error {
	within, cancel := i.within(ctx, i.timeout)
	defer cancel()
	var err error
	s := i.session.Load()
	if s != nil {
		_, err = s.wire.directory(within)
	} else if s, err = i.connect(within); err == nil {
		s.close()
	}
	if err != nil {
		return i.failed(ctx, "read the directory", err)
	}
	return nil
}

// LogIn reads the directory, whatever is known of it, and looks whether the account, the
// profile and the challenge can be used. The account is made where there is none.
func (i *Issuer) LogIn(ctx context.Context) error {
	within, cancel := i.within(noted(ctx), i.timeout)
	defer cancel()
	i.session.Store(nil)
	err := i.verified(within)
	if err == nil {
		err = i.solver.check(within)
	}
	if err != nil {
		return i.failed(ctx, "log in", i.limited(within, err))
	}
	return nil
}

// ClockOffset returns by how much the server's clock is ahead of ours, to the second.
func (i *Issuer) ClockOffset() (time.Duration, bool) {
	if d := i.clock.Load(); d != nil {
		return *d, true
	}
	return 0, false
}

// Intermediates returns the CAs below the root, as the last certificate had them.
func (i *Issuer) Intermediates() []*x509.Certificate {
	if s := i.signers.Load(); s != nil {
		return slices.Clone(*s)
	}
	return nil
}

// OrderTimeout is how long a call of Sign may take: names are proven meanwhile, and a
// record in the DNS takes its time to be seen everywhere.
func (i *Issuer) OrderTimeout() time.Duration { return i.patience + 10*time.Second }

// GivesLifetime says that the server decides how long a certificate lives.
func (i *Issuer) GivesLifetime() bool { return true }

// Close lets go of idle connections. The issuer can still be used.
func (i *Issuer) Close() error {
	if s := i.session.Load(); s != nil {
		s.close()
	}
	return nil
}

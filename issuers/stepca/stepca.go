// Package stepca is the issuer on a step-ca server. It has a small client of its
// own: smallstep's brings the whole server with it.
//
// The server is known by the SHA-256 of its root: the root is fetched without
// trust, compared, and from then on the only one that the server's TLS
// certificate may lead to. An order is authorized by a one-time token that this
// package signs for exactly the names, and the CSR, of that order; the key for
// it is that of a JWK provisioner, which the server hands out encrypted, or that
// of a certificate which an X5C provisioner trusts. A certificate that keeps its key
// is renewed over TLS with itself, without a token, where what is asked equals
// what it has.
//
// Nothing is asked of the server before the first call: New works while it is
// down. Each call has a deadline, an answer a size limit, and redirects are not
// followed. HTTPS_PROXY and NO_PROXY of the environment are heeded.
//
// step-ca adds usages (its default template has serverAuth and clientAuth), and
// signs leaves that outlive its intermediate: what it returns is handed on as
// it is, for renewer.CheckIssued to judge.
//
// Every error is the context's or a *renewer.Error: retry for a server that is
// away or busy, refused with the server's words for an order that it will not
// sign, misconfigured for what somebody can fix on either side. No token, no
// password and no key stands in an error.
package stepca

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"renewer/renewer"
)

// callTimeout bounds one call of this package, all its requests together.
const callTimeout = 30 * time.Second

// Config says where the server is and how to log in there: with PasswordFile,
// or with X5CCert and X5CKey. The files are read at every login.
type Config struct {
	Name            string // of the issuer
	URL             string // https://host:port
	RootFingerprint string // SHA-256 of the root, 64 hex digits
	Provisioner     string
	PasswordFile    string // opens the key of a JWK provisioner
	X5CCert         string // PEM: a leaf for client authentication, then its intermediates
	X5CKey          string // PEM, not encrypted
	// RootsFile keeps what Roots returned last, for when the server is away;
	// empty: nothing is kept.
	RootsFile string
}

// Issuer signs at a step-ca. It is safe for many goroutines.
type Issuer struct {
	cfg  Config
	base *url.URL
	now  func() time.Time
	// timeout of one call; callTimeout but for tests.
	timeout time.Duration

	// clock is by how much the server's is ahead, as of its last answer.
	clock atomic.Pointer[time.Duration]

	// longest lifetime that the provisioner signs for, in nanoseconds; 0: unknown.
	longest atomic.Int64

	above atomic.Pointer[parsed] // the CA of the last answer

	// signers are the CAs between the server's own certificate and the root.
	signers atomic.Pointer[[]*x509.Certificate]

	// login serializes connecting and logging in; a channel, so that a waiting
	// call can still be cancelled.
	login chan struct{}
	conn  atomic.Pointer[connection]
	creds atomic.Pointer[credentials]
}

type parsed struct {
	text string
	cert *x509.Certificate
}

// New checks the configuration alone.
func New(cfg Config) (*Issuer, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil {
		return nil, misconfigured("write url: https://HOST:PORT", "issuer %s: the url is not an https:// address", cfg.Name)
	}
	if sum, err := hex.DecodeString(cfg.RootFingerprint); err != nil || len(sum) != 32 {
		return nil, misconfigured(fingerprintHint, "issuer %s: root_fingerprint is not a SHA-256 in hex", cfg.Name)
	}
	if (cfg.PasswordFile == "") == (cfg.X5CCert == "") || (cfg.X5CCert == "") != (cfg.X5CKey == "") {
		return nil, misconfigured("set password_file, or x5c: {cert: FILE, key: FILE}", "issuer %s needs exactly one way to log in", cfg.Name)
	}
	return &Issuer{cfg: cfg, base: base, now: time.Now, timeout: callTimeout, login: make(chan struct{}, 1)}, nil
}

// Sign has the order signed: by renewal of the previous certificate where that
// gives what is asked, else with a token.
func (i *Issuer) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	doing := "sign " + o.Certificate
	if err := checkOrder(o); err != nil {
		return renewer.Chain{}, i.failed(ctx, doing, err)
	}
	within, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	if renewable(o, i.now()) {
		switch chain, err := i.renew(within, o); {
		case err == nil:
			return chain, nil
		case !signInstead(err):
			return renewer.Chain{}, i.failed(ctx, "renew "+o.Certificate, err)
		}
	}
	csr, err := o.CSR()
	if err != nil {
		return renewer.Chain{}, refused("", "issuer %s: %w", i.cfg.Name, err)
	}
	var chain renewer.Chain
	err = i.authorized(within, func(c *connection, creds *credentials) error {
		token, err := i.token(creds, "/1.0/sign", claimsOf(o, csr))
		if err != nil {
			return err
		}
		var res signResponse
		if err := call(within, c.wire, "/sign", nil, newSignRequest(csr, token, o.Lifetime), &res); err != nil {
			return err
		}
		chain, err = i.chain(res)
		return err
	})
	if err != nil {
		return renewer.Chain{}, i.failed(ctx, doing, err)
	}
	return chain, nil
}

// checkOrder refuses what no server could sign.
func checkOrder(o renewer.Order) error {
	switch {
	case o.Key == nil:
		return refused("", "the order has no key")
	case o.CommonName == "" && len(o.SANs) == 0:
		return refused("set common_name or sans", "the order has neither a common name nor a SAN")
	case o.Lifetime < time.Second:
		return refused("set lifetime to a second or more", "the order has the lifetime %s", o.Lifetime)
	}
	return nil
}

// Health reports whether the server is healthy and lets us log in.
func (i *Issuer) Health(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	c, _, err := i.loggedIn(within, nil)
	if err != nil {
		return i.failed(ctx, "log in", err)
	}
	var res struct{ Status string }
	err = call(within, c.wire, "/health", nil, nil, &res)
	if err == nil && res.Status != "ok" {
		err = &answerError{what: "says that its health is " + clean(res.Status)}
	}
	if err != nil {
		return i.failed(ctx, "ask for its health", err)
	}
	return nil
}

// ClockOffset returns by how much the server's clock is ahead of ours, to the
// second.
func (i *Issuer) ClockOffset() (time.Duration, bool) {
	if d := i.clock.Load(); d != nil {
		return *d, true
	}
	return 0, false
}

// Intermediates returns the CAs below the root, as the server's own TLS
// certificate showed them last: step-ca has it from the CA that signs leaves.
func (i *Issuer) Intermediates() []*x509.Certificate {
	if s := i.signers.Load(); s != nil {
		return slices.Clone(*s)
	}
	return nil
}

// Close lets go of idle connections. The issuer can still be used.
func (i *Issuer) Close() error {
	if c := i.conn.Load(); c != nil {
		c.close()
	}
	return nil
}

// Package vault is the issuer whose CA is a PKI mount of a Vault server. The
// calls, the logins and the formats are Vault's own client's; this package
// says what is asked, keeps a token alive, and tells every way in which Vault
// says no from the others.
//
// A certificate is signed by MOUNT/sign/ROLE from a CSR: a private key never
// leaves renewer. The lifetime is asked for as a ttl and never as not_after,
// which Vault does not hold to the role's max_ttl. What the role shortens or
// adds shows in the certificate.
//
// # Logging in
//
// New asks nobody. The first order logs in; the token is used until two thirds
// of its life are over, then it is renewed, and where that gives no new life
// (the token's max TTL, a token that cannot be renewed) renewer logs in again.
// A token that is refused before its time is replaced once. Files are read at
// each login, so a new secret id, token or certificate needs no restart.
// Credentials that Vault refused are not offered again for five minutes, since
// Vault locks an AppRole out after five wrong tries; changed files and LogIn
// are tried at once.
//
// With a response-wrapped secret id (wrapped: true) the file holds a wrapping
// token. It is used up by the first login; the secret id that it gave is kept
// in memory and nowhere else. After a restart the file has to hold a new
// wrapping token: the service that starts renewer should put it there.
//
// Nothing is taken from VAULT_* variables, and none that is wrong does harm.
//
// # Rights
//
// The least policy, for the mount pki and the role docker:
//
//	path "pki/sign/docker" { capabilities = ["update"] }
//	path "pki/revoke"      { capabilities = ["update"] }  # for renewer revoke
//	path "pki/roles/docker" { capabilities = ["read"] }   # optional: LogIn finds more
//
// The role must have generate_lease off: Vault revokes a leased certificate
// when the token that asked for it ends.
//
// Every error is the context's or a *renewer.Error, in one line; no token, no
// secret id and no JWT stands in it, even where a server echoes one.
package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"renewer/renewer"
)

// requestTimeout bounds one request, from dialling to the last byte.
const requestTimeout = 30 * time.Second

// Config says where a Vault is and how to log in.
type Config struct {
	Name      string // of the issuer
	Address   string // https://HOST:PORT
	Namespace string // of the mount and the auth method; empty: the root namespace
	CACert    string // file of PEM certificates: trust for Vault's own TLS; empty: the system's
	Mount     string // of the PKI engine, such as pki
	Role      string // of the PKI engine
	Auth      Auth
	// RootsFile keeps what Roots returned last, for when Vault is away; empty:
	// nothing is kept.
	RootsFile string

	plain   bool             // http on loopback; tests only
	timeout time.Duration    // default: requestTimeout
	now     func() time.Time // default: time.Now
}

// Auth is how to log in. Method decides which of the rest count.
type Auth struct {
	Method string // approle, token, cert or kubernetes
	Mount  string // path of the auth method below auth/; default: the method's name

	RoleIDFile   string // approle
	SecretIDFile string // approle
	Wrapped      bool   // approle: the secret id file holds a wrapping token

	TokenFile string // token

	Cert, Key string // cert: PEM files

	Role    string // kubernetes, and optionally cert
	JWTFile string // kubernetes
}

// Issuer is a PKI mount. It is safe for many goroutines.
type Issuer struct {
	cfg     Config
	conn    atomic.Pointer[conn]    // nil: to be made from the files
	session atomic.Pointer[session] // nil: to be logged in
	clock   atomic.Pointer[time.Duration]
	rooted  atomic.Bool // the mount's chain was seen to reach a root
	above   atomic.Pointer[above]
	signers atomic.Pointer[[]*x509.Certificate]
	flight  singleflight.Group

	login struct {
		sync.Mutex
		refused credentials // what Vault refused last
		err     error
		until   time.Time

		wrapping, secretID string // the wrapping token that was used up, and what it gave
	}
}

// New checks a configuration. It makes no network call and reads no file.
func New(cfg Config) (*Issuer, error) {
	if cfg.timeout == 0 {
		cfg.timeout = requestTimeout
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.Auth.Mount == "" {
		cfg.Auth.Mount = cfg.Auth.Method
	}
	cfg.Mount, cfg.Auth.Mount = strings.Trim(cfg.Mount, "/"), strings.Trim(cfg.Auth.Mount, "/")
	i := &Issuer{cfg: cfg}
	u, err := url.Parse(cfg.Address)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return nil, i.misconfigured("write it as https://vault.example.com:8200", "the address is not a URL without a user")
	case u.Scheme != "https" && (!cfg.plain || !loopback(u.Hostname())):
		return nil, i.misconfigured("write it as https://"+u.Host, "the address %s is not https", cfg.Address)
	case !path(cfg.Mount):
		return nil, i.misconfigured("vault secrets list shows the mounts", "%q is no mount", cfg.Mount)
	case !path(cfg.Role) || strings.Contains(cfg.Role, "/"):
		return nil, i.misconfigured("vault list "+cfg.Mount+"/roles shows the roles", "%q is no role", cfg.Role)
	case !slices.Contains([]string{"approle", "token", "cert", "kubernetes"}, cfg.Auth.Method):
		return nil, i.misconfigured("method: approle, token, cert or kubernetes", "there is no auth method %q", cfg.Auth.Method)
	case !path(cfg.Auth.Mount):
		return nil, i.misconfigured("vault auth list shows the auth methods", "%q is no auth method's path", cfg.Auth.Mount)
	}
	return i, nil
}

// path reports whether s can stand in a request's path as it is.
func path(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return !strings.ContainsAny(s, "?#%\\ \t\r\n\x00")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close lets go of idle connections. The token is left to its own end: where a
// role ties certificates to tokens, revoking it would revoke them.
func (i *Issuer) Close() error {
	if c := i.conn.Load(); c != nil {
		c.transport.CloseIdleConnections()
	}
	return nil
}

// ClockOffset returns by how much Vault's clock is ahead of ours, to the
// second, as the Date header of its last answer said.
func (i *Issuer) ClockOffset() (offset time.Duration, known bool) {
	if d := i.clock.Load(); d != nil {
		return *d, true
	}
	return 0, false
}

// Intermediates returns the mount's issuer and what is above it, below the
// root, as Roots saw them last.
func (i *Issuer) Intermediates() []*x509.Certificate {
	if s := i.signers.Load(); s != nil {
		return slices.Clone(*s)
	}
	return nil
}

// Health asks whether Vault is up, unsealed and active or able to forward, and
// whether renewer is logged in or can log in. It also keeps the token alive
// while nothing is ordered.
func (i *Issuer) Health(ctx context.Context) error {
	if err := i.up(ctx); err != nil {
		return err
	}
	_, err := i.current(ctx)
	return err
}

// up asks sys/health, which needs no token and knows no namespace.
func (i *Issuer) up(ctx context.Context) error {
	client, err := i.anonymous("")
	if err != nil {
		return err
	}
	h, err := call(ctx, i, request{op: opHealth, what: "ask for its health"}, client.Sys().HealthWithContext)
	if err != nil {
		return err
	}
	state := func(hint, text string) error {
		return &renewer.Error{Class: renewer.ClassRetry, Hint: hint, Err: fmt.Errorf("issuer %s: %s", i.cfg.Name, text)}
	}
	switch {
	case !h.Initialized:
		return state("vault operator init, on the Vault server", "Vault is not initialized")
	case h.Sealed:
		return state("vault operator unseal, on the Vault server", "Vault is sealed")
	case h.RemovedFromCluster != nil && *h.RemovedFromCluster:
		return state("let address lead to a node of the cluster", "this Vault was removed from its cluster")
	case h.ReplicationDRMode == "secondary":
		return state("let address lead to the primary", "this Vault is a disaster-recovery secondary, which serves nobody")
	case h.Standby && h.HAConnectionHealthy != nil && !*h.HAConnectionHealthy:
		return state("vault operator members, on the Vault server, shows its nodes", "this Vault is a standby and has no active node")
	}
	return nil
}

// LogIn logs in afresh, whatever is cached, and looks at all that an order
// needs: the mount's CA, the policy, and the role where it may be read.
func (i *Issuer) LogIn(ctx context.Context) error {
	i.drop()
	if err := i.up(ctx); err != nil {
		return err
	}
	s, err := i.logIn(ctx, true)
	if err != nil {
		return err
	}
	i.session.Store(s)
	if err := i.checkRoots(ctx); err != nil {
		return err
	}
	if err := i.checkPolicy(ctx, s); err != nil {
		return err
	}
	return i.checkRole(ctx, s)
}

func (i *Issuer) checkPolicy(ctx context.Context, s *session) error {
	path := i.cfg.Mount + "/sign/" + i.cfg.Role
	may, err := call(ctx, i, request{op: opRead, what: "look at what the token may do", secrets: s.secrets},
		func(ctx context.Context) ([]string, error) {
			return s.client.Sys().CapabilitiesSelfWithContext(ctx, path)
		})
	var denied *answered
	switch {
	case errors.As(err, &denied) && denied.status == 403:
		return nil // a token without the default policy may not ask; the order will tell
	case err != nil:
		return err
	case slices.Contains(may, "update") || slices.Contains(may, "root"):
		return nil
	}
	return i.misconfigured(i.fill(signPolicy), "log in: the token may not use %s, only %s", path, strings.Join(may, ", "))
}

func (i *Issuer) checkRole(ctx context.Context, s *session) error {
	path := i.cfg.Mount + "/roles/" + i.cfg.Role
	role, err := call(ctx, i, request{op: opRead, what: "read the role", secrets: s.secrets}, read(s.client, path))
	var denied *answered
	switch {
	case errors.As(err, &denied) && denied.status == 403:
		return nil // reading roles is more than an order needs
	case err != nil:
		return err
	case role == nil:
		return i.misconfigured(i.fill(roleHint), "log in: the mount %s has no role %s", i.cfg.Mount, i.cfg.Role)
	case role.Data["generate_lease"] == true:
		return i.leased()
	}
	return nil
}

func (i *Issuer) leased() error {
	return i.misconfigured(i.fill("vault patch {mount}/roles/{role} generate_lease=false"),
		"the role %s of the mount %s ties certificates to the token that asks for them (generate_lease): Vault revokes them when it ends",
		i.cfg.Role, i.cfg.Mount)
}

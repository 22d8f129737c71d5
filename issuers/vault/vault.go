// Package vault is the issuer whose CA is a PKI mount of a Vault or an OpenBao
// server. The calls and the formats are Vault's own client's; this package says
// what is asked, keeps a token alive, and tells every way in which a server says
// no from the others. Hints name the command of the server that answers.
//
// A certificate is signed by MOUNT/sign/ROLE, or by MOUNT/issuer/REF/sign/ROLE
// with an issuer_ref, from a CSR: a private key never leaves renewer. The
// lifetime is asked for as a ttl and never as not_after, which Vault does not
// hold to the role's max_ttl. What the role shortens or adds shows in the
// certificate. The root is the mount's, or that of root_file where the mount
// does not have it.
//
// # Logging in
//
// New asks no one. The first order logs in; the token is used until two thirds
// of its life have passed, then it is renewed, and where that gives no new life
// (the token's max TTL, a token that cannot be renewed) renewer logs in again.
// A 403 is what a token gets that has expired or was revoked, and one that may
// not do what is asked; servers word it alike. So a token that was good is
// replaced once and the request made again, whatever the words. Files are read at
// each login, so a new secret id, token, JWT or certificate needs no restart.
// Credentials that Vault refused are not offered again for five minutes, since
// Vault locks an AppRole out after five wrong tries; changed files and LogIn
// are tried at once.
//
// With a response-wrapped secret id (wrapped: true) the file holds a wrapping
// token. It is used up by the first login; the secret id that it gave is kept
// in memory and nowhere else. After a restart the file has to hold a new
// wrapping token: the service that starts renewer should put it there.
//
// With RotateSecretID the daemon replaces an AppRole's secret id (Upkeep): the
// new one logs in first, then it is written, then the old one is destroyed.
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
//	path "sys/mounts/pki/tune" { capabilities = ["read"] } # optional: the mount's longest lifetime
//	# for rotate_secret_id, of the AppRole renewer:
//	path "auth/approle/role/renewer/secret-id"         { capabilities = ["update"] }
//	path "auth/approle/role/renewer/secret-id/destroy" { capabilities = ["update"] }
//
// LogIn asks the role to sign what is no CSR: the answer shows that an order
// would be let through, and nothing is signed.
//
// The role must have generate_lease off: Vault revokes a leased certificate
// when the token that asked for it ends.
//
// Every error is the context's or a *renewer.Error, in one line; no token, no
// secret id and no JWT stands in it, even where a server echoes one.
package vault

import (
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
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
	IssuerRef string // one of several issuers in the mount; empty: the one that the role or the mount says
	RootFile  string // PEM: the roots, where the mount does not have them; empty: the mount's
	Auth      Auth
	// RotateSecretID is the age at which the secret id of an AppRole is
	// replaced; zero: never.
	RotateSecretID time.Duration
	// RootsFile keeps what Roots returned last, for when Vault is away; empty:
	// nothing is kept.
	RootsFile string

	plain   bool             // http on loopback; tests only
	timeout time.Duration    // default: requestTimeout
	now     func() time.Time // default: time.Now
}

// Auth is how to log in. Method decides which of the rest count.
type Auth struct {
	Method string // approle, token, cert, kubernetes or jwt
	Mount  string // path of the auth method below auth/; default: the method's name

	RoleIDFile   string // approle
	SecretIDFile string // approle
	Wrapped      bool   // approle: the secret id file holds a wrapping token

	TokenFile string // token

	Cert, Key string // cert: PEM files

	Role    string // kubernetes, jwt, and optionally cert
	JWTFile string // kubernetes, jwt
}

// methods are the ways to log in.
var methods = []string{"approle", "cert", "jwt", "kubernetes", "token"}

// Issuer is a PKI mount. It is safe for many goroutines.
type Issuer struct {
	cfg     Config
	conn    atomic.Pointer[conn]    // nil: to be made from the files
	session atomic.Pointer[session] // nil: to be logged in
	clock   atomic.Pointer[time.Duration]
	rooted  atomic.Bool // the mount's chain was seen to reach a root
	above   atomic.Pointer[above]
	signers atomic.Pointer[[]*x509.Certificate]
	product atomic.Pointer[product] // nil: no answer said so yet
	longest atomic.Pointer[limit]   // as LogIn read it; nil: it did not
	futile  sync.Map                // op → when a token of a moment got a 403
	flight  singleflight.Group

	login struct {
		sync.Mutex
		refused credentials // what Vault refused last
		err     error
		until   time.Time

		wrapping, secretID string // the wrapping token that was used up, and what it gave
	}
	rotation struct {
		sync.Mutex
		after time.Time // no try before
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
		return nil, i.misconfigured("{cli} secrets list shows the mounts", "%q is no mount", cfg.Mount)
	case !path(cfg.Role) || strings.Contains(cfg.Role, "/"):
		return nil, i.misconfigured("{cli} list {mount}/roles shows the roles", "%q is no role", cfg.Role)
	case cfg.IssuerRef != "" && (!path(cfg.IssuerRef) || strings.Contains(cfg.IssuerRef, "/")):
		return nil, i.misconfigured("{cli} list {mount}/issuers shows the issuers", "issuer_ref: %q is no issuer of a mount", cfg.IssuerRef)
	case !slices.Contains(methods, cfg.Auth.Method):
		return nil, i.misconfigured("method: "+strings.Join(methods, ", "), "there is no auth method %q", cfg.Auth.Method)
	case !path(cfg.Auth.Mount):
		return nil, i.misconfigured("{cli} auth list shows the auth methods", "%q is no auth method's path", cfg.Auth.Mount)
	case cfg.RotateSecretID != 0 && (cfg.Auth.Method != "approle" || cfg.Auth.Wrapped):
		return nil, i.misconfigured("remove rotate_secret_id", "rotate_secret_id needs an AppRole with its secret id in a file, not wrapped")
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

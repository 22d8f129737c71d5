package stepca

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.step.sm/crypto/jose"
)

// Bounds of the list of provisioners.
const (
	pageSize = 100
	maxPages = 50
)

// credentials is what tokens are signed with.
type credentials struct {
	signer   jose.Signer
	fragment string // of the audience; empty for a JWK provisioner
}

func newCredentials(key jose.SigningKey, headers map[jose.HeaderKey]any, fragment string) (*credentials, error) {
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{ExtraHeaders: headers}).WithType("JWT"))
	if err != nil {
		return nil, misconfigured("use an ECDSA, RSA or Ed25519 key", "the key cannot sign tokens: %w", err)
	}
	return &credentials{signer: signer, fragment: fragment}, nil
}

// loggedIn returns the credentials, got if there are none or only those that
// the server no longer accepts.
func (i *Issuer) loggedIn(ctx context.Context, stale *credentials) (*connection, *credentials, error) {
	if c, creds := i.conn.Load(), i.creds.Load(); c != nil && creds != nil && creds != stale {
		return c, creds, nil
	}
	unlock, err := i.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	c, err := i.connectLocked(ctx)
	if err != nil {
		return nil, nil, err
	}
	if creds := i.creds.Load(); creds != nil && creds != stale {
		return c, creds, nil // another call was faster
	}
	creds, err := i.logIn(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	i.creds.Store(creds)
	return c, creds, nil
}

// authorized calls f, and once more with fresh credentials if the server
// accepts no token of these. A 401 says nothing about its reason.
func (i *Issuer) authorized(ctx context.Context, f func(*connection, *credentials) error) error {
	c, creds, err := i.loggedIn(ctx, nil)
	if err != nil {
		return err
	}
	if err = f(c, creds); !unauthorized(err) {
		return err
	}
	if c, creds, err = i.loggedIn(ctx, creds); err != nil {
		return err
	}
	if err = f(c, creds); unauthorized(err) {
		return i.notAuthorized(err)
	}
	return err
}

func unauthorized(err error) bool {
	a, ok := asAnswer(err)
	return ok && a.status == http.StatusUnauthorized && a.words != ""
}

// LogIn connects and logs in afresh, whatever is cached, and keeps what it got.
// It finds a wrong address, fingerprint, provisioner or password, a certificate
// that the provisioner will not accept, and clocks too far apart for tokens.
func (i *Issuer) LogIn(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	if err := i.logInAfresh(within); err != nil {
		return i.failed(ctx, "log in", err)
	}
	return nil
}

func (i *Issuer) logInAfresh(ctx context.Context) error {
	unlock, err := i.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := i.connect(ctx)
	if err != nil {
		return err
	}
	creds, err := i.logIn(ctx, c)
	if err != nil {
		c.close()
		return err
	}
	if was := i.conn.Swap(c); was != nil {
		was.close()
	}
	i.creds.Store(creds)
	if ahead, ok := i.ClockOffset(); ok && !tokensHold(ahead) {
		return misconfigured(clockHint, "tokens will not be accepted: %s", clocks(ahead))
	}
	return nil
}

// logIn gets what tokens are signed with.
func (i *Issuer) logIn(ctx context.Context, c *connection) (*credentials, error) {
	list, err := provisioners(ctx, c.wire)
	if err != nil {
		return nil, err
	}
	kind := typeJWK
	if i.cfg.X5CCert != "" {
		kind = typeX5C
	}
	named := slices.DeleteFunc(slices.Clone(list), func(p provisioner) bool { return p.Name != i.cfg.Provisioner })
	if len(named) == 0 {
		return nil, misconfigured(i.otherProvisioner(list), "%s has no provisioner %s", i.base, i.cfg.Provisioner)
	}
	fit := slices.DeleteFunc(slices.Clone(named), func(p provisioner) bool { return p.Type != kind })
	switch {
	case len(fit) == 0 && kind == typeX5C:
		return nil, misconfigured(i.otherProvisioner(list),
			"provisioner %s is of type %s, but x5c needs one of type X5C", i.cfg.Provisioner, clean(named[0].Type))
	case len(fit) == 0:
		return nil, misconfigured(i.otherProvisioner(list),
			"provisioner %s is of type %s, but password_file needs one of type JWK", i.cfg.Provisioner, clean(named[0].Type))
	}
	i.longest.Store(int64(fit[0].most))
	switch kind {
	case typeX5C:
		return i.logInX5C(fit[0])
	default:
		return i.logInJWK(fit)
	}
}

func provisioners(ctx context.Context, w *wire) (list []provisioner, err error) {
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for range maxPages {
		var page provisionersResponse
		if err := call(ctx, w, "/provisioners", query, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Provisioners...)
		if page.NextCursor == "" {
			return list, nil
		}
		query.Set("cursor", page.NextCursor)
	}
	return nil, &answerError{what: "has too many provisioners to read"}
}

// otherProvisioner names the provisioners that could be meant, and the way to one
// where the CA has none, such as one that speaks ACME only.
func (i *Issuer) otherProvisioner(list []provisioner) string {
	var names, kinds []string
	for _, p := range list {
		if p.Type == typeJWK || p.Type == typeX5C {
			names = append(names, clean(p.Name)+" ("+p.Type+")")
		} else {
			kinds = append(kinds, clean(p.Type))
		}
	}
	slices.Sort(names)
	slices.Sort(kinds)
	switch kinds = slices.Compact(kinds); {
	case len(names) > 0:
		return "set provisioner: to one that it has, with password_file: for JWK and x5c: for X5C: " + strings.Join(names[:min(len(names), 10)], ", ")
	case len(kinds) > 0:
		return "this CA has provisioners of type " + strings.Join(kinds, ", ") + " only, but renewer needs JWK or X5C; on the CA: step ca provisioner add renewer --type JWK --create, then restart step-ca"
	default:
		return "on the CA: step ca provisioner add renewer --type JWK --create, then restart step-ca"
	}
}

// tokensHold reports whether the server will accept a token: it allows a minute
// before nbf and after exp.
func tokensHold(ahead time.Duration) bool {
	return ahead > -leeway && ahead < tokenLifetime+leeway
}

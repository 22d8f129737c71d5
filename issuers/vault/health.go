package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/renewer"
)

// Health asks whether the server is up, unsealed and active or able to forward,
// and whether renewer is logged in or can log in. It also keeps the token alive
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
	i.learn(h)
	state := func(hint, text string) error {
		return &renewer.Error{Class: renewer.ClassRetry, Hint: i.fill(hint), Err: fmt.Errorf("issuer %s: %s", i.cfg.Name, i.fill(text))}
	}
	switch {
	case !h.Initialized:
		return state("run on the {server} server: {cli} operator init", "{server} is not initialized")
	case h.Sealed:
		return state("run on the {server} server: {cli} operator unseal", "{server} is sealed")
	case h.RemovedFromCluster != nil && *h.RemovedFromCluster:
		return state("set address to a node of the cluster", "this {server} was removed from its cluster")
	case h.ReplicationDRMode == "secondary":
		return state("set address to the primary", "this {server} is a disaster-recovery secondary, which serves no clients")
	case h.Standby && h.HAConnectionHealthy != nil && !*h.HAConnectionHealthy:
		return state("run on the {server} server: {cli} operator members", "this {server} is a standby and has no active node")
	}
	return nil
}

// LogIn logs in afresh, whatever is cached, and looks at all that an order
// needs: the mount's CA, the role where it may be read, and whether an order
// would be let through. Without that nothing is confirmed: a server may refuse a
// dead token in the same words as what a policy does not allow.
func (i *Issuer) LogIn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
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
	if err := i.checkRole(ctx, s); err != nil {
		return err
	}
	if err := i.checkOrder(ctx, s); err != nil {
		return err
	}
	return i.checkRotation(ctx, s)
}

// checkOrder asks to have signed what is no CSR. The right and the role are
// looked at first, so a complaint about the CSR confirms them.
func (i *Issuer) checkOrder(ctx context.Context, s *session) error {
	_, err := call(ctx, i, request{op: opSign, what: "check whether the role allows an order", secrets: s.secrets},
		write(s.client, i.signPath(), map[string]any{"csr": "renewer check --online", "format": "pem", "exclude_cn_from_sans": true}))
	switch {
	case err == nil:
		return i.odd("check whether the role allows an order", errors.New("it signed an invalid request"))
	case renewer.ClassOf(err) == refused:
		return nil
	case isDenied(err):
		return i.deniedFor(s, err)
	}
	return err
}

// checkRole looks at what the role and the mount say, as far as the policy lets it.
func (i *Issuer) checkRole(ctx context.Context, s *session) error {
	role, err := i.mayRead(ctx, s, i.cfg.Mount+"/roles/"+i.cfg.Role)
	switch {
	case isDenied(err):
		return nil // reading roles is more than an order needs
	case err != nil:
		return err
	case role == nil:
		return i.misconfigured(roleHint, "log in: the mount %s has no role %s", i.cfg.Mount, i.cfg.Role)
	case role.Data["generate_lease"] == true:
		return i.leased()
	}
	most := limit{seconds: number(role.Data["max_ttl"]), raise: "{cli} patch {mount}/roles/{role} max_ttl=LIFETIME"}
	if mount, err := i.mayRead(ctx, s, "sys/mounts/"+i.cfg.Mount+"/tune"); err == nil && mount != nil {
		if n := number(mount.Data["max_lease_ttl"]); n > 0 && (most.seconds == 0 || n < most.seconds) {
			most = limit{seconds: n, raise: "{cli} secrets tune -max-lease-ttl=LIFETIME {mount}/"}
		}
	}
	i.longest.Store(&most)
	return nil
}

func (i *Issuer) mayRead(ctx context.Context, s *session, path string) (*api.Secret, error) {
	return call(ctx, i, request{op: opRead, what: "read " + path, secrets: s.secrets}, func(ctx context.Context) (*api.Secret, error) {
		return s.client.Logical().ReadWithContext(ctx, path)
	})
}

// limit is the longest lifetime that is given; 0 where that is unknown.
type limit struct {
	seconds int64
	raise   string
}

// Longest returns the longest lifetime that role and mount give, as LogIn read it.
// A certificate that asks for more gets that.
func (i *Issuer) Longest() (l renewer.LifetimeLimit, known bool) {
	most := i.longest.Load()
	if most == nil || most.seconds == 0 {
		return l, false
	}
	return renewer.LifetimeLimit{Longest: time.Duration(most.seconds) * time.Second, Raise: i.fill(most.raise)}, true
}

func (i *Issuer) leased() error {
	return i.misconfigured("{cli} patch {mount}/roles/{role} generate_lease=false",
		"the role %s of the mount %s binds certificates to the token that requests them (generate_lease): they are revoked when the token expires",
		i.cfg.Role, i.cfg.Mount)
}

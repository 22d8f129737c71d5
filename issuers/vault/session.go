package vault

import (
	"context"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/renewer"
)

// session is a token and a client that carries it; it never changes.
type session struct {
	conn      *conn
	client    *api.Client
	secrets   []string // not to be shown: the token and what it was got for
	lease     time.Duration
	ends      time.Time // zero: never, as far as is known
	renewAt   time.Time // zero: never
	renewable bool
}

func (s *session) due(now time.Time) bool  { return !s.renewAt.IsZero() && !now.Before(s.renewAt) }
func (s *session) over(now time.Time) bool { return !s.ends.IsZero() && !now.Before(s.ends) }

// lasting returns the session with a lease that begins now; zero is no end.
func (s session) lasting(lease time.Duration, renewable bool, now time.Time) *session {
	s.lease, s.renewable, s.ends, s.renewAt = lease, renewable, time.Time{}, time.Time{}
	if lease > 0 {
		s.ends, s.renewAt = now.Add(lease), now.Add(lease*2/3)
	}
	return &s
}

// current returns a session that can be used now. However many ask, one of
// them renews or logs in, and all get what came of it.
func (i *Issuer) current(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := i.session.Load(); i.usable(s) {
		return s, nil
	}
	answer := i.flight.DoChan("session", func() (any, error) {
		// It serves all who wait, so it does not end with the first of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*i.cfg.timeout)
		defer cancel()
		s := i.session.Load()
		if i.usable(s) {
			return s, nil
		}
		next, err := i.next(ctx, s)
		if err != nil {
			return nil, err
		}
		i.session.Store(next)
		return next, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*session), nil
	}
}

func (i *Issuer) usable(s *session) bool {
	return s != nil && s.conn == i.conn.Load() && !s.due(i.cfg.now())
}

// next makes the next session out of the last one: renewed, or logged in
// again: why a renewal fails says nothing of a login. What still lasts is used
// on when neither can be done.
func (i *Issuer) next(ctx context.Context, s *session) (*session, error) {
	if s == nil || s.over(i.cfg.now()) {
		return i.logIn(ctx, false)
	}
	s, err := i.rebind(s)
	if err != nil {
		return nil, err
	}
	if !s.due(i.cfg.now()) {
		return s, nil
	}
	wait := s
	if s.renewable {
		if renewed, err := i.renew(ctx, s); err == nil {
			if renewed.lease >= s.lease/2 {
				return renewed, nil
			}
			wait = renewed // shortened: the max TTL is near
		}
	}
	fresh, err := i.logIn(ctx, false)
	if err != nil && !wait.over(i.cfg.now()) && renewer.ClassOf(err) != renewer.ClassReauthenticate {
		return wait.later(i.cfg.now()), nil
	}
	return fresh, err
}

// later puts off what could not be done now, by at most a minute.
func (s session) later(now time.Time) *session {
	s.renewAt = now.Add(min(time.Minute, s.ends.Sub(now)/2))
	return &s
}

// rebind moves a session to the connection that holds now.
func (i *Issuer) rebind(s *session) (*session, error) {
	c, err := i.connect(false)
	if err != nil || c == s.conn {
		return s, err
	}
	client, err := i.client(c, i.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	client.SetToken(s.client.Token())
	moved := *s
	moved.conn, moved.client = c, client
	return &moved, nil
}

func (i *Issuer) renew(ctx context.Context, s *session) (*session, error) {
	now := i.cfg.now()
	secret, err := call(ctx, i, request{op: opRenew, what: "renew the token", secrets: s.secrets}, func(ctx context.Context) (*api.Secret, error) {
		return s.client.Auth().Token().RenewSelfWithContext(ctx, 0)
	})
	if err != nil {
		return nil, err
	}
	if secret == nil || secret.Auth == nil {
		return nil, i.misconfigured("", "renew the token: Vault's answer has no token")
	}
	return s.lasting(time.Duration(secret.Auth.LeaseDuration)*time.Second, secret.Auth.Renewable, now), nil
}

// withToken makes a call with a token. One that Vault refuses is replaced once.
func withToken(ctx context.Context, i *Issuer, r request, f func(client *api.Client) func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	for again := false; ; again = true {
		s, err := i.current(ctx)
		if err != nil {
			return nil, err
		}
		r.secrets = s.secrets
		secret, err := call(ctx, i, r, f(s.client))
		if renewer.ClassOf(err) != renewer.ClassReauthenticate {
			return secret, err
		}
		i.session.CompareAndSwap(s, nil)
		if again {
			return nil, &renewer.Error{
				Class: renewer.ClassMisconfigured, Err: err,
				Hint: i.fill("look at what ends the token at once: token_num_uses, token_bound_cidrs and token_explicit_max_ttl of the role it comes from"),
			}
		}
	}
}

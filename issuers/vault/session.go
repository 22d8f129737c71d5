package vault

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"

	"renewer/renewer"
)

// session is a token and a client that carries it; it never changes.
type session struct {
	conn      *conn
	client    *api.Client
	secrets   []string // not to be shown: the token and what it was got for
	appRole   string   // the name of the AppRole that logged in
	unproven  bool     // of a token that was given: the server would not say whether it is good
	since     time.Time
	lease     time.Duration
	ends      time.Time // zero: never, as far as is known
	renewAt   time.Time // zero: never
	renewable bool
}

func (s *session) due(now time.Time) bool  { return !s.renewAt.IsZero() && !now.Before(s.renewAt) }
func (s *session) over(now time.Time) bool { return !s.ends.IsZero() && !now.Before(s.ends) }

// lasting returns the session with a lease that begins now; zero is no end.
func (s session) lasting(lease time.Duration, renewable bool, now time.Time) *session {
	if s.since.IsZero() {
		s.since = now
	}
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
	return i.together(ctx, "current", func(ctx context.Context) (*session, error) {
		s := i.session.Load()
		if i.usable(s) {
			return s, nil
		}
		return i.next(ctx, s)
	})
}

// instead returns a session other than one that was refused. Where there is no
// way to get one, the refused one stays: it may have been refused for what it
// asked, and the next login may be the one too many of a secret id.
func (i *Issuer) instead(ctx context.Context, of *session) (*session, error) {
	return i.together(ctx, "instead", func(ctx context.Context) (*session, error) {
		if s := i.session.Load(); s != of && i.usable(s) {
			return s, nil
		}
		return i.logIn(ctx, false)
	})
}

// together has one caller get a session for all that ask for the same.
func (i *Issuer) together(ctx context.Context, what string, get func(context.Context) (*session, error)) (*session, error) {
	answer := i.flight.DoChan(what, func() (any, error) {
		// It serves all who wait, so it does not end with the first of them.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*i.cfg.timeout)
		defer cancel()
		s, err := get(ctx)
		if err == nil {
			i.session.Store(s)
		}
		return s, err
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
		return nil, i.odd("renew the token", errors.New("the answer has no token"))
	}
	return s.lasting(time.Duration(secret.Auth.LeaseDuration)*time.Second, secret.Auth.Renewable, now), nil
}

// futileFor is how long a 403 to one kind of request is taken for what the
// policy says, after a token of a moment got it too.
const futileFor = time.Minute

// withToken makes a call with a token. A 403 to a token that was good may mean
// that it ended or that it may not do this, whatever the words: it is replaced
// once, and the request made again.
func withToken(ctx context.Context, i *Issuer, r request, f func(client *api.Client) func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	begin := i.cfg.now()
	s, err := i.current(ctx)
	if err != nil {
		return nil, err
	}
	r.secrets = s.secrets
	secret, err := call(ctx, i, r, f(s.client))
	if !isDenied(err) {
		return secret, err
	}
	if s.since.Before(begin) && !i.wasFutile(r.op, begin) {
		if s, err = i.instead(ctx, s); err != nil {
			return nil, err
		}
		r.secrets = s.secrets
		if secret, err = call(ctx, i, r, f(s.client)); !isDenied(err) {
			i.futile.Delete(r.op)
			return secret, err
		}
		i.futile.Store(r.op, i.cfg.now())
	}
	return nil, i.deniedFor(s, err)
}

func (i *Issuer) wasFutile(o op, now time.Time) bool {
	at, ok := i.futile.Load(o)
	return ok && now.Sub(at.(time.Time)) < futileFor
}

// deniedFor is a 403 to a token that was got a moment ago.
func (i *Issuer) deniedFor(s *session, err error) error {
	switch {
	case s.unproven:
		return i.misconfigured(tokenHint+"; or "+renewer.Hint(err), "the token in %s has expired, was revoked, or lacks the permission: %w", i.cfg.Auth.TokenFile, err)
	case renewer.ClassOf(err) == renewer.ClassReauthenticate:
		return &renewer.Error{
			Class: renewer.ClassMisconfigured, Err: err,
			Hint: "check what invalidates the token early: token_num_uses, token_bound_cidrs and token_explicit_max_ttl of its role",
		}
	}
	return err
}

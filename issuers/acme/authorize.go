package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"renewer/renewer"
)

// solver answers one type of challenge.
type solver interface {
	// kind is the type of the challenge (RFC 8555, section 8).
	kind() string
	// present puts in place what the server will look for, and returns when it can.
	present(ctx context.Context, c challenge) error
	// cleanUp takes that away again.
	cleanUp(ctx context.Context, c challenge) error
	// check finds without a challenge what would keep one from being answered.
	check(ctx context.Context) error
	// hint is what to look at when the server could not validate a name.
	hint(c challenge) string
}

// challenge is one for a name, with the account that answers it.
type challenge struct {
	acme.Challenge
	account  acme.Account
	wildcard bool
}

// authorize proves every name of the order that is not proven yet.
func (j *job) authorize(ctx context.Context) error {
	var open []acme.Authorization
	var presented []challenge
	defer func() {
		for _, c := range presented {
			j.cleanUp(ctx, c)
		}
	}()
	for _, url := range j.is.Authorizations {
		a, err := j.s.client.GetAuthorization(ctx, j.s.account, url)
		if err != nil {
			return err
		}
		switch a.Status {
		case acme.StatusValid:
			continue
		case acme.StatusPending:
		default:
			return errors.Join(j.unproven(a), j.drop())
		}
		c, err := j.choose(a)
		if err != nil {
			return err
		}
		presented = append(presented, c) // also what is there in part is taken away
		if err := j.solver.present(ctx, c); err != nil {
			return fmt.Errorf("%s for %s: %w", c.Type, a.IdentifierValue(), err)
		}
		open = append(open, a)
	}
	for k, c := range presented {
		if c.Status != acme.StatusPending {
			continue // an earlier call notified the server
		}
		if _, err := j.s.client.InitiateChallenge(ctx, j.s.account, c.Challenge); err != nil && !j.begun(ctx, open[k], err) {
			return fmt.Errorf("%s: %w", open[k].IdentifierValue(), err)
		}
	}
	for _, a := range open {
		if err := j.await(ctx, a); err != nil {
			return err
		}
	}
	return j.leave(ctx, acme.StatusPending)
}

// cleanUp takes away what answered a challenge. What stays is a warning: it proves nothing
// to anyone else, and the order goes on.
func (j *job) cleanUp(ctx context.Context, c challenge) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.cleaning)
	defer cancel()
	err := j.solver.cleanUp(within, c)
	if err == nil {
		return
	}
	if within.Err() != nil {
		err = fmt.Errorf("not finished within %s: %w", j.cleaning, within.Err())
	}
	slog.Warn("could not remove the response to a challenge; the order continues", "issuer", j.cfg.Name, "certificate", j.order.Certificate,
		"challenge", c.Type, "name", c.Identifier.Value, "error", err, "hint", renewer.Hint(err))
}

// begun reports whether a challenge was not taken because an earlier call, that was cut
// off, has notified the server meanwhile.
func (j *job) begun(ctx context.Context, a acme.Authorization, err error) bool {
	if _, isProblem := asProblem(err); !isProblem {
		return false
	}
	is, err := j.s.client.GetAuthorization(ctx, j.s.account, a.Location)
	if err != nil {
		return false
	}
	c, err := j.choose(is)
	return err == nil && c.Status != acme.StatusPending
}

// choose returns the challenge of the type that the fleet file names.
func (j *job) choose(a acme.Authorization) (challenge, error) {
	var offered []string
	for _, c := range a.Challenges {
		if c.Type == j.solver.kind() {
			return challenge{c, j.s.account, a.Wildcard}, nil
		}
		offered = append(offered, c.Type)
	}
	return challenge{}, misconfigured("set challenge of issuer "+j.cfg.Name+" to one that the CA offers for this name",
		"for %s the ACME server offers %s, not %s", a.IdentifierValue(), clean(strings.Join(offered, ", ")), j.solver.kind())
}

// await waits until an authorization is valid.
func (j *job) await(ctx context.Context, a acme.Authorization) error {
	for p := new(patience); ; {
		is, err := j.s.client.GetAuthorization(ctx, j.s.account, a.Location)
		switch {
		case err != nil:
			return err
		case is.Status == acme.StatusValid:
			return nil
		case is.Status != acme.StatusPending:
			return errors.Join(j.unproven(is), j.drop())
		}
		if err := p.pause(ctx, "the validation of "+a.IdentifierValue()+" is in progress"); err != nil {
			return err
		}
	}
}

// unproven is why a name was not validated, in the server's words.
func (j *job) unproven(a acme.Authorization) error {
	j.over = true
	said := "the server gives no reason"
	hint := j.solver.hint(challenge{Challenge: acme.Challenge{Identifier: a.Identifier}})
	for _, c := range a.Challenges {
		if c.Type == j.solver.kind() {
			hint = j.solver.hint(challenge{c, j.s.account, a.Wildcard})
		}
		if c.Error != nil && (c.Type == j.solver.kind() || a.Status != acme.StatusInvalid) {
			said = words(*c.Error)
			if c.Error.Type == acme.ProblemTypeCAA {
				_, hint, _ = j.judgeProblem(*c.Error)
			}
		}
	}
	return &renewer.Error{
		Class: renewer.ClassRetry, Hint: hint, After: validationPause,
		Err: fmt.Errorf("%s was not validated with %s, its authorization is %s: %s", a.IdentifierValue(), j.solver.kind(), clean(a.Status), said),
	}
}

package acme

import (
	"context"
	"time"
)

// SetTimeout bounds calls and orders.
func (i *Issuer) SetTimeout(d time.Duration) { i.timeout, i.patience = d, d }

// SetCleanTimeout has what is taken away after a challenge end sooner.
func (i *Issuer) SetCleanTimeout(d time.Duration) { i.cleaning = d }

// Deactivate deactivates the account, as somebody at the CA may.
func (i *Issuer) Deactivate(ctx context.Context) error {
	s, err := i.loggedIn(ctx)
	if err != nil {
		return err
	}
	a := s.account
	a.Status = "deactivated"
	_, err = s.client.UpdateAccount(ctx, a)
	return err
}

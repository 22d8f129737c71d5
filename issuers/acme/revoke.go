package acme

import (
	"context"

	"github.com/mholt/acmez/v3/acme"

	"renewer/renewer"
)

// Revoke revokes a certificate that this account ordered; one that is revoked already is
// no error.
func (i *Issuer) Revoke(ctx context.Context, r renewer.Revocation) error {
	doing := "revoke " + r.Certificate + " (serial " + r.Serial + ")"
	if err := ctx.Err(); err != nil {
		return i.failed(ctx, doing, err)
	}
	if r.Chain.Leaf == nil {
		return refused("revoke it at the CA, by its serial", "issuer %s: %s: an ACME server needs the certificate to revoke it, but it is not in the inventory", i.cfg.Name, doing)
	}
	within, cancel := i.within(noted(ctx), i.timeout)
	defer cancel()
	err := i.asAccount(within, func(s *session) error {
		err := s.client.RevokeCertificate(within, s.account, r.Chain.Leaf, nil, r.Reason.Code())
		if p, ok := asProblem(err); ok {
			switch p.Type {
			case acme.ProblemTypeAlreadyRevoked:
				return nil
			case acme.ProblemTypeUnauthorized:
				return refused("revoke it with the ACME account that ordered it, or at the CA", "%s: %s", i.cfg.Directory, words(p))
			case acme.ProblemTypeBadRevocationReason:
				return refused("use another --reason, or none", "%s: %s", i.cfg.Directory, words(p))
			}
		}
		return err
	})
	if err != nil {
		return i.failed(ctx, doing, i.limited(within, err))
	}
	return nil
}

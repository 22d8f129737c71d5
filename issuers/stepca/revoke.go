package stepca

import (
	"context"
	"math/big"
	"net/http"
	"strings"

	"renewer/renewer"
)

// Revoke revokes a certificate at the server, by its serial; one that is
// revoked already is no error. step-ca answers for the revocation by refusing
// renewals and, where that is switched on, in its CRL.
func (i *Issuer) Revoke(ctx context.Context, r renewer.Revocation) error {
	doing := "revoke " + r.Certificate + " (serial " + r.Serial + ")"
	serial, ok := new(big.Int).SetString(r.Serial, 16)
	if !ok {
		return refused("", "issuer %s: %s: the serial is not hex", i.cfg.Name, doing)
	}
	within, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	err := i.authorized(within, func(c *connection, creds *credentials) error {
		token, err := i.token(creds, "/1.0/revoke", claims{Subject: serial.String()})
		if err != nil {
			return err
		}
		return call(within, c.wire, "/revoke", nil, revokeRequest{serial.String(), token, r.Reason.Code(), string(r.Reason), true}, new(struct{}))
	})
	a, ok := asAnswer(err)
	switch {
	case ok && strings.Contains(a.words, "already revoked"):
		return nil
	case ok && a.status == http.StatusNotImplemented:
		return refused("configure a database (db in ca.json); or replace the certificate, and let the old one expire",
			"issuer %s: %s: the CA cannot revoke: %s", i.cfg.Name, doing, a.words)
	case err != nil:
		return i.failed(ctx, doing, err)
	}
	return nil
}

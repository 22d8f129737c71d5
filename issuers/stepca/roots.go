package stepca

import (
	"context"
	"crypto/x509"
	"fmt"

	"renewer/issuers/keptroots"
)

// Roots returns the root that is pinned and the further ones that the server
// vouches for: its own, and those of CAs that it federates with. While the
// server is away they are those that it had last.
func (i *Issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	kept := keptroots.File{Issuer: i.cfg.Name, Path: i.cfg.RootsFile, Pinned: i.cfg.RootFingerprint}
	return kept.Roots(ctx, func(ctx context.Context) ([]*x509.Certificate, error) {
		within, cancel := context.WithTimeout(ctx, i.timeout)
		defer cancel()
		roots, err := i.roots(within)
		if err != nil {
			return nil, i.failed(ctx, "get the roots", err)
		}
		return roots, nil
	}, nil)
}

func (i *Issuer) roots(ctx context.Context) ([]*x509.Certificate, error) {
	c, err := i.connected(ctx)
	if err != nil {
		return nil, err
	}
	var own, federated rootsResponse
	if err := call(ctx, c.wire, "/roots", nil, nil, &own); err != nil {
		return nil, err
	}
	if err := call(ctx, c.wire, "/federation", nil, nil, &federated); err != nil {
		return nil, err
	}
	out := []*x509.Certificate{c.root}
	for _, r := range append(own.Certificates, federated.Certificates...) {
		if r.Certificate == nil {
			return nil, &answerError{what: "has a root missing"}
		}
		if !r.IsCA {
			return nil, &answerError{what: fmt.Sprintf("lists %s as a root, which is not a CA", r.Subject)}
		}
		if !contains(out, r.Certificate) {
			out = append(out, r.Certificate)
		}
	}
	return out, nil
}

package stepca

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"strings"

	"renewer/internal/keptroots"
	"renewer/renewer"
)

// Roots returns the root that is pinned and the further ones that the server
// vouches for: its own, and those of CAs that it federates with. While the
// server is away they are those that it had last.
func (i *Issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	call, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	roots, err := i.roots(call)
	if err == nil {
		i.keep(roots)
		return roots, nil
	}
	err = i.failed(ctx, "get the roots", err)
	if kept := i.kept(); kept != nil && ctx.Err() == nil && renewer.ClassOf(err) == renewer.ClassRetry {
		return kept, nil
	}
	return nil, err
}

// keep is only for a time without the server: that it fails is no reason to
// fail with a server that is there.
func (i *Issuer) keep(roots []*x509.Certificate) {
	if i.cfg.RootsFile == "" {
		return
	}
	if err := keptroots.Save(i.cfg.RootsFile, roots); err != nil {
		slog.Warn("the roots of an issuer could not be kept", "issuer", i.cfg.Name, "error", err)
	}
}

// kept returns roots of the CA that is pinned, or none.
func (i *Issuer) kept() []*x509.Certificate {
	if i.cfg.RootsFile == "" {
		return nil
	}
	roots, err := keptroots.Load(i.cfg.RootsFile)
	if err != nil || !strings.EqualFold(renewer.Fingerprint(roots[0].Raw), i.cfg.RootFingerprint) {
		return nil
	}
	return roots
}

func (i *Issuer) roots(ctx context.Context) ([]*x509.Certificate, error) {
	c, err := i.connected(ctx)
	if err != nil {
		return nil, err
	}
	own, err := c.client.RootsWithContext(ctx)
	if err != nil {
		return nil, err
	}
	federated, err := c.client.FederationWithContext(ctx)
	if err != nil {
		return nil, err
	}
	out := []*x509.Certificate{c.root}
	for _, r := range append(own.Certificates, federated.Certificates...) {
		if r.Certificate == nil {
			return nil, &answerError{what: "has a root missing"}
		}
		if !r.IsCA {
			return nil, &answerError{what: fmt.Sprintf("calls %s a root, which is no CA", r.Subject)}
		}
		if !contains(out, r.Certificate) {
			out = append(out, r.Certificate)
		}
	}
	return out, nil
}

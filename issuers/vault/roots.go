package vault

import (
	"context"
	"crypto/x509"
	"slices"

	"github.com/hashicorp/vault/api"

	"renewer/internal/atomicfile"
	"renewer/issuers/keptroots"
	"renewer/renewer/pki"
)

// Roots returns the root that the mount's issuer leads to, or those of
// root_file. It needs no token. While the server is away or sealed it is the one
// that it had last.
func (i *Issuer) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	return keptroots.File{Issuer: i.cfg.Name, Path: i.cfg.RootsFile}.Roots(ctx, i.roots, nil)
}

func (i *Issuer) checkRoots(ctx context.Context) error {
	_, err := i.roots(ctx)
	return err
}

func (i *Issuer) roots(ctx context.Context) ([]*x509.Certificate, error) {
	chain, err := i.mountChain(ctx)
	if err != nil {
		return nil, err
	}
	given, err := i.rootFile()
	if err != nil {
		return nil, err
	}
	path := append([]*x509.Certificate{chain[0]}, pki.Climb(chain[0], slices.Concat(chain, given))...)
	top, below := path[len(path)-1], path[:len(path)-1]
	roots := []*x509.Certificate{top}
	for _, c := range given {
		if pki.SelfSigned(c) && !c.Equal(top) {
			roots = append(roots, c)
		}
	}
	switch {
	case i.cfg.RootFile != "" && !slices.ContainsFunc(given, top.Equal):
		return nil, i.misconfigured("add that root to root_file: peers trust the certificates in that file",
			"a root is missing: the chain of the mount %s stops at %q, which %q signed, and root_file %s does not have that root",
			i.cfg.Mount, top.Subject.String(), top.Issuer.String(), i.cfg.RootFile)
	case !pki.SelfSigned(top):
		return nil, i.misconfigured(noRootHint,
			"a root is missing: the chain of the mount %s stops at %q, which %q signed, and that root is not in the mount",
			i.cfg.Mount, top.Subject.String(), top.Issuer.String())
	}
	i.rooted.Store(true)
	i.signers.Store(&below)
	return roots, nil
}

// mountChain returns the issuer that signs and what is above it in the mount.
func (i *Issuer) mountChain(ctx context.Context) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	client, err := i.anonymous(i.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	path, field := i.cfg.Mount+"/cert/ca_chain", "certificate" // one PEM text, in any version
	if i.cfg.IssuerRef != "" {
		path, field = i.cfg.Mount+"/issuer/"+i.cfg.IssuerRef+"/json", "ca_chain"
	}
	secret, err := call(ctx, i, request{op: opRoots, what: "get the roots"}, func(ctx context.Context) (*api.Secret, error) {
		return client.Logical().ReadWithContext(ctx, path)
	})
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, i.misconfigured(noCAHint, "get the roots: there is no mount %s, or it has no CA", i.cfg.Mount)
	}
	chain, err := certificates(secret.Data[field])
	if err != nil {
		return nil, i.odd("get the roots", err)
	}
	if len(chain) == 0 {
		return nil, i.misconfigured(noCAHint, "get the roots: the mount %s has no CA", i.cfg.Mount)
	}
	return chain, nil
}

// rootFile reads what root_file holds.
func (i *Issuer) rootFile() ([]*x509.Certificate, error) {
	if i.cfg.RootFile == "" {
		return nil, nil
	}
	text, err := atomicfile.ReadLimited(i.cfg.RootFile, maxFile)
	if err != nil {
		return nil, i.fileError("root_file", err)
	}
	given, err := pki.DecodeCertificates(text)
	if err != nil {
		return nil, i.misconfigured("set root_file to the root of the mount's CA, in PEM", "root_file %s: %w", i.cfg.RootFile, err)
	}
	return given, nil
}

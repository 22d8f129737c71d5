package engine

import (
	"context"
	"fmt"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// discover looks at a placement that no one has looked at since a backup was
// restored. What lies there as renewer wrote it is what is expected from then on;
// anything else is held against what the inventory says.
func (e *Engine) discover(ctx context.Context, t *target, fleet *Fleet, roots *rootCache) error {
	host, ok := fleet.Hosts[t.placement.Host]
	if !ok {
		return fmt.Errorf("host %s is not in the fleet file", t.placement.Host)
	}
	disk, err := host.Inspect(ctx, t.placement)
	if err != nil || disk.Revision == "" || len(disk.Deviations) > 0 {
		return err
	}
	roots.learn(disk.Roots...)
	found := renewer.Found{Dir: t.placement.Dir, Revision: disk.Revision, Trusts: disk.Trusts}
	if !t.cert.IsBundle() {
		if found.Generation, found.Fresh, err = e.known(t.cert, disk, roots); err != nil || found.Generation == nil {
			return err
		}
		t.gen = found.Generation
	}
	t.found, t.expect = &found, renewer.Expected{Leaf: disk.Leaf, Roots: disk.Trusts, Origin: renewer.OriginIssued}
	return nil
}

// known returns the generation of a leaf: from the inventory or, if it was issued
// after the backup, from the leaf, without a number. Nil for a stranger's.
func (e *Engine) known(c renewer.Certificate, disk OnDisk, roots *rootCache) (gen *renewer.Generation, fresh bool, err error) {
	gens, err := e.Store.Generations(c.Name)
	if err != nil {
		return nil, false, err
	}
	for _, g := range gens {
		if g.Fingerprint == disk.Leaf {
			return &g, false, nil
		}
	}
	under := pki.Under(disk.Chain, roots.all())
	if len(under) == 0 {
		return nil, false, nil
	}
	req := c.Request()
	if issuer := roots.issuerUnder(under, []string{c.Issuer}); issuer != "" {
		req.Issuer = issuer
	}
	g := renewer.NewGeneration(c.Name, 0, req, disk.Chain, c.Renewal, disk.Chain.Leaf.NotBefore)
	g.Under = under
	if to, err := roots.certs(under); err == nil {
		g.EndBy(pki.End(disk.Chain, to))
	}
	return &g, true, nil
}

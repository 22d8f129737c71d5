package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Adopt takes what is in place on a host into the inventory as generation 0 of
// a certificate: no order, nothing flipped, no service touched. It has to be what
// the entry asks for, and has to be proven by the placement's probe. A
// certificate with several hosts is adopted on each of them, one after another.
func (e *Engine) Adopt(ctx context.Context, name, host string) (renewer.Adoption, error) {
	a := &adoption{Adoption: renewer.Adoption{Certificate: name, Host: host, Warnings: []string{}}}
	fail := func(err error) (renewer.Adoption, error) {
		return renewer.Adoption{}, fmt.Errorf("adopt %s on %s: %w", name, host, renewer.AtHost(host, err))
	}
	if err := e.try(ctx, func() error { return e.adoptable(a) }); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*stageTimeout)
	defer cancel()
	if err := e.takeIn(ctx, a); err != nil {
		return fail(err)
	}
	if err := e.try(ctx, func() error { return e.adopted(a) }); err != nil {
		return fail(err)
	}
	return a.Adoption, nil
}

// adoption is an adoption under way.
type adoption struct {
	renewer.Adoption
	cert      renewer.Certificate
	placement renewer.Placement
	fleet     Fleet
	gen       renewer.Generation
	state     renewer.PlacementState
	roots     [][]byte
	at        time.Time
}

// adoptable finds what is to be adopted, and whether it may be.
func (e *Engine) adoptable(a *adoption) error {
	var ok bool
	if a.cert, ok = e.fleet.Certificate(a.Certificate); !ok {
		return errors.New("not in the fleet file")
	}
	if a.placement, ok = a.cert.Placement(a.Host); !ok {
		return errors.New("the certificate is not placed on this host")
	}
	if a.cert.IsBundle() {
		return renewer.WithHint(errors.New("a trust bundle has no certificate to adopt"), "renewer run places it")
	}
	a.fleet = e.fleet
	en, _, err := e.load(a.Certificate, a.cert)
	if err != nil {
		return err
	}
	return en.adoptable()
}

func (en *entry) adoptable() error {
	switch {
	case en.rec.Current > 0:
		return renewer.WithHint(fmt.Errorf("the inventory already has generation %d", en.rec.Current), "renewer show "+en.cert.Name)
	case en.open():
		return renewer.WithHint(fmt.Errorf("rollout %s is under way", en.rec.Rollout.ID), "renewer status shows its progress")
	}
	return nil
}

// takeIn looks at what is in place, keeps a copy, and proves it. The leaf has to
// be right; what else differs from the entry is drift from then on.
func (e *Engine) takeIn(ctx context.Context, a *adoption) error {
	host, ok := a.fleet.Hosts[a.Host]
	if !ok {
		return errors.New("the host is not in the fleet file")
	}
	roots, creds := e.sources()
	trusted, err := roots.need(ctx, a.fleet.Issuers, a.cert.Trust...)
	if err != nil {
		return err
	}
	disk, err := host.Inspect(ctx, a.placement)
	if err != nil {
		return err
	}
	a.at = e.Now()
	revision, err := host.Adopt(ctx, a.placement, func(content map[renewer.FileKind][]byte) (err error) {
		var warnings []string
		a.gen, warnings, err = pki.Adopted(a.cert, content, trusted, a.at)
		a.Warnings = append(a.Warnings, warnings...)
		return err
	})
	if err != nil {
		return err
	}
	roots.learn(disk.Roots...)
	v := sight{cert: a.cert, placement: a.placement, gen: &a.gen, accepts: disk.Trusts, fleet: &a.fleet, roots: roots, creds: creds}
	v.expect = renewer.Expected{Leaf: a.gen.Fingerprint, Origin: renewer.OriginForeign}
	req, err := e.probeRequest(ctx, v)
	if err = withoutClient(&req, err); err != nil {
		return err
	}
	seen, err := e.Prober.Probe(ctx, req)
	if err != nil {
		return fmt.Errorf("the files in place are not the certificate that is served: %w", err)
	}
	a.Warnings = append(a.Warnings, seen.NotChecked...)
	a.taken(revision, disk, seen, renewer.RootSetOf(trusted))
	a.roots = ders(append(disk.Roots, trusted...))
	a.Fingerprint, a.NotAfter, a.RenewAt = a.gen.Fingerprint, a.gen.NotAfter, a.gen.RenewAt
	return nil
}

// taken makes the state of the placement. Roots that the entry's issuers do not
// have are somebody's, and stay.
func (a *adoption) taken(revision string, disk OnDisk, seen Observation, want renewer.RootSet) {
	a.state = renewer.PlacementState{
		State: renewer.HostVerified, Revision: revision, Origin: renewer.OriginAdopted,
		Dirs: []string{a.placement.Dir}, Layout: a.placement.Layout(), Files: a.placement.Names(), Roots: disk.Trusts, Foreign: authorities(disk.Roots).Without(want), Loaded: &renewer.Loaded{Roots: disk.Trusts},
		Served: seen.Served, ServedEnd: seen.NotAfter, Matches: true, VerifiedAt: a.at, ProbedAt: a.at,
	}
	a.state.Revisions = []renewer.Revision{{Name: revision, Layout: a.state.Layout, Roots: disk.Trusts, Origin: renewer.OriginAdopted}}
	for _, p := range disk.Deviations {
		if p.Harmless {
			a.Warnings = append(a.Warnings, p.Text)
		}
	}
	expect := renewer.Expected{Leaf: a.gen.Fingerprint, AtLeast: want, Origin: renewer.OriginAdopted}
	differs := expect.Differs(a.placement, disk)
	if len(differs) == 0 {
		return
	}
	for _, what := range differs {
		a.Warnings = append(a.Warnings, what+"; the next renewal corrects it")
	}
	a.state.State, a.state.Matches = renewer.HostDrifted, false
	a.state.Roots = want.With(a.state.Foreign) // as it should be
	a.state.Error, a.state.Hint = strings.Join(differs, "; "), "renewer run corrects it, and keeps the current certificate"
	a.state.Seen = &renewer.Seen{Content: expect.Content(a.placement, disk), Leaf: disk.Leaf, Under: a.gen.Under, NotAfter: disk.NotAfter.Unix(), Roots: disk.Trusts}
}

// adopted records it, unless something came in between.
func (e *Engine) adopted(a *adoption) error {
	was, _, err := e.load(a.Certificate, a.cert)
	if err != nil {
		return err
	}
	if err := was.adoptable(); err != nil {
		return err
	}
	if g := was.current; g != nil && g.Fingerprint != a.gen.Fingerprint {
		return renewer.WithHint(fmt.Errorf("another certificate was adopted as generation 0: %s", g.Fingerprint), "renewer renew "+a.Certificate+" gives all its hosts the same certificate")
	}
	p, _ := e.apply(was, renewer.Adopted{Host: a.Host, Placement: a.state, Generation: &a.gen, Warnings: a.Warnings, Roots: a.roots})
	return e.record([]pending{p})
}

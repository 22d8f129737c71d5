package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// Trust returns who accepts whom, from what is in place: all, or only what
// concerns the certificates that are named.
func (e *Engine) Trust(ctx context.Context, names []string) (out renewer.Trust, err error) {
	err = e.do(ctx, func() {
		g, now := e.trusts(), e.Now()
		var named func(string) bool
		if names != nil {
			named = func(certificate string) bool { return slices.Contains(names, certificate) }
		}
		if len(names) > 8 {
			set := map[string]bool{}
			for _, name := range names {
				set[name] = true
			}
			named = func(certificate string) bool { return set[certificate] }
		}
		out = renewer.Trust{At: now.UTC(), Pairs: g.Matrix(now, named), Roots: []renewer.TrustRoot{}}
		used := renewer.RootSet(nil)
		for _, p := range out.Pairs {
			used = used.With(p.Under)
		}
		for _, root := range e.trustRoots() {
			if names == nil || used.Has(root.ID) || slices.ContainsFunc(root.Foreign, func(id string) bool { return ofAny(id, names) }) {
				out.Roots = append(out.Roots, root)
			}
		}
	})
	return out, err
}

// ofAny reports whether a placement is one of the certificates.
func ofAny(id string, names []string) bool {
	certificate, _, _ := strings.Cut(id, "@")
	return slices.Contains(names, id) || slices.Contains(names, certificate)
}

// trustRoots returns the roots that anybody has in place, or an issuer has now.
func (e *Engine) trustRoots() (out []renewer.TrustRoot) {
	g, issuers := e.trusts(), e.roots.issuers()
	for _, c := range e.roots.all() {
		r := renewer.TrustRoot{Fingerprint: renewer.Fingerprint(c.Raw), Subject: c.Subject.String(), NotAfter: c.NotAfter, Issuers: []string{}, Foreign: []string{}, NeededBy: []string{}}
		r.ID = renewer.RootID(c.Raw)
		r.Issuers = append(r.Issuers, issuers[r.ID]...)
		var foreign []string
		r.Presenters, r.Verifiers, foreign = g.Holding(r.ID)
		r.Foreign = append(r.Foreign, foreign...)
		if len(r.Issuers) == 0 {
			for _, id := range g.Presenters(r.ID) {
				r.NeededBy = append(r.NeededBy, id.String())
			}
		}
		if r.Presenters > 0 || r.Verifiers > 0 || len(r.Issuers) > 0 {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b renewer.TrustRoot) int {
		return cmp.Or(cmp.Compare(b.Presenters, a.Presenters), cmp.Compare(b.Verifiers, a.Verifiers), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// issuers returns the names of those that have a root now, by its ID.
func (rc *rootCache) issuers() map[string][]string {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	out := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(rc.roots)) {
		for _, c := range rc.roots[name] {
			id := renewer.RootID(c.Raw)
			out[id] = append(out[id], name)
		}
	}
	return out
}

// name is a root for operators.
func (rc *rootCache) name(id string) string {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if c, ok := rc.known[id]; ok {
		return id[:8] + " (" + c.Subject.String() + ")"
	}
	return id
}

// refusers names who would refuse what a certificate brings next.
func (e *Engine) refusers(en *entry) []string {
	return refusers(e.refusals(en, nil, 64), func(trust.ID) bool { return true })
}

// refusers names those of the verifiers that are meant.
func refusers(list []trust.Refusal, means func(trust.ID) bool) (names []string) {
	for _, r := range list {
		if !means(r.Verifier) {
			continue
		}
		name := r.Verifier.String()
		if r.Left {
			name += " (left the fleet file)"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// leaving are the records of certificates that left the fleet file and that the
// next pass takes out of the lists.
func (e *Engine) leaving() (records []renewer.Record, err error) {
	names, err := e.Store.Names()
	for _, name := range names {
		if _, stays := e.fleet.byName[name]; stays {
			continue
		}
		rec, found, err := e.Store.Record(name)
		if err != nil {
			return records, err
		}
		if found {
			records = append(records, rec)
		}
	}
	return records, err
}

// leaver is a certificate that left the fleet file, as far as its record knows it.
func leaver(rec renewer.Record) renewer.Certificate {
	return renewer.Certificate{Name: rec.Name, Entry: rec.Entry, Issuer: rec.Issuer}
}

// forgetSteps are what a plan says of them.
func (e *Engine) forgetSteps() (steps []renewer.PlanStep, err error) {
	leaving, err := e.leaving()
	for _, rec := range leaving {
		if e.taken[rec.Name] == nil && !slices.Contains(slices.Collect(maps.Values(e.awaited)), rec.Name) {
			steps = append(steps, renewer.ForgetStep(rec.Name, "", e.departures(leaver(rec), rec)))
		}
	}
	return steps, err
}

// leavesHosts are what a plan says of the hosts that left an entry since it was planned
// last.
func (e *Engine) leavesHosts(en *entry) (steps []renewer.PlanStep) {
	for _, d := range e.departures(en.cert, en.rec) {
		if _, left := en.rec.Placements[d.Host]; left {
			steps = append(steps, renewer.ForgetStep(en.cert.Name, d.Host, []renewer.Departed{d}))
		}
	}
	return steps
}

// Roots returns what is known of every root in use.
func (e *Engine) Roots(ctx context.Context) (out []renewer.TrustRoot, err error) {
	err = e.do(ctx, func() { out = e.trustRoots() })
	return out, err
}

// Subject is what an impact is about; one of its fields is set.
type Subject struct {
	Certificates []string
	Host, Issuer string
	Below        []string // issuers whose CA was signed by that of Issuer
	Root         renewer.TrustRoot
}

// Impact returns who would refuse whom in a case, by the function that holds the
// gate.
func (e *Engine) Impact(ctx context.Context, s Subject, c renewer.ImpactCase) (out renewer.Impact, err error) {
	err = e.try(ctx, func() error {
		out = renewer.Impact{At: e.Now().UTC(), Case: c, Notes: []string{}}
		if c == renewer.ImpactRenewed {
			out.Refused, err = e.renewed(s)
		} else {
			out.Refused = e.trusts().Impact(e.Now(), e.suppose(s, c))
		}
		e.addServices(out.Refused)
		return err
	})
	return out, err
}

func (e *Engine) suppose(s Subject, c renewer.ImpactCase) trust.Suppose {
	out := trust.Suppose{Case: c}
	switch {
	case s.Root.ID != "":
		out.Roots = renewer.NewRootSet(s.Root.ID)
	case s.Host != "":
		out.Leaves = func(n *trust.Node, _ trust.Leaf) bool { return n.Host == s.Host }
	case s.Issuer != "":
		out.Leaves = func(_ *trust.Node, l trust.Leaf) bool {
			return l.Issuer == s.Issuer || slices.Contains(s.Below, l.Issuer)
		}
		out.End = e.roots.lastEnd(s.Issuer)
	default:
		out.Leaves = func(n *trust.Node, _ trust.Leaf) bool { return slices.Contains(s.Certificates, n.Certificate) }
	}
	return out
}

// lastEnd returns when the last root of an issuer expires; zero if none is known.
func (rc *rootCache) lastEnd(issuer string) (end time.Time) {
	roots, _ := rc.of(issuer)
	for _, c := range roots {
		if c.NotAfter.After(end) {
			end = c.NotAfter
		}
	}
	return end
}

// renewed is what gates would say if all that is meant were renewed now.
func (e *Engine) renewed(s Subject) ([]renewer.Refusal, error) {
	g, now := e.trusts(), e.Now()
	names, err := e.Store.Open()
	if err != nil {
		return nil, fmt.Errorf("read what is under way: %w", err)
	}
	open := map[string]bool{}
	for _, name := range names {
		open[name] = true
	}
	bases := map[string]renewer.RootSet{}
	var list []trust.Renewal
	for _, c := range e.fleet.Certificates {
		if c.IsBundle() || len(c.Placements) == 0 || !s.means(c) {
			continue
		}
		if open[c.Name] {
			en, _, err := e.load(c.Name, c)
			if err != nil {
				return nil, fmt.Errorf("read what is in place of %s: %w", c.Name, err)
			}
			list = append(list, e.renewal(en))
			continue
		}
		base, known := bases[c.Issuer]
		if !known {
			base = e.roots.base(c.Issuer)
			bases[c.Issuer] = base
		}
		r := trust.Renewal{Node: nodeOf(c), Next: trust.Leaf{Issuer: c.Issuer, Under: base, IssuedAt: now, NotAfter: now.Add(c.Lifetime)}}
		for _, p := range c.Placements {
			r.IDs = append(r.IDs, trust.ID{Certificate: c.Name, Host: p.Host})
			n, _ := g.Node(trust.ID{Certificate: c.Name, Host: p.Host})
			for _, l := range n.Leaves { // without a rollout these are what is shown
				r.Now = appendLeaf(r.Now, l)
			}
		}
		list = append(list, r)
	}
	return g.Renewed(list, now), nil
}

// means reports whether a certificate is one of those that an impact is about.
func (s Subject) means(c renewer.Certificate) bool {
	switch {
	case s.Host != "":
		_, on := c.Placement(s.Host)
		return on
	case s.Issuer != "":
		return c.Issuer == s.Issuer
	default:
		return slices.Contains(s.Certificates, c.Name)
	}
}

// addServices names the services at either end of refusals.
func (e *Engine) addServices(refused []renewer.Refusal) {
	for i := range refused {
		found := map[string]bool{}
		for _, ids := range [][]string{refused[i].Presenters, refused[i].Verifiers} {
			for _, id := range ids {
				if service := e.serviceOf(id); service != "" {
					found[service] = true
				}
			}
		}
		refused[i].Services = append([]string{}, slices.Sorted(maps.Keys(found))...)
	}
}

// serviceOf names the service that a placement's activation is about.
func (e *Engine) serviceOf(id string) string {
	name, host, _ := strings.Cut(id, "@")
	c, ok := e.fleet.Certificate(id) // docker@host-b is a name of its own
	if !ok {
		c, ok = e.fleet.Certificate(name)
	}
	if !ok {
		return ""
	}
	p, _ := c.Placement(host)
	if service := p.Activate.Service(); service != "" {
		return service + "@" + host
	}
	return ""
}

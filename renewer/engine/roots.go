package engine

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// rootCache holds the roots that each issuer has now, so that planning asks no
// issuer, and every root that is known at all. Refreshed at start, at a reload
// and before each probe of the fleet.
type rootCache struct {
	mu    sync.Mutex
	roots map[string][]*x509.Certificate // by issuer
	sets  map[string]renewer.RootSet     // the same; shared, and never changed
	signs map[string]renewer.RootSet     // by issuer, where it signs under a part of these only
	known map[string]*x509.Certificate   // by RootID
	twins map[string]renewer.RootSet     // of those that were made more than once for the same name and key, the others
	moved atomic.Uint64                  // counts the changes of what issuers have
}

func newRootCache() *rootCache {
	return &rootCache{roots: map[string][]*x509.Certificate{}, sets: map[string]renewer.RootSet{}, signs: map[string]renewer.RootSet{}, known: map[string]*x509.Certificate{}}
}

// rootsTimeout bounds how long an issuer that does not answer holds up a start
// or a reload; it is asked again when its roots are needed.
const rootsTimeout = 10 * time.Second

func (rc *rootCache) refresh(ctx context.Context, issuers map[string]Issuer) {
	ctx, cancel := context.WithTimeout(ctx, rootsTimeout)
	defer cancel()
	var all sync.WaitGroup
	for name, is := range issuers {
		all.Go(func() {
			if roots, err := is.Roots(ctx); err == nil {
				rc.put(name, roots, signsUnder(is))
			}
		})
	}
	all.Wait()
}

// signsUnder asks an issuer that may have more roots than the one that it signs
// under; unknown for all others.
func signsUnder(is Issuer) renewer.RootSet {
	if s, ok := Can[Succession](is); ok {
		return s.SignsUnder()
	}
	return nil
}

func (rc *rootCache) put(name string, roots []*x509.Certificate, signs renewer.RootSet) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	set := renewer.RootSetOf(roots)
	if !rc.sets[name].Same(set) || signs.Known() && !rc.signs[name].Same(signs) {
		rc.moved.Add(1)
	}
	rc.roots[name], rc.sets[name] = roots, set
	delete(rc.signs, name)
	if signs.Known() {
		rc.signs[name] = signs
	}
	for _, c := range roots {
		rc.meet(c)
	}
}

// learn takes in roots that no issuer may have any more.
func (rc *rootCache) learn(roots ...*x509.Certificate) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, c := range roots {
		rc.meet(c)
	}
}

// meet takes in a root. What is signed with its key leads to each of its twins.
func (rc *rootCache) meet(c *x509.Certificate) {
	id := renewer.RootID(c.Raw)
	if _, known := rc.known[id]; known {
		return
	}
	for other, has := range rc.known {
		if pki.Twins(c, has) {
			if rc.twins == nil {
				rc.twins = map[string]renewer.RootSet{}
			}
			rc.twins[id] = renewer.NewRootSet(append(rc.twins[id], other)...)
			rc.twins[other] = renewer.NewRootSet(append(rc.twins[other], id)...)
		}
	}
	rc.known[id] = c
}

// withTwins adds the roots that whatever leads to one of a set leads to as well.
func (rc *rootCache) withTwins(set renewer.RootSet) renewer.RootSet {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if len(rc.twins) == 0 {
		return set
	}
	for _, id := range slices.Clone(set) {
		set = set.With(rc.twins[id])
	}
	return set
}

// all returns every root that is known.
func (rc *rootCache) all() []*x509.Certificate {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return slices.Collect(maps.Values(rc.known))
}

// certs returns the certificates of a set, the latest first: of those by one name some
// peers look at the first alone.
func (rc *rootCache) certs(set renewer.RootSet) ([]*x509.Certificate, error) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	out := make([]*x509.Certificate, 0, len(set))
	for _, id := range set {
		c, ok := rc.known[id]
		if !ok {
			return nil, fmt.Errorf("root %s is not in the inventory", id)
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b *x509.Certificate) int { return b.NotBefore.Compare(a.NotBefore) })
	return out, nil
}

// of returns the roots that issuers have now, without duplicates; ok is false
// if one is not known yet.
func (rc *rootCache) of(names ...string) (roots []*x509.Certificate, ok bool) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, name := range names {
		known, found := rc.roots[name]
		if !found {
			return nil, false
		}
		for _, r := range known {
			if !slices.ContainsFunc(roots, r.Equal) {
				roots = append(roots, r)
			}
		}
	}
	return roots, true
}

// base is of as a set; unknown if one is not known yet.
func (rc *rootCache) base(names ...string) renewer.RootSet {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	all := renewer.RootSet{}
	for _, name := range names {
		set, found := rc.sets[name]
		switch {
		case !found:
			return nil
		case len(all) == 0:
			all = set
		case !set.Same(all):
			all = all.With(set)
		}
	}
	return all
}

// signing returns the roots that issuers sign under now; unknown if those of one
// are not known yet.
func (rc *rootCache) signing(names ...string) renewer.RootSet {
	out := renewer.NewRootSet()
	for _, name := range names {
		rc.mu.Lock()
		under := rc.signs[name]
		rc.mu.Unlock()
		if !under.Known() {
			if under = rc.base(name); !under.Known() {
				return nil
			}
		}
		out = out.With(under)
	}
	return out
}

// issuerUnder returns an issuer that signs under one of the roots now, of the preferred
// ones first; empty for none.
func (rc *rootCache) issuerUnder(roots renewer.RootSet, preferred []string) string {
	rc.mu.Lock()
	names := slices.Sorted(maps.Keys(rc.roots))
	rc.mu.Unlock()
	for _, name := range slices.Concat(preferred, names) {
		if _, file := renewer.IsTrustFile(name); !file && rc.signing(name).Meets(roots) {
			return name
		}
	}
	return ""
}

// need is of, asking the issuers that are not known yet.
func (rc *rootCache) need(ctx context.Context, issuers map[string]Issuer, names ...string) ([]*x509.Certificate, error) {
	for _, name := range names {
		if _, ok := rc.of(name); ok {
			continue
		}
		is, ok := issuers[name]
		if !ok {
			return nil, fmt.Errorf("issuer %s is not in the fleet file", name)
		}
		roots, err := is.Roots(ctx)
		if err != nil {
			return nil, fmt.Errorf("get the roots of issuer %s: %w", name, err)
		}
		rc.put(name, roots, signsUnder(is))
	}
	roots, _ := rc.of(names...)
	return roots, nil
}

// under returns the roots that a generation leads to: as recorded or, of one
// that a version before issued, among those that are known.
func (rc *rootCache) under(g *renewer.Generation) renewer.RootSet {
	if g.Under.Known() && g.Number == 0 {
		return g.Under // openssl may have named one root by its serial number
	}
	if g.Under.Known() {
		return rc.withTwins(g.Under)
	}
	chain, err := g.Parse()
	if err != nil {
		return nil
	}
	if found := pki.Under(chain, rc.all()); len(found) > 0 {
		return found
	}
	return nil
}

// recognize makes out the roots that a version before placed, of which it kept
// the digest alone: mostly those that the entry's issuers have still.
func (e *Engine) recognize(rec *renewer.Record, c renewer.Certificate) {
	for host, st := range rec.Placements {
		if st.Roots.Known() || st.Digest == "" {
			continue
		}
		if roots, ok := e.roots.of(c.Trust...); ok && renewer.TrustDigest(roots) == st.Digest {
			st.Recognize(renewer.RootSetOf(roots))
			rec.Placements[host] = st
		}
	}
}

// rootsMoved plans for all again when an issuer has other roots than it had.
func (e *Engine) rootsMoved() {
	now := e.roots.moved.Load()
	if e.rooted == now {
		return
	}
	e.rooted = now
	if e.graph != nil {
		for _, root := range e.roots.all() {
			e.graph.Know(renewer.RootID(root.Raw), root.NotAfter)
		}
	}
	e.recheck(slices.Collect(maps.Keys(e.entries))...)
	for _, c := range e.fleet.Certificates {
		e.unplanned[c.Name] = true
	}
}

// unstored returns the roots that the inventory may not have yet.
func (e *Engine) unstored(roots [][]byte) (out [][]byte) {
	for _, der := range roots {
		if id := renewer.RootID(der); !e.stored[id] {
			out = append(out, der)
		}
	}
	return out
}

func ders(roots []*x509.Certificate) [][]byte {
	out := make([][]byte, 0, len(roots))
	for _, c := range roots {
		out = append(out, c.Raw)
	}
	return out
}

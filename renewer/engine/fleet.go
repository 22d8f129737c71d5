package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

var errStopped = errors.New("renewer is stopping")

// Fleet is what the engine works on: the certificates of the fleet file and
// the real issuers, hosts and windows behind their names.
type Fleet struct {
	Certificates []renewer.Certificate
	Issuers      map[string]Issuer
	Hosts        map[string]Host
	Windows      map[string]Window

	byName  map[string]int
	byEntry map[string][]string // full names, in the order of the file
	groups  map[string][]string // full names of each peer group
}

func (f *Fleet) index() {
	f.byName = make(map[string]int, len(f.Certificates))
	f.byEntry, f.groups = map[string][]string{}, map[string][]string{}
	for i, c := range f.Certificates {
		f.byName[c.Name] = i
		f.byEntry[c.Entry] = append(f.byEntry[c.Entry], c.Name)
		if c.PeerGroup != "" {
			f.groups[c.PeerGroup] = append(f.groups[c.PeerGroup], c.Name)
		}
	}
}

// Certificate returns a certificate by name.
func (f *Fleet) Certificate(name string) (renewer.Certificate, bool) {
	i, ok := f.byName[name]
	if !ok {
		return renewer.Certificate{}, false
	}
	return f.Certificates[i], true
}

// Mode is how much an engine does with a fleet.
type Mode int

// The modes, each doing more than the one before.
const (
	Asked Mode = iota // what it is asked for and nothing else
	Alone             // plans the difference to the inventory and goes on by itself
	Again             // Alone, and what waits for its next try is tried now: somebody may have mended the cause
)

// SetFleet takes over a fleet file, the first or a changed one.
func (e *Engine) SetFleet(ctx context.Context, f Fleet, mode Mode) error {
	f.index()
	roots := newRootCache()
	roots.refresh(ctx, f.Issuers)
	var failed error
	err := e.do(ctx, func() {
		clear(e.families)
		e.fleet, e.roots, e.probeCerts, e.onItsOwn = f, roots, newCredentials(e.Now), mode != Asked
		for name, en := range e.entries {
			if c, ok := f.Certificate(name); ok {
				en.cert = c
			}
		}
		if mode == Asked {
			return
		}
		e.again = mode == Again
		failed = e.checkAll()
		e.again = false
		if failed == nil && mode == Again {
			failed = e.retryAll()
		}
	})
	return errors.Join(err, failed)
}

// retryAll ends the backoff of everything under way.
func (e *Engine) retryAll() error {
	var batch []pending
	for _, en := range e.entries {
		if next := en.clone(); !e.working(en.rec.Rollout) && next.rec.Rollout.Retry() {
			batch = append(batch, e.put(next, Change{}))
		}
	}
	return e.record(batch)
}

// IssuerUp is told when an issuer that was down answers again: the orders that
// wait for their next try are asked now.
func (e *Engine) IssuerUp(ctx context.Context, issuer string) error {
	var failed error
	err := e.do(ctx, func() {
		var batch []pending
		for _, en := range e.entries {
			r := en.rec.Rollout
			if en.cert.Issuer != issuer || r.Phase != renewer.PhaseOrdering || r.NextAt.IsZero() || e.working(r) {
				continue
			}
			next := en.clone()
			next.rec.Rollout.NextAt = time.Time{}
			batch = append(batch, e.put(next, Change{}))
		}
		failed = e.record(batch)
	})
	return errors.Join(err, failed)
}

// checkAll compares every entry with the inventory, and lets go of those that
// left the fleet file.
func (e *Engine) checkAll() error {
	known, err := e.Store.Names()
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	names := make([]string, 0, len(e.fleet.Certificates)+len(known))
	for _, c := range e.fleet.Certificates {
		names = append(names, c.Name)
	}
	for _, name := range known {
		if _, ok := e.fleet.byName[name]; !ok {
			names = append(names, name)
		}
	}
	e.consider(names)
	e.checked()
	return nil
}

func (e *Engine) checked() {
	e.lastCheck = e.Now()
	if e.Observer != nil {
		e.Observer.Checked(e.lastCheck)
	}
}

// rootCache holds the roots of each issuer, so that planning asks no issuer.
// Refreshed at start, at a reload and before each probe of the fleet.
type rootCache struct {
	mu    sync.Mutex
	roots map[string][]*x509.Certificate
}

func newRootCache() *rootCache { return &rootCache{roots: map[string][]*x509.Certificate{}} }

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
				rc.put(name, roots)
			}
		})
	}
	all.Wait()
}

func (rc *rootCache) put(name string, roots []*x509.Certificate) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.roots[name] = roots
}

// of returns the roots of issuers, without duplicates; ok is false if one is
// not known yet.
func (rc *rootCache) of(names ...string) (roots []*x509.Certificate, ok bool) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, name := range names {
		known, found := rc.roots[name]
		if !found {
			return nil, false
		}
		for _, r := range known {
			if !contains(roots, r) {
				roots = append(roots, r)
			}
		}
	}
	return roots, true
}

// issuerIn returns an issuer whose roots are in a ca file with that digest: the
// first one wanted in it now, unless the file holds the roots of one or two
// others, as it does before and while a fleet moves to another CA.
func (rc *rootCache) issuerIn(digest string, wanted []string) string {
	is := func(names ...string) bool {
		roots, ok := rc.of(names...)
		return ok && pki.TrustDigest(roots) == digest
	}
	if digest == "" || is(wanted...) {
		return wanted[0]
	}
	rc.mu.Lock()
	names := slices.Sorted(maps.Keys(rc.roots))
	rc.mu.Unlock()
	for _, one := range slices.Concat(wanted, names) {
		if is(one) || slices.ContainsFunc(names, func(other string) bool { return is(one, other) }) {
			return one
		}
	}
	return wanted[0]
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
		rc.put(name, roots)
	}
	roots, _ := rc.of(names...)
	return roots, nil
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, x := range list {
		if x.Equal(c) {
			return true
		}
	}
	return false
}

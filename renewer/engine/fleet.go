package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"renewer/renewer"
)

var errStopped = errors.New("renewer is stopping")

// Fleet is what the engine works on: the certificates of the fleet file and
// the real issuers, hosts and windows behind their names.
type Fleet struct {
	Certificates []renewer.Certificate
	Issuers      map[string]Issuer
	Hosts        map[string]Host
	Windows      map[string]Window
	Retired      map[string]bool     // hosts that are gone for good
	Rotations    map[string]Rotation // by issuer

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

// directories returns where anything is placed, by host and directory.
func (f *Fleet) directories() map[[2]string]bool {
	out := map[[2]string]bool{}
	for _, c := range f.Certificates {
		for i := range c.Placements {
			out[[2]string{c.Placements[i].Host, c.Placements[i].Dir}] = true
		}
	}
	return out
}

// Mode is how much an engine does with a fleet.
type Mode int

// The modes, each doing more than the one before.
const (
	Asked Mode = iota // what it is asked for and nothing else
	Alone             // plans the difference to the inventory and goes on by itself
	Again             // Alone, and what waits for its next try is tried now: somebody may have fixed the cause
)

// SetFleet takes over a fleet file, the first or a changed one.
func (e *Engine) SetFleet(ctx context.Context, f Fleet, mode Mode) error {
	f.index()
	known := map[string]bool{}
	was, _ := e.sources()
	roots := newRootCache()
	roots.learn(was.all()...)
	stored, err := e.Store.Roots()
	if err != nil {
		return fmt.Errorf("read the roots in the inventory: %w", err)
	}
	for _, der := range stored {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("read a root in the inventory: %w", err)
		}
		roots.learn(root)
		known[renewer.RootID(der)] = true
	}
	roots.refresh(ctx, f.Issuers)
	return e.try(ctx, func() error {
		e.graph, e.stored, e.rooted = nil, known, roots.moved.Load()
		e.fleet, e.roots, e.probeCerts, e.onItsOwn = f, roots, newCredentials(e.Now), mode != Asked
		for name, en := range e.entries {
			if c, ok := f.Certificate(name); ok {
				en.cert = c
				en.rec.Rejoin(c, e.Now())
			}
		}
		if err := e.findHeirs(); err != nil {
			return fmt.Errorf("read what left the fleet file: %w", err)
		}
		e.keepAll()
		if mode == Asked {
			return nil
		}
		e.again = mode == Again
		err := e.checkAll()
		if e.again = false; err == nil && mode == Again {
			err = e.retryAll()
		}
		return err
	})
}

// retryAll ends the backoff of everything under way.
func (e *Engine) retryAll() error {
	var batch []pending
	for _, en := range e.entries {
		if p, changed := e.apply(en, renewer.Retried{}); changed && !e.working(en.rec.Rollout) {
			batch = append(batch, p)
		}
	}
	return e.record(batch)
}

// IssuerUp is called when an issuer that was down answers again: the orders that
// wait for their next try are asked now.
func (e *Engine) IssuerUp(ctx context.Context, issuer string) error {
	return e.try(ctx, func() error {
		var batch []pending
		for _, en := range e.entries {
			r := en.rec.Rollout
			if en.cert.Issuer != issuer || r.Phase != renewer.PhaseOrdering || r.NextAt.IsZero() || e.working(r) {
				continue
			}
			p, _ := e.apply(en, renewer.Retried{Orders: true})
			batch = append(batch, p)
		}
		return e.record(batch)
	})
}

// checkAll compares every entry with the inventory, and lets go of those that
// left the fleet file.
func (e *Engine) checkAll() error {
	known, err := e.Store.Names()
	if err != nil {
		return fmt.Errorf("read the inventory: %w", err)
	}
	names := e.unsettled()
	for _, name := range known {
		if _, ok := e.fleet.byName[name]; !ok && e.taken[name] == nil { // which goes with its heir
			names = append(names, name)
		}
	}
	e.consider(names)
	e.endReplaced(e.successors())
	e.checked()
	return nil
}

func (e *Engine) checked() {
	e.lastCheck = e.Now()
	e.Observer.Checked(e.lastCheck)
}

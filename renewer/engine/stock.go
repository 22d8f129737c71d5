package engine

import (
	"context"
	"crypto/x509"
	"slices"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// At a start everything that is recorded is read once. What comes of it is the
// graph of who accepts whom, and, as each certificate passes by, whether there
// is anything to do for it: assuming that the ca files in place are right, which
// only the whole graph can say. So that is asked at the end, of the graph alone,
// and nothing is read again but what there is something to do for.

// stockAtOnce is how many certificates are read in one transaction.
const stockAtOnce = 256

// stock makes the graph, and calls each with every certificate of the fleet that
// can be read and its number there.
func (e *Engine) stock(each func(n int, en *entry, found bool)) {
	e.graph = trust.New()
	for _, root := range e.roots.all() {
		e.graph.Know(renewer.RootID(root.Raw), root.NotAfter)
	}
	e.graph.Ban(e.fleet.banned())
	n := 0
	for chunk := range slices.Chunk(e.fleet.Certificates, stockAtOnce) {
		names := make([]string, 0, len(chunk))
		for _, c := range chunk {
			names = append(names, c.Name)
		}
		known, err := e.Store.Recorded(names)
		for i, c := range chunk {
			en, found, failed := e.entries[c.Name], true, error(nil)
			switch {
			case en != nil:
			case err == nil:
				en, failed = e.entryOf(c, &known[i])
				found = known[i].Found
			default: // which of them it is about
				en, found, failed = e.load(c.Name, c)
			}
			if failed != nil {
				e.Log.Error("could not read what is in place", "certificate", c.Name, "error", failed)
			} else {
				e.graph.Load(c.Name, e.nodes(en))
				each(n, en, found)
			}
			n++
		}
	}
	e.worked += n
	departed, err := e.Store.Departed()
	if err != nil {
		e.Log.Error("could not read what left the fleet file", "error", err)
	}
	leaving, err := e.leaving()
	if err != nil {
		e.Log.Error("could not read what is leaving the fleet file", "error", err)
	}
	for _, rec := range leaving {
		e.graph.Load(rec.Name, e.left(rec.Name, e.departures(leaver(rec), rec)))
	}
	for name, list := range departed {
		if _, back := e.fleet.byName[name]; !back {
			e.graph.Load(name, e.left(name, list))
		}
	}
}

// unsettled returns the names for which there may be something to do, in the
// order of the fleet file. Planning any other one would change nothing.
func (e *Engine) unsettled() (names []string) {
	e.room = 0 // nothing is started
	settled := make([]bool, len(e.fleet.Certificates))
	e.stock(func(n int, en *entry, found bool) { settled[n] = found && e.settled(en) })
	for n, c := range e.fleet.Certificates {
		if !settled[n] || !e.trustsRight(c) {
			names = append(names, c.Name)
		} else {
			delete(e.unplanned, c.Name)
		}
	}
	return names
}

// settled reports whether there is nothing to do for a certificate if the ca
// files in place are right.
func (e *Engine) settled(en *entry) bool {
	if en.rec.Rollout != nil || en.rec.Asked != nil || e.entries[en.cert.Name] != nil {
		return false
	}
	for _, p := range en.cert.Placements {
		st := en.rec.Placements[p.Host]
		_, hasTrust := p.Files[renewer.FileCA]
		if st.Unseen != "" || st.Seen != nil || !st.Reprobe.IsZero() || hasTrust && !st.Roots.Known() {
			return false // somebody may have to look
		}
	}
	o := e.observed(en)
	o.RootsFirst = nil
	o.Roots = func(host string) renewer.RootSet {
		p, ok := en.cert.Placement(host)
		if _, has := p.Files[renewer.FileCA]; !ok || !has {
			return nil
		}
		return en.rec.Placements[host].Roots
	}
	_, changes := e.compare(en, true, o)
	return !changes
}

// trustsRight reports whether the ca files of a certificate hold what they should
// by the graph.
func (e *Engine) trustsRight(c renewer.Certificate) bool {
	var base renewer.RootSet
	for _, p := range c.Placements {
		if _, has := p.Files[renewer.FileCA]; !has {
			continue
		}
		if base == nil {
			base = e.roots.base(c.Trust...)
		}
		n, ok := e.graph.Node(trust.ID{Certificate: c.Name, Host: p.Host})
		if !ok || !e.graph.Wanted(n, base, e.Now()).Same(n.Roots) {
			return false
		}
	}
	return true
}

// States returns every certificate of the fleet with what is recorded of it, and the
// roots that issuers were last known to have.
func (e *Engine) States(ctx context.Context) (all []renewer.State, roots map[string][]*x509.Certificate, err error) {
	var fleet []renewer.Certificate
	err = e.do(ctx, func() {
		fleet, roots = e.fleet.Certificates, map[string][]*x509.Certificate{}
		for name := range e.fleet.Issuers {
			roots[name], _ = e.roots.of(name)
		}
	})
	for chunk := range slices.Chunk(fleet, stockAtOnce) { // between which the loop does its own work
		if err != nil {
			return nil, nil, err
		}
		err = e.try(ctx, func() error {
			names := make([]string, len(chunk))
			for i, c := range chunk {
				names[i] = c.Name
			}
			known, err := e.Store.Recorded(names)
			if err != nil {
				return err
			}
			for i, c := range chunk {
				en, open := e.entries[c.Name]
				if !open {
					if en, err = e.entryOf(c, &known[i]); err != nil {
						return err
					}
				}
				all = append(all, en.state())
			}
			return nil
		})
	}
	return all, roots, err
}

package engine

import (
	"context"
	"fmt"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// discovery is what lies at a placement that an inventory from a backup may not
// know: something that renewer wrote after the backup was made.
type discovery struct {
	revision string
	gen      *renewer.Generation // nil: of a trust bundle
	fresh    bool                // the inventory does not have gen, which has no number yet
	trusts   renewer.RootSet
}

// discover looks at a placement that nobody has looked at since a backup was
// restored. What lies there as renewer wrote it is what is expected from then on;
// anything else is held against what the inventory says.
func (e *Engine) discover(ctx context.Context, t *target, fleet *Fleet, roots *rootCache) error {
	host, ok := fleet.Hosts[t.placement.Host]
	if !ok {
		return fmt.Errorf("host %s is not in the fleet file", t.placement.Host)
	}
	disk, err := host.Inspect(ctx, t.placement)
	if err != nil || disk.Revision == "" || len(disk.Problems) > 0 {
		return err
	}
	roots.learn(disk.Roots...)
	found := discovery{revision: disk.Revision, trusts: disk.Trusts}
	if !t.cert.IsBundle() {
		if found.gen, found.fresh, err = e.known(t.cert, disk, roots); err != nil || found.gen == nil {
			return err
		}
		t.gen = found.gen
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
	return &g, true, nil
}

// discovered takes what was found into the record. What is newest of what is in
// place is current.
func (e *Engine) discovered(en *entry, st *renewer.PlacementState, f Seen, ch *Change) {
	if f.found == nil {
		if st.Unseen = renewer.UnseenTried; f.Seen.Disk.Leaf != "" || f.Err == nil {
			st.Unseen = ""
		}
		return
	}
	st.Unseen, st.Revision, st.Roots, st.Digest, st.Origin, st.Seen = "", f.found.revision, f.found.trusts, "", renewer.OriginIssued, nil
	if g := f.found.gen; g != nil {
		if f.found.fresh {
			g.Number = numberOf(en, g)
		}
		st.Generation = g.Number
		if en.rec.Latest < g.Number {
			en.rec.Latest, ch.Generation = g.Number, g
			ch.Events = append(ch.Events, renewer.Event{
				Time: f.At, Type: renewer.EventAdopted, Certificate: en.cert.Name, Host: f.placement.Host, Generation: g.Number,
				Message: fmt.Sprintf("serial %s, valid until %s: it is newer than the restored backup", g.Serial, g.NotAfter.Format(time.RFC3339)),
			})
		}
		if g.Number > en.rec.Current {
			en.rec.Current, en.current = g.Number, g
		}
	}
	st.Revisions = append(st.Revisions, renewer.Revision{Name: st.Revision, Generation: st.Generation, Layout: st.Layout, Roots: st.Roots, Origin: st.Origin})
	st.Loaded = &renewer.Loaded{Generation: st.Generation, Roots: st.Roots}
}

// numberOf returns the number of a generation that the inventory did not have.
func numberOf(en *entry, g *renewer.Generation) int {
	if en.current != nil && en.current.Fingerprint == g.Fingerprint { // found on another host a moment ago
		return en.current.Number
	}
	return en.rec.Latest + 1
}

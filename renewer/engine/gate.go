package engine

import (
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// nextLeaf returns what a certificate brings next: what its rollout delivers or,
// before that is issued, one under the roots that its issuer has now.
func (e *Engine) nextLeaf(en *entry) trust.Leaf {
	if en.open() {
		if _, ordered := en.rec.Rollout.Delivers(); ordered && en.rolling != nil {
			return e.leafOf(en.rolling)
		}
	}
	now := e.Now()
	return trust.Leaf{Issuer: en.cert.Issuer, Under: e.roots.signing(en.cert.Issuer), IssuedAt: now, NotAfter: now.Add(en.cert.Lifetime)}
}

// nodeOf is a certificate as a presenter, wherever it is.
func nodeOf(c renewer.Certificate) trust.Node {
	p := c.Placements[0]
	return trust.NewNode(trust.ID{Certificate: c.Name, Host: p.Host}, c.Issuer, c.Role(p))
}

// renewal is what a certificate brings next, and shows now.
func (e *Engine) renewal(en *entry) trust.Renewal {
	r := trust.Renewal{Node: nodeOf(en.cert), Next: e.nextLeaf(en)}
	for _, p := range en.cert.Placements {
		r.IDs = append(r.IDs, trust.ID{Certificate: en.cert.Name, Host: p.Host})
		for _, has := range e.shown(en, en.rec.Placements[p.Host]) {
			r.Now = appendLeaf(r.Now, has)
		}
	}
	return r
}

// refusals returns the verifiers that would refuse what a certificate brings
// next, but for the hosts that somebody goes on without.
func (e *Engine) refusals(en *entry, without []string, limit int) []trust.Refusal {
	if en.cert.IsBundle() || len(en.cert.Placements) == 0 {
		return nil
	}
	r := e.renewal(en)
	if !r.Next.Under.Known() {
		return nil
	}
	of := e.fleet.Rotations[en.cert.Issuer]
	skip := func(id trust.ID) bool {
		return slices.Contains(without, id.Host) || slices.Contains(of.Without, id.Host) && (of.AtOnce || !e.isBack(id)) || of.WithoutLeft && (e.leftFile(id) || e.notServing(id, r.Next.Under))
	}
	return e.trusts().Refusals(r.Node, r.Next, r.Now, e.Now(), limit, skip)
}

// notServing reports whether one of the roots is in the ca file of a placement, and only
// its service is not as it should be: it loads the root when it starts.
func (e *Engine) notServing(id trust.ID, roots renewer.RootSet) bool {
	en := e.inFile(id)
	if en == nil {
		return false
	}
	st := en.rec.Placements[id.Host]
	return st.State == renewer.HostBlocked && st.Seen == nil && st.Roots.Meets(roots)
}

// gate says why what a rollout brings may not go live yet; zero if it may. The
// wait ends by itself: a verifier that cannot be reached is waited for until what
// is in place is about to expire. One that can be reached gets its roots from then
// on whatever its window, and half of the time that is left.
func (e *Engine) gate(en *entry) renewer.Waiting {
	deadline, now := e.deadline(en), e.Now()
	if !en.open() || en.rec.Rollout.Force || !en.rec.Rollout.Fresh() || deadline.Over(now) {
		return renewer.Waiting{}
	}
	near := deadline.Near(now)
	found := e.refusals(en, en.rec.Rollout.Without, map[bool]int{false: 1, true: 64}[near])
	if near {
		found = slices.DeleteFunc(found, func(r trust.Refusal) bool { return !e.hurry(r.Verifier) })
	}
	if len(found) == 0 {
		return renewer.Waiting{}
	}
	r, end := found[0], deadline.About
	if near {
		end = deadline.Last
	}
	e.gatedBy(r.Verifier.Certificate, en.cert.Name)
	w := renewer.Waiting{Kind: renewer.WaitGate, Text: r.Verifier.String() + " does not have the root of the new certificate yet", By: r.Verifier.Host, Until: r.Until}
	if en.rolling != nil {
		w.Since = en.rolling.IssuedAt
	}
	switch {
	case r.Left:
		w.Text = r.Verifier.String() + " left the fleet file and does not have the root of the new certificate: put its entry back, or run renewer forget " + r.Verifier.Certificate
	case r.Unnamed:
		w.Text = fmt.Sprintf("%s accepts the current certificate, but its trust: does not name %s: add it there, or run renewer renew %s --force", r.Verifier, en.cert.Issuer, en.cert.Name)
	case r.InPlace:
		w.Text = r.Verifier.String() + " has the root of the new certificate in its ca file, but is not known to have loaded it"
	}
	if w.Until.IsZero() || !end.IsZero() && end.Before(w.Until) {
		w.Until = end
	}
	if !w.Until.IsZero() {
		w.Text += "; waiting at most until " + w.Until.UTC().Format(time.RFC3339)
	}
	return w
}

// hurry has a verifier take its roots now, and reports whether it can be reached
// at all.
func (e *Engine) hurry(id trust.ID) bool {
	if e.leftFile(id) {
		return false
	}
	en, open := e.entries[id.Certificate]
	if !open {
		e.unplanned[id.Certificate] = true
		return true
	}
	if s, ok := en.rec.Rollout.Step(id.Host); ok && s.Lost() {
		return false
	}
	if !e.urgent[id.Certificate] {
		e.urgent[id.Certificate] = true
		e.recheck(id.Certificate)
	}
	return true
}

// refuse returns the verifiers that will refuse a leaf that goes live although
// they do: the gate was passed by force, without them, or because time runs out.
func (e *Engine) refuse(en *entry, a renewer.Action) (names []string) {
	r := en.rec.Rollout
	s, ok := r.Step(a.Host)
	if !ok || s.State != renewer.StepStaged || s.Pass == renewer.PassRoots ||
		!r.Force && len(r.Without) == 0 && !e.deadline(en).Near(e.Now()) {
		return nil
	}
	return e.refusers(en)
}

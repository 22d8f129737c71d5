package engine

import (
	"slices"
	"strings"
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
	return trust.Leaf{Issuer: en.cert.Issuer, Under: e.roots.base(en.cert.Issuer), IssuedAt: now, NotAfter: now.Add(en.cert.Lifetime)}
}

// refusals returns the verifiers that would refuse what a certificate brings
// next, but for the hosts that somebody goes on without.
func (e *Engine) refusals(en *entry, without []string, limit int) []trust.Refusal {
	l := e.nextLeaf(en)
	if en.cert.IsBundle() || !l.Under.Known() || len(en.cert.Placements) == 0 {
		return nil
	}
	var shown []trust.Leaf
	for _, p := range en.cert.Placements {
		for _, has := range e.shown(en, en.rec.Placements[p.Host]) {
			shown = appendLeaf(shown, has)
		}
	}
	n := trust.NewNode(en.cert, en.cert.Placements[0])
	skip := func(id trust.ID) bool { return slices.Contains(without, id.Host) }
	return e.trusts().Refusals(n, l, shown, e.Now(), limit, skip)
}

// gate says why what a rollout brings may not go live yet; zero if it may. The
// wait ends by itself when what is in place is about to expire.
func (e *Engine) gate(en *entry) renewer.Waiting {
	if !en.open() || en.rec.Rollout.Force || !en.rec.Rollout.Fresh() || e.late(en) {
		return renewer.Waiting{}
	}
	found := e.refusals(en, en.rec.Rollout.Without, 1)
	if len(found) == 0 {
		return renewer.Waiting{}
	}
	r := found[0]
	e.gatedBy(r.Verifier.Certificate, en.cert.Name)
	w := renewer.Waiting{Kind: renewer.WaitGate, Text: r.Verifier.String() + " does not have the root of the new certificate yet", Until: r.Until}
	if r.InPlace {
		w.Text = r.Verifier.String() + " has the root of the new certificate, but is not known to have loaded it"
	}
	if w.Until.IsZero() {
		w.Until = e.overrideAt(en)
	}
	if !w.Until.IsZero() {
		w.Text += "; waits until " + w.Until.UTC().Format(time.RFC3339) + " at most"
	}
	return w
}

// overrideAt is when what waits goes on all the same, because what is in place
// is about to expire; zero if nothing is.
func (e *Engine) overrideAt(en *entry) time.Time {
	if en.current == nil {
		return time.Time{}
	}
	return en.current.NotAfter.Add(-en.cert.OverrideBefore)
}

func (e *Engine) late(en *entry) bool {
	at := e.overrideAt(en)
	return !at.IsZero() && !e.Now().Before(at)
}

// passed is the event of a leaf that goes live although somebody will refuse it:
// the gate was passed by force, without them, or because time runs out.
func (e *Engine) passed(en *entry, a renewer.Action) (renewer.Event, bool) {
	r := en.rec.Rollout
	s, ok := r.Step(a.Host)
	if !ok || a.Kind != renewer.ActActivate || s.State != renewer.StepStaged || s.Pass == renewer.PassRoots {
		return renewer.Event{}, false
	}
	if !r.Force && len(r.Without) == 0 && !e.late(en) {
		return renewer.Event{}, false
	}
	var names []string
	for _, refusal := range e.refusals(en, nil, 20) {
		names = append(names, refusal.Verifier.String())
	}
	slices.Sort(names)
	return renewer.Event{
		Time: e.Now(), Type: renewer.EventRefused, Certificate: a.Certificate, Host: a.Host, Generation: r.Generation, Rollout: r.ID,
		Message: "goes live although these do not have its root and will refuse it: " + strings.Join(slices.Compact(names), ", "),
	}, len(names) > 0
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/trust"
)

// Rotation is what the replacement of an issuer's CA asks of everybody.
type Rotation struct {
	Without     []string  // hosts that its certificates do not wait for
	AtOnce      bool      // whether those hosts answer or not: the key is compromised, and certificates are under it still
	WithoutLeft bool      // nor do they wait for what left the fleet file, or for a stopped service with the root in place
	Gone        []string  // roots that no leaf keeps in a ca file any more
	Spare       bool      // but for the ca files of those hosts
	Replaced    []string  // roots of the CAs that it replaced, once its CA signs
	Revoked     []string  // and, of those whose key is compromised, the CAs and their roots by SHA-256
	Switched    time.Time // when its CA began to sign; zero: not yet
	Anew        time.Time // what was issued before is reissued, though it leads to the same root
}

// gone are the roots that no leaf keeps any more.
func (f *Fleet) gone() renewer.RootSet {
	var out []string
	for _, r := range f.Rotations {
		out = append(out, r.Gone...)
	}
	return renewer.NewRootSet(out...)
}

// banned is gone as trust.Graph has it.
func (f *Fleet) banned() map[string][]string {
	out := map[string][]string{}
	for _, r := range f.Rotations {
		for _, root := range r.Gone {
			if out[root] = nil; r.Spare {
				out[root] = r.Without
			}
		}
	}
	return out
}

// inFile returns the entry of a placement; nil for one that left the fleet file, or that
// cannot be read.
func (e *Engine) inFile(id trust.ID) *entry {
	c, ok := e.fleet.Certificate(id.Certificate)
	if !ok {
		return nil
	}
	en, _, err := e.load(id.Certificate, c)
	if err != nil {
		return nil
	}
	return en
}

// isBack reports whether a placement that was gone on without was seen as it should be
// since: it is a peer like any other again.
func (e *Engine) isBack(id trust.ID) bool {
	en := e.inFile(id)
	if en == nil || !en.rec.Placements[id.Host].Matches {
		return false
	}
	s, _ := e.step(en, id.Host)
	return !s.Lost()
}

// Rotate takes over the rotations that are under way, and the roots that their
// issuers have now. What follows from that is planned, if the engine is on its own.
func (e *Engine) Rotate(ctx context.Context, rotations map[string]Rotation, issuers ...string) error {
	fleet := Fleet{}
	roots, _ := e.sources()
	if err := e.do(ctx, func() { fleet = e.fleet }); err != nil {
		return err
	}
	var errs []error
	for _, name := range issuers {
		is, ok := fleet.Issuers[name]
		if !ok {
			continue
		}
		found, err := is.Roots(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("get the roots of issuer %s: %w", name, err))
			continue
		}
		roots.put(name, found, signsUnder(is))
	}
	err := e.do(ctx, func() {
		was := e.fleet.gone()
		e.fleet.Rotations = rotations
		if e.graph != nil {
			e.graph.Ban(e.fleet.banned())
		}
		if !was.Same(e.fleet.gone()) {
			roots.moved.Add(1)
		}
		e.rootsMoved()
		for name := range e.entries {
			e.recheck(name)
		}
	})
	return errors.Join(append(errs, err)...)
}

// Blocker is a placement that a rotation waits for.
type Blocker struct {
	Certificate, Host, Name string
	InPlace                 bool      // it has the root, and is not known to have loaded it
	Until                   time.Time // when it ends by time; zero: not by time
	Lost                    bool      // the host could not be reached last
	Why, Hint               string    // what keeps its rollout, or is wrong there; empty: nothing
	Blocked                 bool      // only an operator can end that
	Hurried                 bool      // an operator's request is under way, or waits for room
	Left                    bool      // it left the fleet file: nothing changes it any more
	Replaced                bool      // its files have a leaf under the new root
	Kept                    time.Time // it was rolled back, and is renewed then; zero: it was not
}

// Succeeding is a CA of an issuer that takes the place of another one, by the IDs of
// their roots.
type Succeeding struct {
	Issuer, To          string
	From                []string
	Switched, Cancelled bool
	Anew                time.Time // leaves under To are old as well if they were issued before
	Loaded              bool      // a root counts until no service has it loaded
	Own                 []string  // those of From that signed themselves: they go where other issuers brought them as well
}

// Progress is how far it is. What is not asked for at its stage is left out.
type Progress struct {
	Lacking    []Blocker // verifiers without the new root in place and loaded, before signing is switched
	Presenting []Blocker // placements that present a leaf under the old root and not under the new one, after it
	Holding    []Blocker // verifiers with the root that is to go
	Trusting   []string  // all that have it, placed by renewer or not
}

// Succession says how far a CA that follows another one is.
func (e *Engine) Succession(ctx context.Context, s Succeeding) (out Progress, err error) {
	err = e.do(ctx, func() {
		g, now := e.trusts(), e.Now()
		switch {
		case s.Switched:
			for _, root := range s.From {
				out.Presenting = append(out.Presenting, e.showing(g.Under(s.Issuer, root, renewer.NewRootSet(s.To), time.Time{}, now), s.To)...)
				holding := e.holding(s.Issuer, root)
				out.Holding = append(out.Holding, holding...)
				for _, h := range e.uses(root, s.To) {
					same := func(o Blocker) bool { return o.Name == h.Name }
					if slices.Contains(s.Own, root) && !slices.ContainsFunc(holding, same) && !slices.ContainsFunc(out.Presenting, same) {
						h.Why, h.Hint, h.Blocked = "another issuer leads to it", "see which: renewer trust; replace the CA of that one first", true
						out.Holding = append(out.Holding, h)
					}
				}
				for _, n := range g.Holders(root, now) {
					out.Trusting = append(out.Trusting, n.String())
				}
				if !s.Loaded {
					continue
				}
				for _, id := range g.Loading(root, now) {
					h := e.blocker(id, e.leftFile(id), len(out.Holding))
					h.Replaced = true
					out.Holding, out.Trusting = append(out.Holding, h), append(out.Trusting, h.Name)
				}
			}
			if !s.Anew.IsZero() {
				out.Presenting = append(out.Presenting, e.showing(g.Under(s.Issuer, s.To, nil, s.Anew, now), "")...)
			}
		case s.Cancelled:
			out.Holding = append(e.holding(s.Issuer, s.To), e.arriving(s.To)...)
		default:
			for _, r := range g.Unready(s.Issuer, renewer.NewRootSet(s.To), now) {
				h := e.blocker(r.Verifier, r.Left, len(out.Lacking))
				h.InPlace, h.Until = r.InPlace, r.Until
				out.Lacking = append(out.Lacking, h)
			}
		}
	})
	return out, err
}

// replaced reports whether the files of a placement have a leaf under a root, whatever
// its service presents.
func (e *Engine) replaced(id trust.ID, root string) bool {
	en := e.inFile(id)
	if en == nil {
		return false
	}
	st := en.rec.Placements[id.Host]
	g := e.generationOf(en)(st.Generation)
	return st.Placed() && st.Seen == nil && g != nil && e.leafOf(g).Under.Has(root)
}

// Users returns the placements that need the key of a CA that signed before still: of
// one that signed itself all that lead to it and that trust it, of another one those that
// show what an issuer had signed before a time, or under a root that is not its own now.
func (e *Engine) Users(ctx context.Context, issuer, root, signing string, own bool, before time.Time) (out []Blocker, err error) {
	err = e.do(ctx, func() {
		if own {
			out = e.uses(root, signing)
			return
		}
		others := renewer.NewRootSet(signing)
		if root == signing {
			others = nil
		} else {
			before = time.Time{}
		}
		out = e.showing(e.trusts().Under(issuer, root, others, before, e.Now()), "")
	})
	return out, err
}

// uses are the placements that show a leaf under a root and not under the other one, and
// those with it in their ca file: of whatever issuer.
func (e *Engine) uses(root, other string) []Blocker {
	g, now := e.trusts(), e.Now()
	out := e.showing(g.Under("", root, renewer.NewRootSet(other), time.Time{}, now), "")
	for _, n := range g.Holders(root, now) {
		if h := e.blocker(n.ID, n.Left, len(out)); !slices.ContainsFunc(out, func(o Blocker) bool { return o.Name == h.Name }) {
			out = append(out, h)
		}
	}
	return out
}

// showing says of each when it has ended, and whether its files lead to another root by now.
func (e *Engine) showing(list []trust.Showing, to string) (out []Blocker) {
	for _, p := range list {
		h := e.blocker(p.ID, p.Left, len(out))
		h.Until, h.Replaced = p.NotAfter, to != "" && !p.Left && e.replaced(p.ID, to)
		out = append(out, h)
	}
	return out
}

// Hurry has verifiers take their roots now, whatever their window, and reports whether
// that is news to any.
func (e *Engine) Hurry(ctx context.Context, verifiers []Blocker) (news bool, err error) {
	err = e.do(ctx, func() {
		for _, h := range verifiers {
			if e.onItsOwn {
				was := e.urgent[h.Certificate]
				e.hurry(trust.ID{Certificate: h.Certificate, Host: h.Host})
				news = news || e.urgent[h.Certificate] != was
			}
		}
	})
	return news, err
}

// holding are the verifiers with a root that nothing but this issuer has there.
func (e *Engine) holding(issuer, root string) (out []Blocker) {
	for _, n := range e.trusts().Holders(root, e.Now()) {
		others := slices.DeleteFunc(slices.Clone(n.Trust), func(name string) bool { return name == issuer })
		if n.Left || slices.Contains(n.Trust, issuer) && !e.roots.base(others...).Has(root) {
			out = append(out, e.blocker(n.ID, n.Left, len(out)))
		}
	}
	return out
}

// arriving are the placements on which a root is being put into the ca file just now: it
// is there a moment later, whatever was decided meanwhile.
func (e *Engine) arriving(root string) (out []Blocker) {
	for _, name := range slices.Sorted(maps.Keys(e.entries)) {
		en := e.entries[name]
		if en == nil || en.rec.Rollout == nil || en.rec.Rollout.Phase.Over() {
			continue
		}
		for i := range en.rec.Rollout.Steps {
			s := &en.rec.Rollout.Steps[i]
			if s.State == renewer.StepActivating && s.Roots.Has(root) && !en.rec.Placements[s.Host].Roots.Has(root) {
				out = append(out, e.blocker(trust.ID{Certificate: name, Host: s.Host}, false, 0))
			}
		}
	}
	return out
}

// mostRead is for how many placements for which no rollout is open the inventory is
// asked why.
const mostRead = maxUnderWay

// held says what keeps the nth placement from its change.
func (e *Engine) blocker(id trust.ID, left bool, nth int) Blocker {
	h := Blocker{Certificate: id.Certificate, Host: id.Host, Name: id.String(), Left: left}
	if left {
		h.Why, h.Blocked = "it left the fleet file", true
		return h
	}
	c, ok := e.fleet.Certificate(id.Certificate)
	if _, open := e.entries[id.Certificate]; !ok || !open && nth >= mostRead {
		h.Hurried = true // when its turn comes
		return h
	}
	en, _, err := e.load(id.Certificate, c)
	if err != nil {
		return h
	}
	h.Hurried = en.rec.Asked != nil
	r := en.rec.Rollout
	if en.rec.RollbackRequest != nil && en.current != nil && !h.Hurried && (r == nil || r.Kind != renewer.KindIssue) {
		h.Kept = en.current.RenewAt
	}
	if r == nil {
		st := en.rec.Placements[id.Host]
		h.Why, h.Hint, h.Blocked = st.Error, st.Hint, st.State == renewer.HostBlocked
		return h
	}
	h.Hurried = h.Hurried || r.Requested
	if s, ok := r.Step(id.Host); ok {
		h.Lost = s.Lost()
	}
	h.Blocked = r.Phase == renewer.PhaseBlocked || r.GuardBlocked()
	if why, hint := r.LastError(); why != "" {
		h.Why, h.Hint = why, hint
	} else if waits := e.waitsOf(en, e.Now()); len(waits) > 0 {
		h.Why = waits.String()
	}
	return h
}

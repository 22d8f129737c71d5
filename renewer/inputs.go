package renewer

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// One type for each input of Apply, with what it does to a record.

// Begun notes that an action is about to be started. It has to be recorded before
// the effect: from a flip on, a host has to be finished or put back even if the
// rollout stops elsewhere.
type Begun struct {
	Action
	Refuse []string // the verifiers that will refuse the leaf that goes live
}

func (b Begun) apply(a *applied) bool {
	r := a.Record.Rollout
	if r == nil || r.ID != b.Rollout || b.Kind != ActActivate {
		return false
	}
	changed := false
	if s, ok := r.Step(b.Host); ok && s.State == StepStaged {
		s.State, changed = StepActivating, true
	} else if ok && s.State == StepActivating {
		s.Again, changed = true, !s.Again
	}
	if len(b.Refuse) > 0 {
		a.event(EventRefused, b.Host, r.Generation, "activated although these peers do not have its root and will refuse it: "+strings.Join(b.Refuse, ", ")).Rollout = r.ID
	}
	return changed
}

// Planned is what was decided for a certificate, and what follows from its entry
// and the time alone.
type Planned struct {
	Decision
	New        bool   // there was no record yet
	From       string // the name that it had before; empty: none
	Room       bool   // for Open, if it does not take the place of another
	Base       RootSet
	Generation func(number int) *Generation
	Retired    func(host string) bool
	Waits      func(State) Waits // of the rollout under way
}

func (p Planned) apply(a *applied) bool {
	changed := a.Record.forget(a.Certificate, p.Generation, p.Retired, a.now) || p.New
	changed = a.Record.noteRole(a.Certificate) || changed
	changed = a.Record.noteUnwanted(a.Certificate, p.Base, a.now) || changed
	if p.From != "" {
		a.event(EventAdopted, "", a.Record.Current, "renamed from "+p.From+"; its generations and files are taken over")
	}
	waits := p.Open != nil && !p.Room && (!p.Close || !a.Open())
	if p.Close {
		a.supersede(p.Why)
	}
	switch {
	case p.Open != nil && !waits:
		a.start(*p.Open, nil)
		a.Record.Asked = nil
	case waits:
		a.soon = true
	}
	if g := a.Current; g != nil && !a.now.Before(g.NotAfter) && a.Record.ExpiredNoted != g.Number {
		a.Record.ExpiredNoted = g.Number
		a.event(EventExpired, "", g.Number, "expired at "+date(g.NotAfter))
	}
	if !waits {
		a.expiring(p.Waits)
	}
	if g := a.Current; g != nil && g.Renewal != a.Certificate.Renewal {
		moved := *g
		moved.Renewal, moved.RenewAt = a.Certificate.Renewal, a.Certificate.Renewal.Time(moved)
		a.Current, a.ch.Generation = &moved, &moved
		a.event(EventRescheduled, "", g.Number, "renew time is now "+moved.RenewAt.Format(time.RFC3339))
	}
	if p.Adapt == nil {
		return changed
	}
	adapted := *p.Adapt
	if a.Record.Rollout = &adapted; p.Hurry {
		adapted.Hurry(*a.Record.Asked, a.now)
		a.Record.Asked = nil
		a.event(EventRolloutPlanned, "", adapted.Generation, "started now, requested by operator").Rollout = adapted.ID
	}
	if adapted.Phase == PhaseRolling { // its last host may have left the entry
		(&transition{applied: a, r: &adapted, o: Outcome{At: a.now}}).finish()
	}
	a.soon = !a.Open()
	return true
}

// expiring notes once a threshold that the end is near and the renewal is not on
// its way as it should be.
func (a *applied) expiring(waits func(State) Waits) {
	if a.Current == nil {
		return
	}
	note, near := a.Record.Expiring(*a.Current, a.now)
	if !near {
		return
	}
	a.Record.ExpiringNoted = note
	e := a.event(EventExpiring, "", a.Current.Number, a.Record.ExpiringText(*a.Current, waits(a.State)))
	if e.Error, e.Hint = a.Record.LastError(); e.Hint == "" {
		e.Hint = "renewer show " + a.Certificate.Name + " says why; renewer renew " + a.Certificate.Name + " tries now"
	}
}

// Requested asks for a renewal. Planning begins it, when its turn has come: fewer
// are under way, and no host is between two generations.
type Requested struct{ Overrides }

func (r Requested) apply(a *applied) bool {
	r.Since = a.now
	a.Record.Asked = &r.Overrides
	if a.Open() && a.Record.Rollout.Restoring() { // what kept it from that may have been fixed
		a.Record.Rollout.retry(false)
	}
	return true
}

// Replaced starts a rollout for the operator, in the place of what is open.
type Replaced struct {
	Why  string
	With *Rollout
	By   *Generation // that With delivers; nil for the current one, or one to be ordered
}

func (r Replaced) apply(a *applied) bool {
	a.supersede(r.Why)
	a.start(*r.With, r.By)
	a.Record.Asked = nil
	return true
}

// Retried makes what waits for its next try due now. Orders: only an order, whose
// issuer answers again.
type Retried struct{ Orders bool }

func (r Retried) apply(a *applied) (changed bool) {
	if a.Open() {
		return a.Record.Rollout.retry(r.Orders)
	}
	for host, st := range a.Record.Placements {
		if st.Reprobe.After(a.now) {
			st.Reprobe, changed = a.now, true
			a.Record.Placements[host] = st
		}
	}
	return changed
}

// Looked is one look at a placement outside of a rollout.
type Looked struct {
	Host  string
	Look  Look
	Found *Found // by the first look after a backup was restored; nil: nothing that renewer wrote
}

// Bare is a look at a placement where nothing was ever placed that found nothing.
type Bare struct{ Host string }

func (b Bare) apply(a *applied) bool {
	st := a.Record.Placements[b.Host]
	if st.Placed() || st.Origin != OriginUnknown {
		return false
	}
	st.Origin = OriginNone
	if st.State == "" {
		st.State = HostPending
	}
	a.Record.Placements[b.Host] = st
	return true
}

// Found is what lies at a placement that an inventory from a backup may not know:
// something that renewer wrote after the backup was made.
type Found struct {
	Dir        string
	Revision   string
	Generation *Generation // nil: of a trust bundle
	Fresh      bool        // the inventory does not have Generation, which has no number yet
	Trusts     RootSet
}

func (l Looked) apply(a *applied) bool {
	st := a.Record.Placements[l.Host]
	switch {
	case st.Unseen == "":
	case l.Found != nil:
		a.found(&st, l)
	case l.Look.Seen.Disk.Leaf != "" || l.Look.Err == nil:
		st.Unseen = ""
	case errors.Is(l.Look.Err, ErrLocal):
		st.Reprobe = l.Look.At.Add(Backoff(1, st.Revision)) // it is this machine that could not look
	}
	a.ch.Events = append(a.ch.Events, st.Observe(l.Look, a.Certificate.Name, l.Host)...)
	if p, ok := a.Certificate.Placement(l.Host); ok && l.Look.Err == nil {
		if st.Machine = p.Machine; st.Dirs == nil { // a version before did not say
			st.in(p.Dir)
		}
		if st.Files == nil && st.Layout == p.Layout() && !st.MovedTo(p.Dir) {
			st.Files = p.Names()
		}
	}
	a.Record.Placements[l.Host] = st
	return true
}

// found takes in what was found. What is newest of what is in place is current.
func (a *applied) found(st *PlacementState, l Looked) {
	st.Unseen, st.Revision, st.Roots, st.Digest, st.Origin, st.Seen = "", l.Found.Revision, l.Found.Trusts, "", OriginIssued, nil
	if found := l.Found.Generation; found != nil {
		g := *found
		switch {
		case !l.Found.Fresh:
		case a.Current != nil && a.Current.Fingerprint == g.Fingerprint: // found on another host a moment ago
			g.Number = a.Current.Number
		default:
			g.Number = a.Record.Latest + 1
			if r := a.Record.Rollout; r != nil && r.Phase == PhaseOrdering {
				g.Number++ // what is being ordered has the next one
			}
		}
		st.Generation = g.Number
		if a.Record.Latest < g.Number {
			a.Record.Latest, a.ch.Generation = g.Number, &g
			a.event(EventAdopted, l.Host, g.Number, g.described()+": found on the host, newer than the restored backup").Time = l.Look.At
		}
		if g.Number > a.Record.Current && (a.Current == nil || !g.NotBefore.Before(a.Current.NotBefore)) {
			a.Record.Current, a.Current = g.Number, &g
		}
	}
	st.Revisions = append(st.Revisions, Revision{Name: st.Revision, Generation: st.Generation, Layout: st.Layout, Roots: st.Roots, Origin: st.Origin})
	st.loaded()
	st.in(l.Found.Dir)
}

func (g *Generation) described() string {
	return fmt.Sprintf("serial %s, valid until %s", g.Serial, g.NotAfter.Format(time.RFC3339))
}

// Adopted takes what is in place on a host as generation 0.
type Adopted struct {
	Host       string
	Placement  PlacementState
	Generation *Generation
	Warnings   []string
	Roots      [][]byte
}

func (d Adopted) apply(a *applied) bool {
	a.supersede("generation 0 was adopted") // it is blocked
	a.Current, a.ch.Generation, a.ch.Roots = d.Generation, d.Generation, d.Roots
	a.Record.Adopted, a.Record.ExpiredNoted, a.Record.ExpiringNoted.Generation = true, -1, -1 // 0 would say that its end is in the log
	a.Record.Placements[d.Host] = d.Placement
	a.event(EventAdopted, d.Host, 0, strings.Join(append([]string{d.Generation.described()}, d.Warnings...), "; "))
	return true
}

// Rewritten is a generation that has changed: revoked, or its key is compromised.
type Rewritten struct {
	Generation Generation
	Events     []Event
}

func (r Rewritten) apply(a *applied) bool {
	a.ch.Generation, a.ch.Events = &r.Generation, append(a.ch.Events, r.Events...)
	for _, held := range []**Generation{&a.Current, &a.Rolling} {
		if *held != nil && (*held).Number == r.Generation.Number {
			*held = &r.Generation
		}
	}
	return true
}

// Removed takes a certificate out of every list: it left the fleet file.
type Removed struct {
	Generation func(number int) *Generation
	Retired    func(host string) bool
}

func (r Removed) apply(a *applied) bool {
	a.Record.forget(a.Certificate, r.Generation, r.Retired, a.now)
	a.ch.Remove = a.Certificate.Name
	a.supersede("its entry was removed from the fleet file")
	a.event(EventRemoved, "", a.Record.Current, "no longer in the fleet file; its files stay in place")
	return true
}

package traffic

import (
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
)

// The decision as it was first written: looking at everything, every time. It
// is what Traffic has to give, and too expensive for a large fleet.

// refEntry is an entry with how the last rollouts of the other certificates of
// its family ended; those under way are entries themselves.
type refEntry struct {
	Entry
	Family []Ended
}

// Turn is what can be done now for all rollouts under way.
type Turn struct {
	Tasks []Task
	Wake  time.Time       // when to ask again if nothing ends before; zero: only an outcome changes anything
	Held  map[string]Hold // by certificate: activations that wait for other certificates
	// Moving are the certificates for which something can be done now.
	Moving map[string]bool
	// Waiting is what keeps certificates, or some of their hosts, from more.
	Waiting map[string]renewer.Waits
}

// Decide looks at all rollouts under way, in the order of the fleet file, and
// returns what can be done now. busy says which actions are under way already.
//
// Three things tie rollouts together. Placements that are activated by the
// same thing on one host are activated together or one after another, never
// while another of them is being proven. The certificates of one entry keep to
// its pace. And of a peer group, servers go before clients and never together.
func reference(entries []refEntry, busy func(renewer.Action) bool) Turn {
	n := Turn{}
	moves := make([]refMove, 0, len(entries))
	for _, e := range entries {
		next := e.Rollout.Next(e.Certificate, e.Conditions)
		n.wakeAt(next.Until)
		m := refMove{e, next}
		if e.Gate.Kind != "" {
			m.close()
			n.wakeAt(e.Gate.Until)
		}
		moves = append(moves, m)
	}
	turn := Turn{Held: holds(moves), Moving: map[string]bool{}, Waiting: map[string]renewer.Waits{}}
	for _, h := range turn.Held {
		n.wakeAt(h.Until)
	}
	turn.Wake = n.Wake
	shared := map[service][]candidate{}
	for i := range moves {
		m := &moves[i]
		if h, held := turn.Held[m.Certificate.Name]; held {
			m.next.Actions = slices.DeleteFunc(m.next.Actions, m.fresh)
			m.next.Waiting = append(renewer.Waits{h.Waiting}, m.next.Waiting...)
		}
		if len(m.next.Waiting) > 0 {
			turn.Waiting[m.Certificate.Name] = m.next.Waiting
		}
		turn.Moving[m.Certificate.Name] = len(m.next.Actions) > 0
		for _, a := range m.next.Actions {
			key, ok := refServiceOf(m.Certificate, a)
			if ok {
				shared[key] = append(shared[key], candidate{a, busy(a)})
			} else if !busy(a) {
				turn.Tasks = append(turn.Tasks, Task{a})
			}
		}
	}
	if len(shared) > 0 {
		crowd := crowds(moves, shared)
		for key, list := range shared {
			turn.Tasks = append(turn.Tasks, batch(list, crowd[key])...)
		}
	}
	slices.SortStableFunc(turn.Tasks, func(a, b Task) int { return compareActions(a[0], b[0]) })
	return turn
}

type candidate struct {
	renewer.Action
	busy bool
}

// refServiceOf returns the service that an activation or restoration touches.
func refServiceOf(c renewer.Certificate, a renewer.Action) (service, bool) {
	if a.Kind != renewer.ActActivate && a.Kind != renewer.ActRestore {
		return service{}, false
	}
	p, ok := c.Placement(a.Host)
	key := p.Activate.Key()
	return service{a.Host, key}, ok && key != ""
}

type refCrowd struct{ coming, proving int }

// crowds counts, for each service, the placements that are about to be staged
// (worth waiting for) and those that are being proven (not to be disturbed).
func crowds(moves []refMove, shared map[service][]candidate) map[service]refCrowd {
	out := map[service]refCrowd{}
	for _, e := range moves {
		next := e.next
		active := map[string]bool{}
		for _, a := range next.Actions {
			active[a.Host] = true
		}
		for _, s := range e.Rollout.Steps {
			p, ok := e.Certificate.Placement(s.Host)
			key := service{s.Host, p.Activate.Key()}
			if _, wanted := shared[key]; !ok || !wanted {
				continue
			}
			c := out[key]
			switch {
			case s.State == renewer.StepActivated || s.State == renewer.StepRestored:
				if active[s.Host] { // not while it waits for another try
					c.proving++
				}
			case s.State == renewer.StepPending && active[s.Host]:
				c.coming++
			case e.Rollout.Phase == renewer.PhaseOrdering && len(next.Actions) > 0:
				c.coming++
			}
			out[key] = c
		}
	}
	return out
}

// batch turns the candidates of one service into tasks: restorations first,
// all together, then activations, all together, and never two at once.
func batch(list []candidate, around refCrowd) []Task {
	var restore, activate Task
	for _, c := range list {
		if c.busy {
			return nil
		}
		if c.Kind == renewer.ActRestore {
			restore = append(restore, c.Action)
		} else {
			activate = append(activate, c.Action)
		}
	}
	switch {
	case around.proving > 0:
		return nil
	case len(restore) > 0:
		return []Task{restore}
	case around.coming > 0:
		return nil
	}
	return []Task{activate}
}

func (t *Turn) wakeAt(at time.Time) { t.Wake = earlier(t.Wake, at) }

// Hold says why an activation that could begin does not: what other
// certificates do.
type Hold struct {
	renewer.Waiting
	By []string // the certificates under way that hold it; empty: not they
}

// traffic is what goes on around an activation that is about to begin: in the
// entry of its certificate, whose hosts share one pace, and in its peer group,
// whose two sides are never between two generations together.
type traffic struct {
	families map[string]*refFamily
	groups   map[string]*refGroup
	now      time.Time
}

// refFamily is the certificates of one entry (per_host). Together they move like
// the hosts of one rollout.
type refFamily struct {
	since  time.Time // when the earliest rollout under way was started or asked for
	proven map[string]bool
	rooted map[string]bool // have the added roots
	last   time.Time       // when a host was last proven
	live   []string
	coming []string // earlier in the order of the file, and on their way
	failed map[string]Ended
}

// refGroup is the certificates that authenticate each other.
type refGroup struct {
	live   [2][]string // by side
	coming [2][]string
}

// refMove is one rollout under way and what it could do.
type refMove struct {
	refEntry
	next renewer.Next
}

// near reports whether what is in place is about to end, so that order and
// pace no longer count.
func (m refMove) near() bool {
	k := m.Conditions
	return k.Deadline.Near(k.Now)
}

func observeTraffic(moves []refMove) *traffic {
	t := &traffic{families: map[string]*refFamily{}, groups: map[string]*refGroup{}}
	open := map[string]bool{}
	for _, m := range moves {
		open[m.Certificate.Name] = true
		t.now = m.Conditions.Now
		f := t.family(m.Certificate)
		if at := askedAt(m.Rollout); f.since.IsZero() || at.Before(f.since) {
			f.since = at
		}
	}
	for _, m := range moves {
		t.observe(m)
		f := t.family(m.Certificate)
		for _, e := range m.Family {
			switch {
			case open[e.Certificate] || e.At.Before(f.since):
			case e.Phase == renewer.PhaseBlocked:
				f.failed[e.Certificate] = e
			case e.Phase == renewer.PhaseDone && e.At.After(f.since):
				f.prove(e.Certificate, e.At)
			}
		}
	}
	return t
}

func (t *traffic) family(c renewer.Certificate) *refFamily {
	f, ok := t.families[c.Entry]
	if !ok {
		f = &refFamily{proven: map[string]bool{}, rooted: map[string]bool{}, failed: map[string]Ended{}}
		t.families[c.Entry] = f
	}
	return f
}

func (t *traffic) group(c renewer.Certificate) *refGroup {
	g, ok := t.groups[c.PeerGroup]
	if !ok {
		g = &refGroup{}
		t.groups[c.PeerGroup] = g
	}
	return g
}

func (f *refFamily) prove(name string, at time.Time) {
	f.proven[name] = true
	if at.After(f.last) {
		f.last = at
	}
}

func (t *traffic) observe(m refMove) {
	name := m.Certificate.Name
	f := t.family(m.Certificate)
	if m.Rollout.Stopped() {
		why, _ := m.Rollout.LastError()
		f.failed[name] = Ended{Certificate: name, Phase: renewer.PhaseBlocked, At: t.now, Why: why}
	}
	for _, s := range m.Rollout.Steps {
		switch {
		case s.State.InPlace():
			f.prove(name, s.EndedAt)
		case s.Pass == renewer.PassRooted && !s.State.Live():
			f.rooted[name] = true
		case s.State.Live() && (!m.near() || !renewer.Ahead(s.NextAt, t.now, renewer.BackoffMax)):
			t.begun(m)
		}
	}
}

// begun notes that a host of a certificate is between two generations.
func (t *traffic) begun(m refMove) {
	note := func(list *[]string) {
		if !slices.Contains(*list, m.Certificate.Name) {
			*list = append(*list, m.Certificate.Name)
		}
	}
	note(&t.family(m.Certificate).live)
	note(&t.group(m.Certificate).live[sideOf(m.Certificate)])
}

// rules are asked in this order whether an activation has to wait for others.
var rules = []func(*traffic, refMove) Hold{
	(*traffic).familyFailed,
	(*traffic).familyPace,
	(*traffic).otherSide,
	(*traffic).serversFirst,
}

// admit decides about the next activation of a rollout, and counts it if it
// may begin.
func (t *traffic) admit(m refMove) (Hold, bool) {
	for _, rule := range rules {
		if h := rule(t, m); h.Text != "" {
			return h, false
		}
	}
	t.begun(m)
	return Hold{}, true
}

// familyFailed: a failure on one host stops those that began with it, until an
// operator asks or what is in place is about to expire.
func (t *traffic) familyFailed(m refMove) Hold {
	r := m.Rollout
	for _, e := range sortedEnds(t.family(m.Certificate).failed) {
		if e.Certificate == m.Certificate.Name || m.near() || r.Requested && askedAt(r).After(e.At) {
			continue
		}
		return Hold{Waiting: renewer.Waiting{Kind: renewer.WaitPace, Text: fmt.Sprintf("%s failed: %s", e.Certificate, e.Why)}}
	}
	return Hold{}
}

func (t *traffic) familyPace(m refMove) Hold {
	f, p, size := t.family(m.Certificate), m.Certificate.Pace, m.Size
	if size <= 1 || slices.Contains(f.live, m.Certificate.Name) {
		return Hold{}
	}
	proven := len(f.proven)
	if m.rooting() {
		proven += len(f.rooted)
	}
	if canary := min(p.Canary, size); proven < canary {
		if proven+len(f.live)+len(f.coming) < canary {
			return Hold{}
		}
		return Hold{renewer.Waiting{Kind: renewer.WaitPace, Text: "the canary of its entry is not verified yet"}, slices.Concat(f.live, f.coming)}
	}
	if p.MaxParallel > 0 && len(f.live) >= p.MaxParallel {
		return Hold{renewer.Waiting{Kind: renewer.WaitPace, Text: fmt.Sprintf("%d others of its entry are in progress, which is the limit of max_parallel", len(f.live))}, f.live}
	}
	if until := f.last.Add(p.Pause); !m.Rollout.Requested && !f.last.IsZero() && renewer.Ahead(until, t.now, p.Pause) {
		return Hold{Waiting: renewer.Waiting{Kind: renewer.WaitPause, Text: "pause between hosts until " + until.UTC().Format(time.RFC3339), Until: until}}
	}
	return Hold{}
}

// otherSide: the two ends of a connection are never between two generations
// together.
func (t *traffic) otherSide(m refMove) Hold {
	if m.Certificate.PeerGroup == "" {
		return Hold{}
	}
	other := servers + clients - sideOf(m.Certificate)
	if live := t.group(m.Certificate).live[other]; len(live) > 0 {
		return Hold{renewer.Waiting{Kind: renewer.WaitPeers, Text: fmt.Sprintf("the %ss of group %s are in progress", other, m.Certificate.PeerGroup)}, live}
	}
	return Hold{}
}

func (t *traffic) serversFirst(m refMove) Hold {
	if m.Certificate.PeerGroup == "" || sideOf(m.Certificate) == servers || m.near() || m.rooting() {
		return Hold{}
	}
	if coming := t.group(m.Certificate).coming[servers]; len(coming) > 0 {
		return Hold{renewer.Waiting{Kind: renewer.WaitPeers, Text: "the servers of group " + m.Certificate.PeerGroup + " go first"}, coming}
	}
	return Hold{}
}

func sortedEnds(in map[string]Ended) []Ended {
	out := make([]Ended, 0, len(in))
	for _, e := range in {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Ended) int { return byTime(a, b) })
	return out
}

// holds goes through the moves, servers before clients, and returns what has to
// wait for others. Only what has not begun is ever held.
func holds(moves []refMove) map[string]Hold {
	t := observeTraffic(moves)
	held := map[string]Hold{}
	for _, side := range []side{servers, clients} {
		for _, m := range moves {
			if sideOf(m.Certificate) != side {
				continue
			}
			coming := m.has(renewer.ActOrder) || m.has(renewer.ActStage)
			if slices.ContainsFunc(m.next.Actions, m.fresh) {
				h, ok := t.admit(m)
				if !ok {
					held[m.Certificate.Name] = h
				}
				coming = coming || len(h.By) > 0 || !h.Until.IsZero()
			}
			if coming {
				f, g := t.family(m.Certificate), t.group(m.Certificate)
				f.coming = append(f.coming, m.Certificate.Name)
				g.coming[side] = append(g.coming[side], m.Certificate.Name)
			}
		}
	}
	return held
}

func (m refMove) has(kind renewer.ActionKind) bool {
	return slices.ContainsFunc(m.next.Actions, func(a renewer.Action) bool { return a.Kind == kind })
}

// rooting reports whether what is about to begin brings added roots alone.
func (m refMove) rooting() bool {
	return slices.ContainsFunc(m.Rollout.Steps, func(s renewer.Step) bool { return s.State == renewer.StepStaged && s.Pass == renewer.PassRoots })
}

// close takes out what would make a leaf go live: its gate is closed.
func (m *refMove) close() {
	before := len(m.next.Actions)
	m.next.Actions = slices.DeleteFunc(m.next.Actions, func(a renewer.Action) bool {
		s, ok := m.Rollout.Step(a.Host)
		return m.fresh(a) && ok && s.Pass != renewer.PassRoots
	})
	if len(m.next.Actions) < before {
		m.next.Waiting = append(renewer.Waits{m.Gate}, m.next.Waiting...)
	}
}

// fresh reports whether an action is an activation that has not begun before.
func (m refMove) fresh(a renewer.Action) bool {
	if a.Kind != renewer.ActActivate {
		return false
	}
	s, ok := m.Rollout.Step(a.Host)
	return ok && s.State == renewer.StepStaged
}

package renewer

import (
	"fmt"
	"slices"
	"time"
)

// Ended is how the last rollout of a certificate came to its end.
type Ended struct {
	Certificate string
	Phase       Phase
	At          time.Time
	Why         string
}

// Hold says why an activation that could begin does not: what other
// certificates do.
type Hold struct {
	Waiting
	By []string // the certificates under way that hold it; empty: not they
}

// traffic is what goes on around an activation that is about to begin: in the
// entry of its certificate, whose hosts share one pace, and in its peer group,
// whose two sides are never between two generations together.
type traffic struct {
	families map[string]*family
	groups   map[string]*group
	now      time.Time
}

// family is the certificates of one entry (per_host). Together they move like
// the hosts of one rollout.
type family struct {
	since  time.Time // when the earliest rollout under way was started or asked for
	proven map[string]bool
	rooted map[string]bool // have the added roots
	last   time.Time       // when a host was last proven
	live   []string
	coming []string // earlier in the order of the file, and on their way
	failed map[string]Ended
}

// group is the certificates that authenticate each other.
type group struct {
	live   [2][]string // by side
	coming [2][]string
}

// side is one end of the connections of a peer group.
type side int

const (
	servers side = iota
	clients
)

func (s side) String() string { return [...]string{"server", "client"}[s] }

// side returns where a certificate stands in its group: one that is shown by a
// server is on the servers' side, whatever else it is for.
func (c Certificate) side() side {
	if slices.Contains(c.Usages, UsageServer) {
		return servers
	}
	return clients
}

// move is one rollout under way and what it could do.
type move struct {
	Entry
	next Next
}

// late reports whether what is in place is about to end, so that order and
// pace no longer count.
func (m move) late() bool {
	k := m.Conditions
	return !k.End.IsZero() && !k.Now.Before(k.End.Add(-m.Certificate.OverrideBefore))
}

// askedAt is when a person last asked for the rollout, or it was started.
func (r *Rollout) askedAt() time.Time {
	if r.AskedAt.After(r.StartedAt) {
		return r.AskedAt
	}
	return r.StartedAt
}

func observeTraffic(moves []move) *traffic {
	t := &traffic{families: map[string]*family{}, groups: map[string]*group{}}
	open := map[string]bool{}
	for _, m := range moves {
		open[m.Certificate.Name] = true
		t.now = m.Conditions.Now
		f := t.family(m.Certificate)
		if at := m.Rollout.askedAt(); f.since.IsZero() || at.Before(f.since) {
			f.since = at
		}
	}
	for _, m := range moves {
		t.observe(m)
		f := t.family(m.Certificate)
		for _, e := range m.Family {
			switch {
			case open[e.Certificate] || e.At.Before(f.since):
			case e.Phase == PhaseBlocked:
				f.failed[e.Certificate] = e
			case e.Phase == PhaseDone && e.At.After(f.since):
				f.prove(e.Certificate, e.At)
			}
		}
	}
	return t
}

func (t *traffic) family(c Certificate) *family {
	f, ok := t.families[c.Entry]
	if !ok {
		f = &family{proven: map[string]bool{}, rooted: map[string]bool{}, failed: map[string]Ended{}}
		t.families[c.Entry] = f
	}
	return f
}

func (t *traffic) group(c Certificate) *group {
	g, ok := t.groups[c.PeerGroup]
	if !ok {
		g = &group{}
		t.groups[c.PeerGroup] = g
	}
	return g
}

func (f *family) prove(name string, at time.Time) {
	f.proven[name] = true
	if at.After(f.last) {
		f.last = at
	}
}

func (t *traffic) observe(m move) {
	name := m.Certificate.Name
	f := t.family(m.Certificate)
	if m.Rollout.stopped() {
		why, _ := m.Rollout.Trouble()
		f.failed[name] = Ended{Certificate: name, Phase: PhaseBlocked, At: t.now, Why: why}
	}
	for _, s := range m.Rollout.Steps {
		switch {
		case s.State.inPlace():
			f.prove(name, s.EndedAt)
		case s.Pass == PassRooted && !s.State.Live():
			f.rooted[name] = true
		case s.State.Live() && (!m.late() || !waits(s.NextAt, t.now, BackoffMax)):
			t.begun(m)
		}
	}
}

// begun notes that a host of a certificate is between two generations.
func (t *traffic) begun(m move) {
	note := func(list *[]string) {
		if !slices.Contains(*list, m.Certificate.Name) {
			*list = append(*list, m.Certificate.Name)
		}
	}
	note(&t.family(m.Certificate).live)
	note(&t.group(m.Certificate).live[m.Certificate.side()])
}

// rules are asked in this order whether an activation has to wait for others.
var rules = []func(*traffic, move) Hold{
	(*traffic).familyFailed,
	(*traffic).familyPace,
	(*traffic).otherSide,
	(*traffic).serversFirst,
}

// admit decides about the next activation of a rollout, and counts it if it
// may begin.
func (t *traffic) admit(m move) (Hold, bool) {
	for _, rule := range rules {
		if h := rule(t, m); h.Text != "" {
			return h, false
		}
	}
	t.begun(m)
	return Hold{}, true
}

// familyFailed: a failure on one host stops those that began with it, until a
// person asks or what is in place is about to end.
func (t *traffic) familyFailed(m move) Hold {
	r := m.Rollout
	for _, e := range sortedEnds(t.family(m.Certificate).failed) {
		if e.Certificate == m.Certificate.Name || m.late() || r.Requested && r.askedAt().After(e.At) {
			continue
		}
		return Hold{Waiting: Waiting{Kind: WaitPace, Text: fmt.Sprintf("%s failed: %s", e.Certificate, e.Why)}}
	}
	return Hold{}
}

func (t *traffic) familyPace(m move) Hold {
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
		return Hold{Waiting{Kind: WaitPace, Text: "the first of its entry is not proven yet"}, slices.Concat(f.live, f.coming)}
	}
	if p.MaxParallel > 0 && len(f.live) >= p.MaxParallel {
		return Hold{Waiting{Kind: WaitPace, Text: fmt.Sprintf("%d others of its entry are under way, as many as max_parallel allows", len(f.live))}, f.live}
	}
	if until := f.last.Add(p.Pause); !m.Rollout.Requested && !f.last.IsZero() && waits(until, t.now, p.Pause) {
		return Hold{Waiting: Waiting{Kind: WaitPause, Text: "pause between hosts until " + date(until), Until: until}}
	}
	return Hold{}
}

// otherSide: the two ends of a connection are never between two generations
// together.
func (t *traffic) otherSide(m move) Hold {
	if m.Certificate.PeerGroup == "" {
		return Hold{}
	}
	other := servers + clients - m.Certificate.side()
	if live := t.group(m.Certificate).live[other]; len(live) > 0 {
		return Hold{Waiting{Kind: WaitPeers, Text: fmt.Sprintf("the %ss of group %s are under way", other, m.Certificate.PeerGroup)}, live}
	}
	return Hold{}
}

func (t *traffic) serversFirst(m move) Hold {
	if m.Certificate.PeerGroup == "" || m.Certificate.side() == servers || m.late() || m.rooting() {
		return Hold{}
	}
	if coming := t.group(m.Certificate).coming[servers]; len(coming) > 0 {
		return Hold{Waiting{Kind: WaitPeers, Text: "the servers of group " + m.Certificate.PeerGroup + " go first"}, coming}
	}
	return Hold{}
}

func sortedEnds(in map[string]Ended) []Ended {
	out := make([]Ended, 0, len(in))
	for _, e := range in {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Ended) int { return a.At.Compare(b.At) })
	return out
}

// holds goes through the moves, servers before clients, and returns what has to
// wait for others. Only what has not begun is ever held.
func holds(moves []move) map[string]Hold {
	t := observeTraffic(moves)
	held := map[string]Hold{}
	for _, side := range []side{servers, clients} {
		for _, m := range moves {
			if m.Certificate.side() != side {
				continue
			}
			coming := m.has(ActOrder) || m.has(ActStage)
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

func (m move) has(kind ActionKind) bool {
	return slices.ContainsFunc(m.next.Actions, func(a Action) bool { return a.Kind == kind })
}

// rooting reports whether what is about to begin brings added roots alone.
func (m move) rooting() bool {
	return slices.ContainsFunc(m.Rollout.Steps, func(s Step) bool { return s.State == StepStaged && s.Pass == PassRoots })
}

// close takes out what would make a leaf go live: its gate is closed.
func (m *move) close() {
	before := len(m.next.Actions)
	m.next.Actions = slices.DeleteFunc(m.next.Actions, func(a Action) bool {
		s, ok := m.Rollout.Step(a.Host)
		return m.fresh(a) && ok && s.Pass != PassRoots
	})
	if len(m.next.Actions) < before {
		m.next.Waiting = append(Waits{m.Gate}, m.next.Waiting...)
	}
}

// fresh reports whether an action is an activation that has not begun before.
func (m move) fresh(a Action) bool {
	if a.Kind != ActActivate {
		return false
	}
	s, ok := m.Rollout.Step(a.Host)
	return ok && s.State == StepStaged
}

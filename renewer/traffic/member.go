package traffic

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
)

// Ended is how the last rollout of a certificate came to its end.
type Ended struct {
	Certificate string
	Phase       renewer.Phase
	At          time.Time
	Why         string
}

// side is one end of the connections of a peer group.
type side int

const (
	servers side = iota
	clients
)

func (s side) String() string { return [...]string{"server", "client"}[s] }

// sideOf returns where a certificate stands in its group: one that is shown by a
// server is on the servers' side, whatever else it is for.
func sideOf(c renewer.Certificate) side {
	if slices.Contains(c.Usages, renewer.UsageServer) {
		return servers
	}
	return clients
}

// member is one rollout under way and what it could do.
type member struct {
	Entry
	side   side
	next   renewer.Next
	asked  time.Time // see askedAt
	until  time.Time // when time alone changes what follows from the entry; zero: never
	near   bool      // what is in place is about to end: order and pace no longer count
	live   bool      // a host is between two generations
	coming bool      // it is being ordered or staged
	fresh  bool      // it could begin an activation
	roots  bool      // what it could begin brings added roots alone
	rooted bool      // a host has these
	proven bool      // on a host at least
	last   time.Time // when that was

	family   *family
	group    *group // nil: none
	admitted bool   // of those that are fresh: by its family and group
	offered  bool   // its fresh activations are among what can be done
	moving   bool
	atWork   bool
	offers   []*offer
}

// observe looks at an entry by itself.
func (m *member) observe(e Entry) {
	k, r := e.Conditions, e.Rollout
	*m = member{Entry: e, side: sideOf(e.Certificate), next: r.Next(e.Certificate, k), asked: askedAt(r), near: k.NearExpiry(), offers: m.offers}
	m.until = m.next.Until
	if m.asked.After(k.Now) { // the clock was ahead
		m.until = earlier(m.until, m.asked)
	}
	if e.Gate.Kind != "" {
		m.close()
	}
	for _, s := range r.Steps {
		switch {
		case s.State.InPlace():
			m.proven, m.last = true, later(m.last, s.EndedAt)
		case s.Pass == renewer.PassRooted && !s.State.Live():
			m.rooted = true
		case s.State.Live() && (!m.near || !renewer.Ahead(s.NextAt, k.Now, renewer.BackoffMax)):
			m.live = true
		}
	}
	m.roots = slices.ContainsFunc(r.Steps, func(s renewer.Step) bool { return s.State == renewer.StepStaged && s.Pass == renewer.PassRoots })
	for _, a := range m.next.Actions {
		m.coming = m.coming || a.Kind == renewer.ActOrder || a.Kind == renewer.ActStage
		m.fresh = m.fresh || m.begins(a)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// close takes out what would make a leaf go live: its gate is closed.
func (m *member) close() {
	before := len(m.next.Actions)
	m.next.Actions = slices.DeleteFunc(m.next.Actions, func(a renewer.Action) bool {
		s, ok := m.Rollout.Step(a.Host)
		return ok && m.begins(a) && s.Pass != renewer.PassRoots
	})
	if len(m.next.Actions) < before {
		m.next.Waiting = append(renewer.Waits{m.Gate}, m.next.Waiting...)
	}
	if m.Gate.Until.After(m.Conditions.Now) {
		m.until = earlier(m.until, m.Gate.Until)
	}
}

// begins reports whether an action is an activation that has not begun before.
func (m *member) begins(a renewer.Action) bool {
	if a.Kind != renewer.ActActivate {
		return false
	}
	s, ok := m.Rollout.Step(a.Host)
	return ok && s.State == renewer.StepStaged
}

// askedAt is when an operator last asked for the rollout, or it was started.
func askedAt(r *renewer.Rollout) time.Time {
	if r.AskedAt.After(r.StartedAt) {
		return r.AskedAt
	}
	return r.StartedAt
}

// Orders of members.
func inOrder(a, b *member) int {
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Certificate.Name, b.Certificate.Name))
}

func byUntil(a, b *member) int {
	return cmp.Or(a.until.Compare(b.until), cmp.Compare(a.Certificate.Name, b.Certificate.Name))
}

func byAsked(a, b *member) int {
	return cmp.Or(a.asked.Compare(b.asked), cmp.Compare(a.Certificate.Name, b.Certificate.Name))
}

// group is the certificates that authenticate each other. Its two sides are
// never between two generations together.
type group struct {
	name     string
	families map[*family]bool
	live     [2]map[*member]bool // by side
	begins   int                 // families of which a server may begin
	comings  int                 // and those of which one is on its way
	// What its clients have last been decided with: whether a server is between
	// two generations or may begin, and whether one is on its way.
	serving, coming bool
}

// enter counts a member where it belongs.
func (t *Control) enter(m *member) {
	m.join(t)
	f := m.family
	f.open.insert(m, byAsked)
	f.hide(m.Certificate.Name)
	if m.proven {
		f.proven[m] = true
	}
	if m.rooted {
		f.rooted[m] = true
	}
	if m.Rollout.Stopped() {
		f.stopped[m.Certificate.Name] = m
	}
	if m.live {
		f.live[m] = true
	}
	if m.group != nil && m.live {
		m.group.live[m.side][m] = true
		t.crossed(m, 1)
	}
	if c, queued := m.class(); queued {
		f.queues[m.side][c].insert(m, inOrder)
		if m.roots {
			f.rooting[m.side]++
		}
	}
	if !m.until.IsZero() {
		t.times.insert(m, byUntil)
	}
	t.surround(m, 1)
	t.derive(m)
	t.changed[f] = true
}

// leave takes all of that back.
func (t *Control) leave(m *member) {
	f, name := m.family, m.Certificate.Name
	t.clear(m)
	t.surround(m, -1)
	f.reopen(name)
	t.times.remove(m, byUntil)
	if c, queued := m.class(); queued {
		f.queues[m.side][c].remove(m, inOrder)
		if m.roots {
			f.rooting[m.side]--
		}
	}
	f.open.remove(m, byAsked)
	delete(f.proven, m)
	delete(f.rooted, m)
	delete(f.stopped, name)
	delete(f.live, m)
	if m.group != nil && m.live {
		delete(m.group.live[m.side], m)
		t.crossed(m, 0)
	}
	if m.group != nil {
		t.stirred[m.group] = true
	}
	f.part(m, t)
	m.admitted = false
	t.changed[f] = true
}

// retire forgets a family of which nothing is under way any more.
func (t *Control) retire(f *family) {
	if len(f.open) == 0 {
		t.pauses.remove(f, byWake)
		delete(t.families, f.name)
		delete(t.changed, f)
	}
}

// crossed has the servers of a group decided again when its first client has
// begun, or the last one has ended. What clients need to know of the servers is
// seen when these have been decided.
func (t *Control) crossed(m *member, first int) {
	if m.side == clients && len(m.group.live[clients]) == first {
		for f := range m.group.families {
			t.changed[f] = true
		}
	}
}

// reason is why an activation that could begin does not.
type reason int

// The reasons, in the order in which they are asked. Who waits for one after
// failed is on its way, and counts as that.
const (
	free   reason = iota
	failed        // another one of its family
	first         // not proven yet
	parallel
	paused
	otherSide
	serversFirst
)

// reason says why an activation of a member may not begin, given whether its
// family has no room for it.
func (m *member) reason(shut bool) reason {
	f, g := m.family, m.group
	switch {
	case f.failure(m) != nil:
		return failed
	case shut && !m.live && f.room(m).proving:
		return first
	case shut && !m.live:
		return parallel
	case !f.pause.IsZero() && !f.room(m).proving && !m.live && !m.Rollout.Requested:
		return paused
	case g != nil && g.other(m.side):
		return otherSide
	case g != nil && g.coming && m.side == clients && !m.near && !m.roots:
		return serversFirst
	}
	return free
}

// other reports whether the other side of a group is between two generations.
func (g *group) other(s side) bool {
	if s == servers {
		return len(g.live[clients]) > 0
	}
	return g.serving
}

// held says why a member's fresh activations wait for others.
func (m *member) held() reason {
	if !m.fresh || m.admitted {
		return free
	}
	r := m.family.room(m)
	return m.reason(r.shut && (r.mark == nil || r.mark.side < m.side || r.mark.side == m.side && inOrder(r.mark, m) < 0))
}

// says puts a reason into words.
func (f *family) says(m *member, why reason) renewer.Waiting {
	switch why {
	case failed:
		e := f.failure(m)
		return renewer.Waiting{Kind: renewer.WaitPace, Text: fmt.Sprintf("%s failed: %s", e.Certificate, e.Why)}
	case first:
		return renewer.Waiting{Kind: renewer.WaitPace, Text: "the canary of its entry is not verified yet"}
	case parallel:
		return renewer.Waiting{Kind: renewer.WaitPace, Text: fmt.Sprintf("%d others of its entry are in progress, which is the limit of max_parallel", f.begun)}
	case paused:
		return renewer.Waiting{Kind: renewer.WaitPause, Text: "pause between hosts until " + f.pause.UTC().Format(time.RFC3339), Until: f.pause}
	case otherSide:
		return renewer.Waiting{Kind: renewer.WaitPeers, Text: fmt.Sprintf("the %ss of group %s are in progress", servers+clients-m.side, m.group.name)}
	default:
		return renewer.Waiting{Kind: renewer.WaitPeers, Text: "the servers of group " + m.group.name + " go first"}
	}
}

// HeldByAny reports whether a certificate waits for others of which one at
// least satisfies f.
func (t *Control) HeldByAny(certificate string, f func(string) bool) bool {
	m, ok := t.members[certificate]
	if !ok {
		return false
	}
	any := func(list []*member) bool {
		return slices.ContainsFunc(list, func(o *member) bool { return o != m && f(o.Certificate.Name) })
	}
	live := func(set map[*member]bool) bool {
		for o := range set {
			if f(o.Certificate.Name) {
				return true
			}
		}
		return false
	}
	switch m.held() {
	case first:
		return live(m.family.live) || any(m.family.admitted) || slices.ContainsFunc(m.family.queues[m.side][:], func(q list[*member]) bool { return any(q) })
	case parallel:
		return live(m.family.live) || any(m.family.admitted)
	case otherSide:
		if live(m.group.live[servers+clients-m.side]) {
			return true
		}
		fallthrough
	case serversFirst:
		for o := range m.group.families {
			if any(o.admitted) || slices.ContainsFunc(o.queues[servers][:], func(q list[*member]) bool { return any(q) }) {
				return true
			}
		}
	}
	return false
}

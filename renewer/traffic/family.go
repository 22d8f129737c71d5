package traffic

import (
	"cmp"
	"slices"
	"time"

	"renewer/renewer"
)

// family is the certificates of one entry (per_host) with a rollout under way.
// Together they move like the hosts of one rollout.
type family struct {
	name    string
	size    int
	pace    renewer.Pace
	groups  map[*group]*share // nil: the members without one
	open    list[*member]     // by when they were asked for
	proven  map[*member]bool  // on a host at least
	rooted  map[*member]bool  // have the added roots on a host
	live    map[*member]bool
	stopped map[string]*member
	queues  [2][classes]list[*member] // by side: those that could begin or are on their way

	rooting [2]int // of these, how many bring added roots alone

	// The results of the last rollouts of its certificates; those of certificates
	// that are under way again are in ends alone.
	ends         map[string]Ended
	known        bool // of those that ended before this process began, too
	done, undone list[Ended]

	// What was decided last.
	now      time.Time
	since    time.Time // when the earliest rollout under way was started or asked for
	pause    time.Time // until when no one begins but on request; zero: now
	begun    int       // that are between two generations, or may begin
	coming   int       // that are earlier in the order of the file, and on their way
	rooms    [2]room   // for leaves, and for added roots alone
	admitted []*member // those that may begin
	offered  []*member // those of the decision before
	wake     time.Time // when that changes by time alone; zero: never
}

// room is how far members may begin. The pass of the added roots has canaries of
// its own: the leaf of a canary may have to wait until every host has the roots.
type room struct {
	passed  int     // that are proven, or have the roots
	proving bool    // these are too few for others to begin
	shut    bool    // no one else may begin
	mark    *member // who comes after this one; nil: from the start
}

func (f *family) room(m *member) *room {
	if m.roots {
		return &f.rooms[1]
	}
	return &f.rooms[0]
}

// share is what a family is to a group.
type share struct {
	members int
	begins  bool // a server may begin
	coming  bool // a server is on its way
}

// class is what it takes to let a member begin, so that those who cannot are
// not looked at one by one.
type class int

const (
	plain    class = iota
	exempt         // on request, or near: a failure or a pause may not keep it. Or it is on its way besides, or has a room of its own
	midway         // between two generations on another host, so its family has room for it
	onItsWay       // cannot begin, but is ordered or staged
	classes
)

// class returns the queue of a member, if it is in any.
func (m *member) class() (c class, queued bool) {
	switch {
	case !m.fresh:
		return onItsWay, m.coming
	case m.live:
		return midway, true
	case m.Rollout.Requested || m.near || m.coming || m.roots:
		return exempt, true
	}
	return plain, true
}

// join makes a member one of its family and group.
func (m *member) join(t *Control) {
	c := m.Certificate
	f, ok := t.families[c.Entry]
	if !ok {
		f = &family{
			name: c.Entry, groups: map[*group]*share{}, proven: map[*member]bool{}, rooted: map[*member]bool{}, live: map[*member]bool{}, stopped: map[string]*member{}, ends: map[string]Ended{},
		}
		t.families[c.Entry] = f
	}
	m.family, f.size, f.pace = f, m.Size, c.Pace
	if c.PeerGroup != "" {
		g, ok := t.groups[c.PeerGroup]
		if !ok {
			g = &group{name: c.PeerGroup, families: map[*family]bool{}, live: [2]map[*member]bool{{}, {}}}
			t.groups[c.PeerGroup] = g
		}
		m.group = g
		g.families[f] = true
	}
	if f.groups[m.group] == nil {
		f.groups[m.group] = &share{}
	}
	f.groups[m.group].members++
}

// part takes a member out of its group, and forgets that if it was the last.
func (f *family) part(m *member, t *Control) {
	g, s := m.group, f.groups[m.group]
	if s.members--; s.members > 0 {
		return
	}
	delete(f.groups, g)
	if g != nil {
		g.tell(s, false, false)
		delete(g.families, f)
		if len(g.families) == 0 {
			delete(t.groups, g.name)
			delete(t.stirred, g)
		}
	}
}

// tell notes what the servers of a family are up to.
func (g *group) tell(s *share, begins, coming bool) {
	count := func(n *int, was *bool, is bool) {
		switch {
		case is && !*was:
			*n++
		case *was && !is:
			*n--
		}
		*was = is
	}
	count(&g.begins, &s.begins, begins)
	count(&g.comings, &s.coming, coming)
}

// byTime orders ends.
func byTime(a, b Ended) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Certificate, b.Certificate))
}

func byWake(a, b *family) int { return cmp.Or(a.wake.Compare(b.wake), cmp.Compare(a.name, b.name)) }

// End notes the result of the last rollout of a certificate. Of an entry that has
// nothing under way it is of no interest: what begins later does not wait for
// it.
func (t *Control) End(entry string, e Ended) {
	f, ok := t.families[entry]
	if !ok {
		return
	}
	f.hide(e.Certificate)
	f.ends[e.Certificate] = e
	if _, open := t.members[e.Certificate]; !open {
		f.reopen(e.Certificate)
	}
	t.changed[f] = true
}

// Learn notes how the last rollouts of an entry ended that came to their end
// before this process began, and Knows reports whether it was.
func (t *Control) Learn(entry string, ends []Ended) {
	for _, e := range ends {
		t.End(entry, e)
	}
	if f, ok := t.families[entry]; ok {
		f.known = true
	}
}

// Knows reports whether the ends of an entry's rollouts were read: see Learn.
func (t *Control) Knows(entry string) bool {
	f, ok := t.families[entry]
	return ok && f.known
}

// hide takes the end of a certificate that is under fix of account, and
// reopen takes it in again.
func (f *family) hide(certificate string) {
	if e, ok := f.ends[certificate]; ok {
		f.done.remove(e, byTime)
		f.undone.remove(e, byTime)
	}
}

func (f *family) reopen(certificate string) {
	switch e := f.ends[certificate]; e.Phase {
	case renewer.PhaseDone:
		f.done.insert(e, byTime)
	case renewer.PhaseBlocked:
		f.undone.insert(e, byTime)
	}
}

// failing reports whether anybody of the family failed that began with those
// under way.
func (f *family) failing() bool {
	return len(f.stopped) > 0 || len(f.undone) > 0 && !f.undone[len(f.undone)-1].At.Before(f.since)
}

// failure returns the failure that keeps a member from beginning, until an
// operator asks or what is in place is about to expire; nil: none.
func (f *family) failure(m *member) *Ended {
	if !f.failing() || m.near {
		return nil
	}
	since, asked := f.since, m.Rollout.Requested
	if asked && m.asked.After(since) {
		since = m.asked
	}
	var found *Ended
	if i, _ := slices.BinarySearchFunc(f.undone, Ended{At: since}, byTime); i < len(f.undone) {
		found = &f.undone[i]
	}
	if asked && m.asked.After(f.now) || found != nil && found.At.Before(f.now) {
		return found
	}
	for name, o := range f.stopped {
		e := Ended{Certificate: name, Phase: renewer.PhaseBlocked, At: f.now}
		if found == nil || byTime(e, *found) < 0 {
			e.Why, _ = o.Rollout.LastError()
			found = &e
		}
	}
	return found
}

// reset looks at what the family has done, before it is decided what it may do.
func (f *family) reset(now time.Time) {
	f.now = now
	f.since = f.open[0].asked
	passed := len(f.proven)
	var last time.Time
	for m := range f.proven {
		last = later(last, m.last)
	}
	if i, _ := slices.BinarySearchFunc(f.done, Ended{At: f.since.Add(1)}, byTime); i < len(f.done) {
		passed += len(f.done) - i
		last = later(last, f.done[len(f.done)-1].At)
	}
	f.rooms = [2]room{{passed: passed}, {passed: passed + len(f.rooted)}}
	for i := range f.rooms {
		f.rooms[i].proving = f.size > 1 && f.rooms[i].passed < min(f.pace.Canary, f.size)
	}
	f.begun, f.coming, f.admitted = len(f.live), 0, nil
	f.fill(nil)
	f.pause, f.wake = time.Time{}, time.Time{}
	if until := last.Add(f.pace.Pause); f.size > 1 && !last.IsZero() {
		if renewer.Ahead(until, now, f.pace.Pause) {
			f.pause = until
		}
		if until.After(now) {
			f.wake = until
		}
		if last.After(now) {
			f.wake = last
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// fill shuts the rooms that have none left after a member.
func (f *family) fill(m *member) {
	for i := range f.rooms {
		r := &f.rooms[i]
		full := f.pace.MaxParallel > 0 && f.begun >= f.pace.MaxParallel
		if r.proving {
			full = r.passed+f.begun+f.coming >= min(f.pace.Canary, f.size)
		}
		if full && !r.shut && f.size > 1 {
			r.shut, r.mark = true, m
		}
	}
}

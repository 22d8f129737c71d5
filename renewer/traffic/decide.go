// Package traffic decides what can be done now, for all rollouts under way
// together: who begins, who waits for whom, and what is done in one go.
//
// Its promise: a service is not touched while a placement of it is being proven;
// the certificates of one entry keep to its pace; of a peer group the servers go
// before the clients and never together with them; what waits has a reason that
// can be shown. A decision costs what has changed. A reference that looks at all
// rollouts each time says the same (TestTrafficFollowsTheReference).
package traffic

import (
	"cmp"
	"slices"
	"time"

	"renewer/renewer"
)

// Entry is one rollout under way with what it depends on.
type Entry struct {
	Certificate renewer.Certificate
	Rollout     *renewer.Rollout // not to be changed
	Conditions  renewer.Conditions
	Order       int // of the certificate in the fleet file
	Size        int // how many certificates the entry has; 0 is 1
	// Gate keeps the leaf from going live: a verifier would refuse it. Zero: none
	// would. Who waits at a gate holds no one else up.
	Gate renewer.Waiting
}

// Task is what one worker does in one go: a single action, or the activation
// (or restoration) of several placements that share a service on one host, so
// that the service is restarted once.
type Task []renewer.Action

// Control decides what can be done now for all rollouts under way. It keeps
// what they have to wait for because of each other, per family, peer group and
// service, so that a decision costs what has changed and not what exists.
//
// Three things tie rollouts together. Placements that are activated by the
// same thing on one host are activated together or one after another, never
// while another of them is being proven. The certificates of one entry, a
// family, keep to its pace. And of a peer group, servers go before clients and
// never together.
//
// Put tells what has changed, Due whose answer changes by time alone; after
// Decide, Take hands out what can be done.
type Control struct {
	members  map[string]*member // by certificate
	families map[string]*family // by entry
	groups   map[string]*group
	services map[service]*crowd
	busy     map[renewer.Action]bool
	ready    list[*offer]  // the urgent ones first
	times    list[*member] // by until
	pauses   list[*family] // by wake
	changed  map[*family]bool
	stirred  map[*group]bool
	touched  map[*crowd]bool
	now      time.Time
	moving   int // certificates for which something can be done now
	version  int
	atWork   int // those that have something to do and are not held by others
}

// New returns one without any rollout.
func New() *Control {
	return &Control{
		members: map[string]*member{}, families: map[string]*family{}, groups: map[string]*group{}, services: map[service]*crowd{},
		busy: map[renewer.Action]bool{}, changed: map[*family]bool{}, stirred: map[*group]bool{}, touched: map[*crowd]bool{},
	}
}

// Put takes in a rollout that is new, or that anything has changed of.
func (t *Control) Put(e Entry) {
	m, known := t.members[e.Certificate.Name]
	if !known {
		m = &member{}
		t.members[e.Certificate.Name] = m
	} else {
		t.leave(m)
		defer t.retire(m.family) // it may be one of another entry now
	}
	m.observe(e)
	t.enter(m)
}

// Remove forgets an ended rollout.
func (t *Control) Remove(certificate string) {
	if m, ok := t.members[certificate]; ok {
		t.leave(m)
		delete(t.members, certificate)
		t.retire(m.family)
	}
}

// Due returns the certificates whose time has come: they have to be put again,
// with the conditions of now.
func (t *Control) Due(now time.Time) (names []string) {
	if now.Round(0).Before(t.now.Round(0)) { // the clock went back
		for name := range t.members {
			names = append(names, name)
		}
		return names
	}
	for _, m := range t.times {
		if m.until.After(now) {
			break
		}
		names = append(names, m.Certificate.Name)
	}
	return names
}

// Decide brings what can be done up to date.
func (t *Control) Decide(now time.Time) {
	t.now = now
	t.version += len(t.changed)
	for len(t.pauses) > 0 && !t.pauses[0].wake.After(now) {
		t.changed[t.pauses[0]] = true
		t.pauses.remove(t.pauses[0], byWake)
	}
	t.settle()
	for c := range t.touched {
		t.batch(c)
	}
	clear(t.touched)
}

// Take returns what can be done now and is most urgent, and counts it as under
// way until Free is called for each of its actions.
func (t *Control) Take() (task Task, ok bool) {
	if len(t.ready) == 0 {
		return nil, false
	}
	o := t.ready[0]
	for _, a := range o.task {
		t.busy[a] = true
	}
	t.withdraw(o)
	return o.task, true
}

// Next returns what Take would.
func (t *Control) Next() (task Task, ok bool) {
	if len(t.ready) == 0 {
		return nil, false
	}
	return t.ready[0].task, true
}

// Free notes that an action is no longer under way.
func (t *Control) Free(a renewer.Action) {
	delete(t.busy, a)
	if m, ok := t.members[a.Certificate]; ok {
		t.derive(m)
	}
}

// Wake returns when to ask again if nothing changes before; zero: never.
func (t *Control) Wake() (at time.Time) {
	if len(t.times) > 0 {
		at = t.times[0].until
	}
	if len(t.pauses) > 0 && (at.IsZero() || t.pauses[0].wake.Before(at)) {
		at = t.pauses[0].wake
	}
	return at
}

// Working reports whether anything of a rollout is under way.
func (t *Control) Working(rollout string) bool {
	for a := range t.busy {
		if a.Rollout == rollout {
			return true
		}
	}
	return false
}

// WorkingOn reports whether a task is under way for a certificate on a host.
func (t *Control) WorkingOn(certificate, host string) bool {
	for a := range t.busy {
		if a.Certificate == certificate && a.Host == host {
			return true
		}
	}
	return false
}

// Busy counts the actions of one kind that are under way.
func (t *Control) Busy(kind renewer.ActionKind) (n int) {
	for a := range t.busy {
		if a.Kind == kind {
			n++
		}
	}
	return n
}

// Version is another one whenever anything of what is said here may have
// changed.
func (t *Control) Version() int { return t.version }

// AtWork counts the rollouts that have something to do now. Those that wait,
// for a host that is away, a window or others, keep no one else from starting.
func (t *Control) AtWork() int { return t.atWork }

// Moving reports whether something can be done now for a certificate; for any,
// if its name is empty.
func (t *Control) Moving(certificate string) bool {
	if certificate == "" {
		return t.moving > 0
	}
	m, ok := t.members[certificate]
	return ok && m.moving
}

// Waits is what keeps a certificate, or some of its hosts, from more.
func (t *Control) Waits(certificate string) renewer.Waits {
	m, ok := t.members[certificate]
	if !ok {
		return nil
	}
	m.family.now = t.now
	if why := m.held(); why != free {
		return append(renewer.Waits{m.family.says(m, why)}, m.next.Waiting...)
	}
	return m.next.Waiting
}

// Waiting is Waits of every certificate that waits for anything.
func (t *Control) Waiting() map[string]renewer.Waits {
	all := map[string]renewer.Waits{}
	for name := range t.members {
		if waits := t.Waits(name); len(waits) > 0 {
			all[name] = waits
		}
	}
	return all
}

// urgency says which kind of action goes first when there are more than
// workers: a host between two generations is brought to an end before another
// one is begun.
var urgency = map[renewer.ActionKind]int{renewer.ActRestore: 0, renewer.ActReprobe: 1, renewer.ActProbe: 2, renewer.ActActivate: 3, renewer.ActStage: 4, renewer.ActOrder: 5}

func compareActions(a, b renewer.Action) int {
	return cmp.Or(cmp.Compare(urgency[a.Kind], urgency[b.Kind]), cmp.Compare(a.Certificate, b.Certificate), cmp.Compare(a.Host, b.Host))
}

// list is kept in order.
type list[T any] []T

func (l *list[T]) insert(x T, order func(a, b T) int) {
	i, _ := slices.BinarySearchFunc(*l, x, order)
	*l = slices.Insert(*l, i, x)
}

func (l *list[T]) remove(x T, order func(a, b T) int) {
	i, ok := slices.BinarySearchFunc(*l, x, order)
	switch {
	case !ok:
	case i == 0: // mostly
		clear((*l)[:1])
		*l = (*l)[1:]
	default:
		*l = slices.Delete(*l, i, i+1)
	}
}

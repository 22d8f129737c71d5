package forecast

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"renewer/renewer"
	"renewer/renewer/traffic"
)

// Most is how many rollouts are played at most: a year of 10,000 certificates that live
// for 90 days.
const Most = 70_000

// Terms say what is played.
type Terms struct {
	From, Until time.Time
	Outages     []Outage
	Most        int // rollouts at most; 0: Most
}

// Play returns what happens between two times. It fails where the context ends first.
func Play(ctx context.Context, f Fleet, t Terms) (Forecast, error) {
	most := cmp.Or(t.Most, Most)
	p := newPlayer(f, t)
	p.risks()
	for {
		p.turn()
		next := p.next()
		if next.IsZero() || next.After(t.Until) {
			break
		}
		if err := ctx.Err(); err != nil {
			return Forecast{}, err
		}
		if p.rollouts >= most {
			p.until, p.cut = p.now, fmt.Sprintf("the forecast ends at %s, after %d renewals; a shorter --for has all of it", p.now.UTC().Format(time.RFC3339), p.rollouts)
			break
		}
		p.now = next
	}
	p.finish()
	return Forecast{From: t.From.UTC(), Until: p.until.UTC(), Events: append([]Event{}, p.events...), Cut: p.cut}, nil
}

// player is the fleet at one moment of the simulated time.
type player struct {
	fleet    Fleet
	outages  []Outage
	from     time.Time
	now      time.Time
	until    time.Time
	all      []*certificate
	byName   map[string]*certificate
	due      queue[*certificate]
	ends     queue[ending]
	issuers  map[string]Issuer
	windows  map[string]opening // as of now
	shut     map[string]time.Duration
	traffic  *traffic.Control
	rollouts int
	events   []Event
	restarts []restart
	refused  map[string]bool // by issuer: that was said
	cut      string

	turnovers map[string]*turnover // by issuer
	stepAt    time.Time            // when they are looked at; zero: there is nothing to do
}

// certificate is one certificate as it is played.
type certificate struct {
	renewer.State
	order, size int
	pace        renewer.Pace          // of the first of its entry
	layouts     []string              // of its placements
	put         time.Time             // when traffic was last got it
	wakes       time.Time             // the one entry in the queue that counts
	earlier     []*renewer.Generation // that a host may have still
	over        bool                  // it has expired, and so has the CA that would renew it
}

// mostEarlier is how many generations before the current one are kept.
const mostEarlier = 4

// ending is when what a placement has in place expires.
type ending struct {
	c          *certificate
	host       string
	generation int
}

// opening is a window at one moment.
type opening struct {
	at   time.Time
	open bool
	next time.Time
}

func newPlayer(f Fleet, t Terms) *player {
	p := &player{
		fleet: f, from: t.From, now: t.From, until: t.Until, byName: make(map[string]*certificate, len(f.Certificates)), issuers: map[string]Issuer{},
		windows: map[string]opening{}, shut: map[string]time.Duration{}, traffic: traffic.New(), refused: map[string]bool{}, turnovers: map[string]*turnover{},
	}
	for _, o := range t.Outages {
		if o.From.IsZero() {
			o.From = t.From
		}
		p.outages = append(p.outages, o)
	}
	for name, is := range f.Issuers {
		p.issuers[name] = is
		p.cas(name, is)
	}
	families := map[string][]*certificate{}
	for i, state := range f.Certificates {
		c := &certificate{State: state, order: i}
		p.settle(c)
		for _, pl := range c.Certificate.Placements {
			c.layouts = append(c.layouts, pl.Layout())
		}
		p.all, p.byName[state.Certificate.Name] = append(p.all, c), c
		families[state.Certificate.Entry] = append(families[state.Certificate.Entry], c)
	}
	for _, family := range families {
		for _, c := range family {
			c.size, c.pace = len(family), family[0].Certificate.Pace
		}
	}
	for name, left := range f.Orphans {
		p.departed(name, left)
	}
	for _, c := range p.all {
		p.departed(c.Certificate.Name, c.Record.Departed)
		p.expiries(c)
		if c.Open() {
			p.keep(c)
		}
		p.wake(c, t.From)
	}
	p.rotate()
	return p
}

// settle makes a certificate one of a healthy fleet: what has to be checked is as
// expected, and its ca files have the expected roots.
func (p *player) settle(c *certificate) {
	c.Record = c.Record.Clone()
	for _, pl := range c.Certificate.Placements {
		st, ok := c.Record.Placements[pl.Host]
		if !ok {
			continue
		}
		st.Unseen, st.Reprobe, st.Foreign, st.Roots = "", time.Time{}, nil, p.rootsOf(c.Certificate, pl)
		if st.Loaded != nil {
			st.Loaded = &renewer.Loaded{Generation: st.Loaded.Generation, Roots: st.Roots}
		}
		c.Record.Placements[pl.Host] = st
	}
	for _, g := range []**renewer.Generation{&c.Current, &c.Rolling} {
		if *g != nil {
			one := **g
			one.Under = renewer.NewRootSet(rootOf(c.Certificate.Issuer, 0))
			*g = &one
		}
	}
}

// next is when anything happens.
func (p *player) next() time.Time {
	next := p.traffic.Wake()
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if at, ok := p.due.head(); ok {
		earlier(at)
	}
	if at, ok := p.ends.head(); ok {
		earlier(at)
	}
	if !p.stepAt.IsZero() {
		earlier(p.stepAt)
	}
	return next
}

// turn does all that can be done now.
func (p *player) turn() {
	for c, at, ok := p.ends.take(p.now); ok; c, at, ok = p.ends.take(p.now) {
		p.expired(c, at)
	}
	if !p.stepAt.IsZero() && !p.now.Before(p.stepAt) {
		p.rotate()
	}
	for {
		for c, at, ok := p.due.take(p.now); ok; c, at, ok = p.due.take(p.now) {
			if at.Equal(c.wakes) {
				c.wakes = time.Time{}
				p.plan(c)
			}
		}
		for _, name := range p.traffic.Due(p.now) {
			p.keep(p.byName[name])
		}
		p.traffic.Decide(p.now)
		var tasks []traffic.Task // all at once: none of them waits for the end of another
		for task, ok := p.traffic.Take(); ok; task, ok = p.traffic.Take() {
			tasks = append(tasks, task)
		}
		for _, task := range tasks {
			p.do(task)
		}
		if at, more := p.due.head(); len(tasks) == 0 && (!more || at.After(p.now)) {
			return
		}
	}
}

// plan compares what a certificate wants with what is.
func (p *player) plan(c *certificate) {
	d := renewer.Plan(c.Certificate, p.observed(c), p.now)
	p.apply(c, renewer.Planned{
		Decision: d, Room: true, Generation: c.generation, Retired: p.retired, Waits: func(renewer.State) renewer.Waits { return nil },
	})
}

func (p *player) retired(host string) bool { return p.fleet.Retired != nil && p.fleet.Retired(host) }

func (c *certificate) generation(number int) *renewer.Generation {
	for _, g := range append([]*renewer.Generation{c.Current, c.Rolling}, c.earlier...) {
		if g != nil && g.Number == number {
			return g
		}
	}
	return nil
}

// apply takes inputs into a certificate, and what follows from them into the traffic.
func (p *player) apply(c *certificate, in ...renewer.Input) {
	state, ch := renewer.Apply(c.State, p.now, in...)
	if ch.Record == nil {
		p.wake(c, c.Record.NextAt)
		return
	}
	if was := c.Current; was != nil && was != state.Current {
		c.earlier = append(c.earlier[max(len(c.earlier)-mostEarlier+1, 0):], was)
	}
	c.State = state
	if ch.Closed != nil {
		why, _ := ch.Closed.LastError()
		p.traffic.Remove(c.Certificate.Name)
		p.traffic.End(c.Certificate.Entry, traffic.Ended{Certificate: c.Certificate.Name, Phase: ch.Closed.Phase, At: ch.Closed.EndedAt, Why: why})
		p.moved()
	}
	if c.Open() {
		p.keep(c)
	}
	at := c.Record.NextAt
	if ch.Closed != nil && !c.Open() && ch.Closed.Phase != renewer.PhaseBlocked {
		at = p.now // as the engine does: what has changed meanwhile is seen now
	}
	p.wake(c, at)
}

// wake has a certificate planned at a time.
func (p *player) wake(c *certificate, at time.Time) {
	if at.IsZero() || at.Equal(c.wakes) || c.over {
		return
	}
	c.wakes = at
	p.due.add(at, c)
}

// keep takes in a rollout under way.
func (p *player) keep(c *certificate) {
	c.put = p.now
	entry := traffic.Entry{Certificate: c.Certificate, Rollout: c.Record.Rollout, Conditions: p.conditions(c), Order: c.order, Size: c.size}
	entry.Certificate.Pace = c.pace
	p.traffic.Put(entry)
}

func (p *player) conditions(c *certificate) renewer.Conditions {
	k := renewer.Conditions{Now: p.now, WindowOpen: true, Deadline: c.Deadline(c.generation)}
	if o, ok := p.window(c.Certificate.Window); ok {
		k.WindowOpen, k.WindowNext = o.open, o.next
	}
	return k
}

func (p *player) window(name string) (opening, bool) {
	w, ok := p.fleet.Windows[name]
	if !ok {
		return opening{}, false
	}
	o := p.windows[name]
	if !o.at.Equal(p.now) {
		o.at = p.now
		o.open, o.next = w.At(p.now)
		p.windows[name] = o
	}
	return o, true
}

// do carries a task out, at once. A window may have closed since it was decided: then it
// is decided again.
func (p *player) do(task traffic.Task) {
	for _, a := range task {
		if c := p.byName[a.Certificate]; c.put.Before(p.now) && c.Certificate.Window != "" {
			for _, a := range task {
				p.keep(p.byName[a.Certificate])
				p.traffic.Free(a)
			}
			return
		}
	}
	p.restart(task)
	for _, a := range task {
		c := p.byName[a.Certificate]
		if a.Kind == renewer.ActOrder {
			p.rollouts++
		}
		p.apply(c, renewer.Begun{Action: a}, p.outcome(c, a))
		p.traffic.Free(a)
	}
}

// queue is a heap of things by time.
type queue[T any] struct {
	list  entries[T]
	added int
}

type queued[T any] struct {
	at time.Time
	n  int // in the order in which they were added
	x  T
}

type entries[T any] []queued[T]

func (q entries[T]) Len() int      { return len(q) }
func (q entries[T]) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *entries[T]) Push(x any)   { *q = append(*q, x.(queued[T])) }
func (q *entries[T]) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = slices.Delete(*q, last, last+1)
	return x
}

func (q entries[T]) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].n < q[j].n
}

func (q *queue[T]) add(at time.Time, x T) {
	q.added++
	heap.Push(&q.list, queued[T]{at, q.added, x})
}

func (q *queue[T]) head() (at time.Time, ok bool) {
	if len(q.list) == 0 {
		return at, false
	}
	return q.list[0].at, true
}

// take returns the first of those whose time has come.
func (q *queue[T]) take(now time.Time) (x T, at time.Time, ok bool) {
	if len(q.list) == 0 || q.list[0].at.After(now) {
		return x, at, false
	}
	first := heap.Pop(&q.list).(queued[T])
	return first.x, first.at, true
}

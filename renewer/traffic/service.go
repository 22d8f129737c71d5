package traffic

import (
	"cmp"

	"renewer/renewer"
)

// service is what an activation touches: one thing on one host.
type service struct{ host, key string }

// crowd is what goes on around one service.
type crowd struct {
	coming  int // placements that are about to be staged: worth waiting for
	proving int // that are being proven: not to be disturbed
	wants   list[want]
	offer   *offer
}

// want is an activation or restoration of a service that could be done.
type want struct {
	renewer.Action
	m    *member
	step int
}

func byPlace(a, b want) int { return cmp.Or(inOrder(a.m, b.m), cmp.Compare(a.step, b.step)) }

// offer is a task that can be begun.
type offer struct {
	task  Task
	crowd *crowd // nil: it touches no service that others could
}

func byUrgency(a, b *offer) int { return compareActions(a.task[0], b.task[0]) }

// serviceOf returns the service that a member activates on a host.
func (m *member) serviceOf(host string) (service, bool) {
	p, ok := m.Certificate.Placement(host)
	key := p.Activate.Key()
	return service{host, key}, ok && key != ""
}

func (t *Control) crowdOf(s service) *crowd {
	c, ok := t.services[s]
	if !ok {
		c = &crowd{}
		t.services[s] = c
	}
	t.touched[c] = true
	return c
}

// surround counts what a member is about to do, or does, around its services.
func (t *Control) surround(m *member, n int) {
	active := func(host string) bool {
		for _, a := range m.next.Actions {
			if a.Host == host {
				return true
			}
		}
		return false
	}
	ordering := m.Rollout.Phase == renewer.PhaseOrdering && len(m.next.Actions) > 0
	for _, s := range m.Rollout.Steps {
		coming, proving := ordering, false
		switch s.State {
		case renewer.StepActivated, renewer.StepRestored: // not while it waits for another try
			coming, proving = false, active(s.Host)
		case renewer.StepPending:
			coming = coming || active(s.Host)
		}
		key, ok := m.serviceOf(s.Host)
		if !ok || !coming && !proving {
			continue
		}
		c := t.crowdOf(key)
		if proving {
			c.proving += n
		} else {
			c.coming += n
		}
		t.let(key, c)
	}
}

// let forgets a service around which nothing goes on.
func (t *Control) let(key service, c *crowd) {
	if c.coming == 0 && c.proving == 0 && len(c.wants) == 0 {
		if c.offer != nil {
			t.withdraw(c.offer)
		}
		delete(t.services, key)
		delete(t.touched, c)
	}
}

// derive makes known what can be done for a member now.
func (t *Control) derive(m *member) {
	t.clear(m)
	m.offered = m.admitted
	for i, a := range m.next.Actions {
		if !m.admitted && m.begins(a) {
			continue
		}
		m.moving = true
		if a.Kind == renewer.ActActivate || a.Kind == renewer.ActRestore {
			if key, ok := m.serviceOf(a.Host); ok {
				t.crowdOf(key).wants.insert(want{a, m, i}, byPlace)
				continue
			}
		}
		if !t.busy[a] {
			o := &offer{task: Task{a}}
			m.offers = append(m.offers, o)
			t.ready.insert(o, byUrgency)
		}
	}
	m.atWork = len(m.next.Actions) > 0 && (!m.fresh || m.admitted)
	t.count(m, 1)
}

// clear takes back what can be done for a member.
func (t *Control) clear(m *member) {
	for _, o := range m.offers {
		t.withdraw(o)
	}
	m.offers = m.offers[:0]
	for i, a := range m.next.Actions {
		if m.begins(a) && !m.offered || a.Kind != renewer.ActActivate && a.Kind != renewer.ActRestore {
			continue
		}
		if key, ok := m.serviceOf(a.Host); ok {
			c := t.crowdOf(key)
			c.wants.remove(want{a, m, i}, byPlace)
			t.let(key, c)
		}
	}
	t.count(m, -1)
	m.offered, m.moving, m.atWork = false, false, false
}

func (t *Control) count(m *member, n int) {
	if m.moving {
		t.moving += n
	}
	if m.atWork {
		t.atWork += n
	}
}

func (t *Control) withdraw(o *offer) {
	t.ready.remove(o, byUrgency)
	if o.crowd != nil {
		o.crowd.offer = nil
	}
}

// batch makes a task of what is wanted of one service: restorations first, all
// together, then activations, all together, and never two at once.
func (t *Control) batch(c *crowd) {
	if c.offer != nil {
		t.withdraw(c.offer)
	}
	var restore, activate Task
	for _, w := range c.wants {
		if c.proving > 0 || t.busy[w.Action] {
			return
		}
		if w.Kind == renewer.ActRestore {
			restore = append(restore, w.Action)
		} else {
			activate = append(activate, w.Action)
		}
	}
	task := restore
	if len(restore) == 0 && c.coming == 0 {
		task = activate
	}
	if len(task) > 0 {
		c.offer = &offer{task, c}
		t.ready.insert(c.offer, byUrgency)
	}
}

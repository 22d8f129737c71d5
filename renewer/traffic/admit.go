package traffic

import "slices"

// settle decides again who may begin, in the families of which anything has
// changed: servers before clients, because clients wait for these.
func (t *Control) settle() {
	for f := range t.changed {
		t.begin(f)
		for g, s := range f.groups {
			if g != nil {
				g.tell(s, slices.ContainsFunc(f.admitted, func(m *member) bool { return m.group == g }), f.expects(g))
				t.stirred[g] = true
			}
		}
	}
	for g := range t.stirred {
		serving, coming := len(g.live[servers]) > 0 || g.begins > 0, g.comings > 0
		if serving == g.serving && coming == g.coming {
			continue
		}
		g.serving, g.coming = serving, coming
		for f := range g.families {
			if !t.changed[f] {
				t.changed[f] = true
				t.begin(f) // the same as before
			}
		}
	}
	clear(t.stirred)
	for f := range t.changed {
		t.admit(f, clients)
		t.offer(f)
	}
	clear(t.changed)
}

// begin decides about the servers of a family.
func (t *Control) begin(f *family) {
	t.pauses.remove(f, byWake)
	f.reset(t.now)
	if !f.wake.IsZero() {
		t.pauses.insert(f, byWake)
	}
	t.admit(f, servers)
}

// admit goes through those of one side that could begin, in the order of the
// fleet file, and lets them as far as there is room.
func (t *Control) admit(f *family, s side) {
	var at [classes]int
	for {
		var m *member
		for c := range classes {
			if q := f.queues[s][c]; at[c] < len(q) && (m == nil || inOrder(q[at[c]], m) < 0) && f.asks(s, c) {
				m = q[at[c]]
			}
		}
		if m == nil {
			return
		}
		c, _ := m.class()
		at[c]++
		why := free
		if c != onItsWay {
			why = m.reason(f.room(m).shut)
			if why == free {
				f.admitted = append(f.admitted, m)
				if !m.live {
					f.begun++
				}
			}
		}
		if m.coming || why > failed {
			f.coming++
		}
		f.fill(m)
	}
}

// asks reports whether members of a class could begin, or count, as far as the
// family and its group go.
func (f *family) asks(s side, c class) bool {
	leaf, roots := f.rooms[0], f.rooms[1]
	switch c {
	case midway:
		return true
	case onItsWay:
		return leaf.proving && !leaf.shut || roots.proving && !roots.shut
	case exempt:
		return !leaf.shut && (leaf.proving || !f.blocked(s)) || !roots.shut && f.rooting[s] > 0
	default:
		return !leaf.shut && !f.failing() && (leaf.proving || f.pause.IsZero() && !f.blocked(s))
	}
}

// blocked reports whether all of one side wait for the other side of their
// group.
func (f *family) blocked(s side) bool {
	for g := range f.groups {
		if g == nil || !g.other(s) {
			return false
		}
	}
	return true
}

// expects reports whether a server of a family is on its way in a group.
func (f *family) expects(g *group) bool {
	for c, q := range f.queues[servers] {
		if class(c) == plain && f.failing() {
			continue
		}
		for _, m := range q {
			if m.group == g && (m.coming || class(c) != onItsWay && f.failure(m) == nil && !slices.Contains(f.admitted, m)) {
				return true
			}
		}
	}
	return false
}

// offer makes known what has changed in who may begin.
func (t *Control) offer(f *family) {
	for _, m := range f.offered {
		m.admitted = m.family == f && slices.Contains(f.admitted, m)
		if m.offered && !m.admitted {
			t.derive(m)
		}
	}
	for _, m := range f.admitted {
		if m.admitted = true; !m.offered {
			t.derive(m)
		}
	}
	f.offered = f.admitted
}

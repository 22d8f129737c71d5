package inventory

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// An event is stored behind its time, so that a search by time decodes only what
// it finds. Seq is the key alone.
func encodeEvent(e renewer.Event) []byte {
	at := e.Time
	e.Seq, e.Time = 0, time.Time{}
	return encode(&e, "", timeKey(at))
}

// openEvent is decodeEvent with the checksum.
func openEvent(k, v []byte) (renewer.Event, error) {
	v, err := bEvents.open(k, v)
	if err != nil {
		return renewer.Event{}, err
	}
	return decodeEvent(k, v)
}

func decodeEvent(k, v []byte) (e renewer.Event, err error) {
	if len(k) != 8 || len(v) < timeSize {
		return e, bEvents.bad(k, "not an event")
	}
	if err = decode(v[timeSize:], &e, ""); err == nil {
		e.Time, err = timeOf(v)
	}
	if err != nil {
		return e, bEvents.bad(k, "%v", err)
	}
	e.Seq = binary.BigEndian.Uint64(k)
	return e, nil
}

// eventNames returns the names under which an event is found: its certificate,
// and that of its rollout in case it is another.
func eventNames(e renewer.Event) (names []string) {
	if e.Certificate != "" {
		names = append(names, e.Certificate)
	}
	if e.Rollout != "" {
		if of := rolloutCertificate(e.Rollout); of != e.Certificate && of != "" {
			names = append(names, of)
		}
	}
	return names
}

// Events returns the events that match, oldest first; with a limit the newest
// so many, or with After the first so many after it. Certificate is the name of a certificate, or of an entry for
// NAME@host on all its hosts. Since looks at every event's own time, because a
// clock that was set back leaves later events with earlier times.
func (i *Inventory) Events(f renewer.EventFilter) (out []renewer.Event, err error) {
	m := matcher{f: f, rollouts: map[string]bool{}}
	if !f.Since.IsZero() {
		m.since = timeKey(f.Since)
	}
	for _, id := range f.Rollouts {
		m.rollouts[id] = true
	}
	err = i.view(func(tx *bolt.Tx) error {
		if f.Certificate == "" && len(f.Rollouts) == 0 {
			out, err = m.walk(tx)
		} else {
			out, err = m.byName(tx)
		}
		return err
	})
	if !m.forward() {
		slices.Reverse(out)
	}
	return out, err
}

type matcher struct {
	f        renewer.EventFilter
	since    []byte
	rollouts map[string]bool
}

// forward reports whether the oldest come first, so that a limit keeps those.
func (m matcher) forward() bool { return m.f.After > 0 }

func (m matcher) full(n int) bool { return m.f.Limit > 0 && n == m.f.Limit }

// take decodes the event and adds it if it matches. found is the name under
// which an index had it.
func (m matcher) take(out []renewer.Event, k, v []byte, found bool) ([]renewer.Event, error) {
	v, err := bEvents.open(k, v)
	if err != nil || m.since != nil && len(v) >= timeSize && bytes.Compare(v[:timeSize], m.since) < 0 {
		return out, err
	}
	e, err := decodeEvent(k, v)
	switch name := m.f.Certificate; {
	case err != nil:
		return out, err
	case found && !slices.ContainsFunc(eventNames(e), m.named):
		return out, bEventsByName.bad(k, "it leads to an event of %q", e.Certificate)
	case len(m.rollouts) > 0 && !m.rollouts[e.Rollout]:
		return out, nil
	case name != "" && !of(name, e.Certificate):
		return out, nil
	}
	return append(out, e), nil
}

// named reports whether an event with this name is looked for.
func (m matcher) named(name string) bool {
	if m.f.Certificate != "" {
		return of(m.f.Certificate, name)
	}
	return slices.ContainsFunc(m.f.Rollouts, func(id string) bool { return rolloutCertificate(id) == name })
}

// of reports whether a name is that of an entry, or of it on a host.
func of(entry, name string) bool { return name == entry || strings.HasPrefix(name, entry+"@") }

// walk goes through the log: from its end, or forward from After.
func (m matcher) walk(tx *bolt.Tx) (out []renewer.Event, err error) {
	c := bEvents.of(tx).Cursor()
	k, v, next := m.start(c)
	for ; k != nil && m.within(binary.BigEndian.Uint64(k)) && !m.full(len(out)); k, v = next() {
		if out, err = m.take(out, k, v, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (m matcher) start(c *bolt.Cursor) (k, v []byte, next func() (k, v []byte)) {
	if m.forward() {
		if k, v = c.Seek(seqKey(m.f.After)); bytes.Equal(k, seqKey(m.f.After)) {
			k, v = c.Next()
		}
		return k, v, c.Next
	}
	if m.f.Before > 0 {
		if at, _ := c.Seek(seqKey(m.f.Before)); at != nil {
			k, v = c.Prev()
			return k, v, c.Prev
		}
	}
	k, v = c.Last()
	return k, v, c.Prev
}

func (m matcher) within(seq uint64) bool {
	return seq > m.f.After && (m.f.Before == 0 || seq < m.f.Before)
}

// byName finds the events of some certificates through their index.
func (m matcher) byName(tx *bolt.Tx) (out []renewer.Event, err error) {
	var seqs []uint64
	if name := m.f.Certificate; name != "" {
		seqs = seqsOf(tx, nameKey(name), m.f.After)
		seqs = append(seqs, seqsOf(tx, []byte(name+"@"), m.f.After)...)
	} else {
		names := map[string]bool{}
		for id := range m.rollouts {
			names[rolloutCertificate(id)] = true
		}
		for name := range maps.Keys(names) {
			seqs = append(seqs, seqsOf(tx, nameKey(name), m.f.After)...)
		}
	}
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	if !m.forward() {
		slices.Reverse(seqs)
	}
	log := bEvents.of(tx)
	for _, seq := range seqs {
		if m.full(len(out)) {
			break
		}
		if !m.within(seq) {
			continue
		}
		k := seqKey(seq)
		v := log.Get(k)
		if v == nil {
			return nil, bEventsByName.bad(k, "the event that it leads to is missing")
		}
		if out, err = m.take(out, k, v, true); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// seqsOf returns what comes after a Seq, of every name with the prefix.
func seqsOf(tx *bolt.Tx, prefix []byte, after uint64) (seqs []uint64) {
	c := bEventsByName.of(tx).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(k) > 8; {
		name := bytes.Clone(k[:len(k)-8])
		if after > 0 {
			k, _ = c.Seek(binary.BigEndian.AppendUint64(bytes.Clone(name), after))
		}
		for ; bytes.HasPrefix(k, name) && len(k) == len(name)+8; k, _ = c.Next() {
			if seq := binary.BigEndian.Uint64(k[len(name):]); seq > after {
				seqs = append(seqs, seq)
			}
		}
	}
	return seqs
}

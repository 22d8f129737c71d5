package inventory

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// place stands in front of a record. It says where the index entries of the
// record are, what it counts, and where the times of looks at it lie, so that
// the record need not be decoded for that.
type place struct {
	end, due         []byte // timeKey of the row and of NextAt
	latest, rollouts int
	slot, slots      uint32 // the first of its times among the looks, and how many are kept for it
}

const placeSize = 2*timeSize + 16

// write fills in the place in front of a record.
func (p place) write(record []byte) []byte {
	b := append(append(record[:0], p.end...), p.due...)
	for _, n := range [...]uint32{uint32(p.latest), uint32(p.rollouts), p.slot, p.slots} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return record
}

// splitPlace takes the value of a record apart. The place is nothing where
// there is no record.
func splitPlace(k, v []byte) (p place, record []byte, err error) {
	if v == nil {
		return place{}, nil, nil
	}
	if len(v) < placeSize {
		return place{}, nil, bRecords.bad(k, "it has %d bytes", len(v))
	}
	number := func(i int) uint32 { return binary.BigEndian.Uint32(v[2*timeSize+4*i:]) }
	return place{
		end: v[:timeSize], due: v[timeSize : 2*timeSize], latest: int(number(0)), rollouts: int(number(1)), slot: number(2), slots: number(3),
	}, v[placeSize:], nil
}

func placeOf(tx *bolt.Tx, name string) (p place, ok bool, err error) {
	v, err := bRecords.get(tx, []byte(name))
	if err != nil {
		return p, false, err
	}
	p, _, err = splitPlace([]byte(name), v)
	return p, v != nil && err == nil, err
}

// recordOf returns the record of a certificate that was not removed.
func recordOf(tx *bolt.Tx, name string) (rec renewer.Record, ok bool, err error) {
	v, err := bRecords.get(tx, []byte(name))
	if v == nil || err != nil {
		return rec, false, err
	}
	_, rec, err = decodeRecord(&looks{tx: tx}, []byte(name), v)
	return rec, err == nil, err
}

func decodeRecord(l *looks, k, v []byte) (p place, rec renewer.Record, err error) {
	p, body, err := splitPlace(k, v)
	if err != nil {
		return p, rec, err
	}
	if err := decode(body, &rec, string(k)); err != nil {
		return p, rec, bRecords.bad(k, "%v", err)
	}
	return p, rec, readLooks(l, p, &rec)
}

// removedOf returns what stays of a record that was removed.
func removedOf(tx *bolt.Tx, name string) (rec renewer.Record, ok bool, err error) {
	v, err := bRemoved.get(tx, []byte(name))
	if v == nil || err != nil {
		return rec, false, err
	}
	rec, err = decodeStub([]byte(name), v)
	return rec, err == nil, err
}

func decodeStub(k, v []byte) (rec renewer.Record, err error) {
	if err := decode(v, &rec, string(k)); err != nil {
		return rec, bRemoved.bad(k, "%v", err)
	}
	return rec, nil
}

// The time of the last look at a placement that was good lies apart from the
// record, in a slot among those of many: so a round over a whole fleet that
// finds everything as it was writes a few pages and no record.

const (
	slotsPerLook = 128
	slotSize     = 8
)

func lookKey(slot uint32) []byte { return binary.BigEndian.AppendUint32(nil, slot/slotsPerLook) }

// apart returns the record without the times that go into slots, and these in
// the order of its hosts' names; 0 where there is none.
func apart(rec renewer.Record) (renewer.Record, []int64) {
	hosts := slices.Sorted(maps.Keys(rec.Placements))
	times := make([]int64, len(hosts))
	if len(hosts) > 0 {
		rec.Placements = maps.Clone(rec.Placements)
	}
	for i, host := range hosts {
		st := rec.Placements[host]
		t := st.VerifiedAt
		if n := t.UnixNano(); !t.IsZero() && t.Equal(st.ProbedAt) && n != 0 && time.Unix(0, n).Equal(t) {
			times[i], st.VerifiedAt, st.ProbedAt = n, time.Time{}, time.Time{}
			rec.Placements[host] = st
		}
	}
	return rec, times
}

// writeLooks puts the times of a record into its slots, which it gets first if
// it has too few.
func writeLooks(tx *bolt.Tx, p *place, times []int64) error {
	if need := uint32(len(times)); need > p.slots {
		b := bLooks.of(tx)
		p.slot, p.slots = uint32(b.Sequence()), need
		if err := b.SetSequence(b.Sequence() + uint64(need)); err != nil {
			return err
		}
	}
	for i := 0; i < len(times); {
		slot := p.slot + uint32(i)
		k, at := lookKey(slot), int(slot%slotsPerLook)
		here := times[i:min(len(times), i+slotsPerLook-at)]
		i += len(here)
		was, err := bLooks.get(tx, k)
		if err != nil {
			return err
		}
		known := was != nil
		for n, t := range here {
			known = known && binary.BigEndian.Uint64(was[(at+n)*slotSize:]) == uint64(t)
		}
		if known {
			continue
		}
		v := make([]byte, slotsPerLook*slotSize, slotsPerLook*slotSize+sumSize)
		copy(v, was)
		for n, t := range here {
			binary.BigEndian.PutUint64(v[(at+n)*slotSize:], uint64(t))
		}
		if err := bLooks.put(tx, k, v); err != nil {
			return err
		}
	}
	return nil
}

// looks are the slots, as far as they were read.
type looks struct {
	tx    *bolt.Tx
	pages map[uint32][]byte
}

func (l *looks) at(slot uint32) (t time.Time, err error) {
	page, ok := l.pages[slot/slotsPerLook]
	if !ok {
		if page, err = bLooks.get(l.tx, lookKey(slot)); err != nil {
			return t, err
		}
		if len(page) != slotsPerLook*slotSize {
			return t, bLooks.bad(lookKey(slot), "it has %d bytes", len(page))
		}
		if l.pages == nil {
			l.pages = map[uint32][]byte{}
		}
		l.pages[slot/slotsPerLook] = page
	}
	if n := int64(binary.BigEndian.Uint64(page[slot%slotsPerLook*slotSize:])); n != 0 {
		t = time.Unix(0, n).UTC()
	}
	return t, nil
}

// readLooks puts the times of looks into a record.
func readLooks(l *looks, p place, rec *renewer.Record) error {
	for i, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		if uint32(i) >= p.slots {
			return bRecords.bad([]byte(rec.Name), "it has %d placements and %d times of looks", len(rec.Placements), p.slots)
		}
		t, err := l.at(p.slot + uint32(i))
		if err != nil {
			return err
		}
		if st := rec.Placements[host]; !t.IsZero() {
			st.VerifiedAt, st.ProbedAt = t, t
			rec.Placements[host] = st
		}
	}
	return nil
}

// storedRow is a row as it is kept: without the times that lie in slots.
type storedRow struct {
	Row   renewer.Row `json:"row"`
	Looks []int       `json:"slots"` // of each host, 1 + which slot of the record; 0: none
}

// rowApart makes the stored form of a row beside a record.
func rowApart(row renewer.Row, rec renewer.Record, times []int64) storedRow {
	s := storedRow{Row: row, Looks: make([]int, len(row.Hosts))}
	s.Row.Hosts = slices.Clone(row.Hosts)
	hosts := slices.Sorted(maps.Keys(rec.Placements))
	for i := range s.Row.Hosts {
		h := &s.Row.Hosts[i]
		if at, ok := slices.BinarySearch(hosts, h.Name); ok && times[at] != 0 && h.VerifiedAt.Equal(time.Unix(0, times[at])) {
			s.Looks[i], h.VerifiedAt = at+1, time.Time{}
		}
	}
	return s
}

// slotNumberSize is how much of a row in its index is the record's first slot.
const slotNumberSize = 4

// indexed is an entry of the expiry index and the row that was made of it.
type indexed struct {
	key, value string
	slots      []uint32 // of each host; noSlot: none
	row        renewer.Row
}

const noSlot = ^uint32(0)

// decodeRow reads the value of an entry of the expiry index.
func decodeRow(k, v []byte) (*indexed, error) {
	if len(k) <= timeSize || len(v) < slotNumberSize {
		return nil, bExpiry.bad(k, "not a row")
	}
	var s storedRow
	if err := decode(v[slotNumberSize:], &s, string(k[timeSize:])); err != nil || len(s.Looks) != len(s.Row.Hosts) {
		return nil, bExpiry.bad(k, "not a row: %v", err)
	}
	in := &indexed{key: string(k), value: string(v), row: s.Row, slots: make([]uint32, len(s.Looks))}
	for i, n := range s.Looks {
		if in.slots[i] = noSlot; n > 0 {
			in.slots[i] = binary.BigEndian.Uint32(v) + uint32(n) - 1
		}
	}
	return in, nil
}

// current returns the entry with the times of the last looks; the same one if
// it has them.
func (in *indexed) current(l *looks) (*indexed, error) {
	cloned := false
	for i, slot := range in.slots {
		if slot == noSlot {
			continue
		}
		t, err := l.at(slot)
		if err != nil {
			return nil, err
		}
		if in.row.Hosts[i].VerifiedAt.Equal(t) {
			continue
		}
		if !cloned {
			next := *in
			next.row.Hosts, cloned = slices.Clone(in.row.Hosts), true
			in = &next
		}
		in.row.Hosts[i].VerifiedAt = t
	}
	return in, nil
}

// rowFromRecord makes the row of a record that came without one.
func rowFromRecord(tx *bolt.Tx, rec renewer.Record) (renewer.Row, error) {
	c := renewer.Certificate{Name: rec.Name, Entry: rec.Entry, Issuer: rec.Issuer, Usages: []renewer.Usage{renewer.UsageServer}}
	for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
		c.Placements = append(c.Placements, renewer.Placement{Certificate: rec.Name, Host: host})
	}
	number := rec.Current
	if !rec.InPlace() {
		number = rec.Latest
	}
	g, ok, err := generation(tx, rec.Name, number)
	if err != nil {
		return renewer.Row{}, fmt.Errorf("make the row of %s: %w", rec.Name, err)
	}
	if !ok {
		return renewer.NewRow(c, rec, nil), nil
	}
	return renewer.NewRow(c, rec, &g), nil
}

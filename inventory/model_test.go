package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"renewer/renewer"
)

// model is what an inventory should hold, in plain maps.
type model struct {
	records     map[string]renewer.Record
	removed     map[string]renewer.Record
	rows        map[string]renewer.Row
	generations map[string]map[int]renewer.Generation
	rollouts    map[string]map[int]renewer.Rollout
	events      []renewer.Event
}

func newModel() *model {
	return &model{
		records: map[string]renewer.Record{}, removed: map[string]renewer.Record{}, rows: map[string]renewer.Row{},
		generations: map[string]map[int]renewer.Generation{}, rollouts: map[string]map[int]renewer.Rollout{},
	}
}

func (m *model) commit(c renewer.Change) {
	if g := c.Generation; g != nil {
		if m.generations[g.Certificate] == nil {
			m.generations[g.Certificate] = map[int]renewer.Generation{}
		}
		m.generations[g.Certificate][g.Number] = *g
	}
	if r := c.Record; r != nil {
		m.records[r.Name] = *r
		delete(m.removed, r.Name)
		if c.Row != nil {
			m.rows[r.Name] = *c.Row
		}
	}
	if r := c.Closed; r != nil {
		if m.rollouts[r.Certificate] == nil {
			m.rollouts[r.Certificate] = map[int]renewer.Rollout{}
		}
		var n int
		_, _ = fmt.Sscanf(r.ID, r.Certificate+"#%d", &n)
		m.rollouts[r.Certificate][n] = *r
	}
	if rec, ok := m.records[c.Remove]; ok {
		m.removed[c.Remove] = renewer.Record{Name: rec.Name, Entry: rec.Entry, Issuer: rec.Issuer, Latest: rec.Latest, Rollouts: rec.Rollouts}
		delete(m.records, c.Remove)
		delete(m.rows, c.Remove)
	}
	for _, e := range c.Events {
		e.Seq = uint64(len(m.events) + 1)
		m.events = append(m.events, e)
	}
}

var modelNames = []string{"a", "a@h1", "a@h2", "aa", "b", "b@h1"}

// draw makes a change that is valid on top of what the model holds.
func (m *model) draw(t *rapid.T) (c renewer.Change) {
	name := rapid.SampledFrom(modelNames).Draw(t, "name")
	old, known := m.records[name]
	if !known {
		old = m.removed[name]
	}
	at := func(label string) time.Time {
		if rapid.IntRange(0, 5).Draw(t, label+" zero") == 0 {
			return time.Time{}
		}
		return day(rapid.IntRange(-5, 30).Draw(t, label))
	}
	if rapid.IntRange(0, 3).Draw(t, "record") > 0 {
		rec := renewer.Record{
			Name: name, Entry: strings.Split(name, "@")[0], Issuer: "ca", NextAt: at("next"),
			Latest: old.Latest + rapid.IntRange(0, 1).Draw(t, "latest"), Rollouts: old.Rollouts + rapid.IntRange(0, 1).Draw(t, "rollouts"),
		}
		if rec.Latest > old.Latest {
			c.Generation = gen(name, rec.Latest, at("end"))
			rec.Current = rec.Latest
		}
		if phase := rapid.SampledFrom([]renewer.Phase{"", renewer.PhaseRolling, renewer.PhaseBlocked}).Draw(t, "phase"); phase != "" {
			rec.Rollout = &renewer.Rollout{ID: renewer.RolloutID(name, rec.Rollouts), Certificate: name, Phase: phase}
		}
		for _, host := range []string{"h1", "h2", "h3"} {
			if rapid.IntRange(0, 2).Draw(t, "placed") == 0 {
				continue
			}
			if rec.Placements == nil {
				rec.Placements = map[string]renewer.PlacementState{}
			}
			st := renewer.PlacementState{State: renewer.HostVerified, ProbedAt: at("probed"), Generation: rec.Current}
			if st.VerifiedAt = st.ProbedAt; rapid.Bool().Draw(t, "not verified") {
				st.VerifiedAt = at("verified")
			}
			rec.Placements[host] = st
		}
		c.Record = &rec
		if _, has := m.rows[name]; !has || rapid.Bool().Draw(t, "row") {
			c.Row = rowOf(gen(name, rec.Latest, at("row end")), "h3", "h1")
			for i, h := range c.Row.Hosts {
				if st, ok := rec.Placements[h.Name]; ok {
					c.Row.Hosts[i].VerifiedAt = st.VerifiedAt
				}
			}
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "closed") == 0 {
		n := rapid.IntRange(1, 12).Draw(t, "rollout")
		c.Closed = &renewer.Rollout{ID: renewer.RolloutID(name, n), Certificate: name, Phase: renewer.PhaseDone, EndedAt: at("ended")}
	}
	if rapid.IntRange(0, 5).Draw(t, "remove") == 0 {
		c.Remove = rapid.SampledFrom(modelNames).Draw(t, "removed")
	}
	for range rapid.IntRange(0, 2).Draw(t, "events") {
		c.Events = append(c.Events, renewer.Event{
			Type: renewer.EventIssued, Time: day(rapid.IntRange(0, 9).Draw(t, "at")),
			Certificate: rapid.SampledFrom(append(modelNames, "")).Draw(t, "of"), Rollout: name + "#1",
		})
	}
	return c
}

// TestModel runs random changes against the inventory and plain maps, and
// compares every read after each commit.
func TestModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := 0
	rapid.Check(t, func(rt *rapid.T) {
		files++
		i := openAt(t, fmt.Sprintf("%s/%d.db", dir, files))
		m := newModel()
		for range rapid.IntRange(1, 8).Draw(rt, "commits") {
			var changes []renewer.Change
			for range rapid.IntRange(1, 3).Draw(rt, "changes") {
				c := m.draw(rt)
				m.commit(c)
				changes = append(changes, c)
			}
			before := len(m.events)
			events, err := i.Commit(t.Context(), changes...)
			if err != nil {
				rt.Fatal(err)
			}
			same(rt, "returned events", events, m.events[before-len(events):])
			if rapid.IntRange(0, 5).Draw(rt, "reindex") == 0 {
				if err := i.Reindex(); err != nil {
					rt.Fatal(err)
				}
			}
			m.compare(rt, i)
		}
		for _, err := range i.CheckFull(t.Context()) {
			rt.Error(err)
		}
		if err := i.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func same(t *rapid.T, what string, got, want any) {
	t.Helper()
	if d := gocmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func must[T any](t *rapid.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (m *model) compare(t *rapid.T, i *Inventory) {
	var open, due []string
	for name, rec := range m.records {
		if rec.Rollout != nil && !rec.Rollout.Phase.Over() {
			open = append(open, name)
		}
		if !rec.NextAt.IsZero() {
			due = append(due, name)
		}
	}
	slices.Sort(open)
	slices.SortFunc(due, func(a, b string) int {
		return cmp.Or(m.records[a].NextAt.Compare(m.records[b].NextAt), cmp.Compare(a, b))
	})
	names, err := i.Names()
	same(t, "names", must(t, names, err), slices.Sorted(maps.Keys(m.records)))
	names, err = i.Open()
	same(t, "open", must(t, names, err), open)
	names, err = i.Due(day(999), 0)
	same(t, "due", must(t, names, err), due)
	now := day(rapid.IntRange(-6, 31).Draw(t, "now"))
	names, err = i.Due(now, 2)
	due = slices.DeleteFunc(due, func(n string) bool { return m.records[n].NextAt.After(now) })
	same(t, "due now", must(t, names, err), due[:min(2, len(due))])

	for _, name := range modelNames {
		rec, ok, err := i.Record(name)
		want, known := m.records[name]
		if !known {
			want, known = m.removed[name]
		}
		if ok != known {
			t.Fatalf("record of %s: %v, want %v", name, ok, known)
		}
		same(t, "record", must(t, rec, err), want)
		all, err := i.Generations(name)
		wantAll := slices.Collect(maps.Values(m.generations[name]))
		slices.SortFunc(wantAll, func(a, b renewer.Generation) int { return b.Number - a.Number })
		same(t, "generations", must(t, all, err), wantAll)
		for _, g := range wantAll[:min(1, len(wantAll))] {
			found, ok, err := i.ByFingerprint(g.Fingerprint)
			if same(t, "by fingerprint", must(t, found, err), g); !ok {
				t.Fatal("not ok")
			}
		}
	}
	m.compareRecorded(t, i)
	m.compareRows(t, i)
	m.compareLog(t, i, rapid.SampledFrom(modelNames).Draw(t, "log of"))
	m.compareLog(t, i, "")
}

// compareRecorded asks for some names at once, in any order.
func (m *model) compareRecorded(t *rapid.T, i *Inventory) {
	names := rapid.SliceOf(rapid.SampledFrom(append([]string{"", "z"}, modelNames...))).Draw(t, "names")
	if rapid.Bool().Draw(t, "sorted") {
		slices.Sort(names)
	}
	all, err := i.Recorded(names)
	want := make([]renewer.Recorded, len(names))
	for n, name := range names {
		rec, ok, err := i.Record(name)
		want[n] = renewer.Recorded{Record: must(t, rec, err), Found: ok}
		if g, ok, err := i.Generation(name, rec.Current); ok {
			g = must(t, g, err)
			want[n].Current = &g
		}
	}
	same(t, "recorded", must(t, all, err), want)
}

func (m *model) compareRows(t *rapid.T, i *Inventory) {
	for _, until := range []time.Time{{}, day(rapid.IntRange(-6, 31).Draw(t, "until"))} {
		var want, got []renewer.Row
		for _, row := range m.rows {
			if until.IsZero() || !row.NotAfter.IsZero() && row.NotAfter.Before(until) {
				want = append(want, row)
			}
		}
		slices.SortFunc(want, func(a, b renewer.Row) int {
			if a.NotAfter.IsZero() != b.NotAfter.IsZero() {
				return -a.NotAfter.Compare(b.NotAfter)
			}
			return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Name, b.Name))
		})
		if err := i.Rows(until, func(r renewer.Row) bool { got = append(got, r); return true }); err != nil {
			t.Fatal(err)
		}
		same(t, "rows", got, want)
		fresh := rowWalk{until: until}
		if err := i.view(fresh.read); err != nil {
			t.Fatal(err)
		}
		want = want[:0]
		for _, r := range fresh.found {
			want = append(want, r.row)
		}
		same(t, "rows, compared with those of a walk that knows none", got, want)
	}
}

func (m *model) compareLog(t *rapid.T, i *Inventory, name string) {
	f := renewer.EventFilter{
		Certificate: name, After: uint64(rapid.IntRange(0, 6).Draw(t, "after")), Limit: rapid.IntRange(0, 4).Draw(t, "limit"),
	}
	if rapid.Bool().Draw(t, "since") {
		f.Since = day(rapid.IntRange(0, 9).Draw(t, "since day"))
	}
	if rapid.IntRange(0, 3).Draw(t, "by rollout") == 0 {
		f.Rollouts = []string{"a#1", "b@h1#1"}
	}
	var want []renewer.Event
	for _, e := range m.events {
		if e.Seq > f.After && !e.Time.Before(f.Since) && (name == "" || e.Certificate == name || strings.HasPrefix(e.Certificate, name+"@")) &&
			(f.Rollouts == nil || slices.Contains(f.Rollouts, e.Rollout)) {
			want = append(want, e)
		}
	}
	if f.Limit > 0 && len(want) > f.Limit {
		if f.After > 0 {
			want = want[:f.Limit]
		} else {
			want = want[len(want)-f.Limit:]
		}
	}
	got, err := i.Events(f)
	same(t, fmt.Sprintf("events %+v", f), must(t, got, err), want)
	if name == "" {
		return
	}
	wantRollouts := slices.Sorted(maps.Keys(m.rollouts[name]))
	slices.Reverse(wantRollouts)
	rollouts, err := i.Rollouts(name, f.Limit)
	must(t, rollouts, err)
	if f.Limit > 0 {
		wantRollouts = wantRollouts[:min(f.Limit, len(wantRollouts))]
	}
	var gotRollouts []int
	for _, r := range rollouts {
		n, err := rolloutNumber(&r)
		gotRollouts = append(gotRollouts, int(must(t, n, err)))
	}
	same(t, "rollouts", gotRollouts, wantRollouts)
}

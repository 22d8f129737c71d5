package inventory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"renewer/renewer"
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestCommitIsReadBack(t *testing.T) {
	t.Parallel()
	i := open(t)
	c := issued("docker@host-a", 1, day(90))
	c.Closed = &renewer.Rollout{ID: "docker@host-a#1", Certificate: "docker@host-a", Phase: renewer.PhaseDone, EndedAt: epoch}
	events := commit(t, i, c)
	if len(events) != 1 || events[0].Seq != 1 {
		t.Fatalf("events %v", events)
	}

	rec, ok, err := i.Record("docker@host-a")
	equal(t, "record", rec, *c.Record)
	g, ok2, err2 := i.Generation("docker@host-a", 1)
	equal(t, "generation", g, *c.Generation)
	rollouts, err3 := i.Rollouts("docker@host-a", 0)
	equal(t, "rollouts", rollouts, []renewer.Rollout{*c.Closed})
	if !ok || !ok2 || errors.Join(err, err2, err3) != nil {
		t.Fatal(ok, ok2, err, err2, err3)
	}
	logged, err := i.Events(renewer.EventFilter{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "events", logged, events)
	var rows []renewer.Row
	if err := i.Rows(time.Time{}, func(r renewer.Row) bool { rows = append(rows, r); return true }); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", rows, []renewer.Row{*c.Row})
	sound(t, i)
}

func TestUnknownNamesAreNoErrors(t *testing.T) {
	t.Parallel()
	i := open(t)
	_, ok1, err1 := i.Record("missing")
	_, ok2, err2 := i.Generation("missing", 1)
	_, ok3, err3 := i.Generation("missing", -1)
	_, ok4, err4 := i.ByFingerprint("ab")
	_, ok5, err5 := i.BySerial("")
	_, ok6, err6 := i.NextDue()
	all, err7 := i.Generations("missing")
	if ok1 || ok2 || ok3 || ok4 || ok5 || ok6 || all != nil {
		t.Error("found something")
	}
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		t.Error(err)
	}
}

func TestRowsSoonestFirst(t *testing.T) {
	t.Parallel()
	i := open(t)
	pending := issued("pending", 1, time.Time{})
	pending.Row.NotAfter = time.Time{}
	commit(t, i, issued("late", 1, day(60)), pending, issued("soon", 1, day(10)), issued("expired", 1, day(-3)), issued("mid", 1, day(30)))

	equal(t, "all", rowNames(t, i, time.Time{}), []string{"expired", "soon", "mid", "late", "pending"})
	equal(t, "until excludes its own instant", rowNames(t, i, day(30)), []string{"expired", "soon"})
	equal(t, "just after", rowNames(t, i, day(30).Add(1)), []string{"expired", "soon", "mid"})

	commit(t, i, issued("expired", 2, day(87)))
	equal(t, "after a renewal", rowNames(t, i, time.Time{}), []string{"soon", "mid", "late", "expired", "pending"})

	n := 0
	if err := i.Rows(time.Time{}, func(renewer.Row) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("after yield said stop: %d rows, %v", n, err)
	}
	sound(t, i)
}

// Renewals while a list is being read move rows behind the part that was read
// already; the list is still that of one moment.
func TestRowsAreOfOneMoment(t *testing.T) {
	t.Parallel()
	i := open(t)
	var changes []renewer.Change
	for n := range 300 {
		changes = append(changes, issued(fmt.Sprintf("c%05d", n), 1, day(1).Add(time.Duration(n)*time.Minute)))
	}
	commit(t, i, changes...)
	n := 0
	err := i.Rows(time.Time{}, func(r renewer.Row) bool {
		if r.Name != changes[n].Record.Name || r.Generation != 1 {
			t.Errorf("row %d is generation %d of %s", n, r.Generation, r.Name)
		}
		if n++; n%100 == 10 {
			commit(t, i, issued(r.Name, 2, day(500)), renewer.Change{Remove: "c00299"}) // yield may use the inventory
		}
		return true
	})
	if err != nil || n != len(changes) {
		t.Errorf("%d of %d rows, %v", n, len(changes), err)
	}
	if names := rowNames(t, i, time.Time{}); len(names) != len(changes)-1 || names[0] != "c00000" || names[len(names)-1] != "c00209" {
		t.Errorf("afterwards %d rows, from %s to %s", len(names), names[0], names[len(names)-1])
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	i := open(t)
	never := issued("never", 1, day(90))
	never.Record.NextAt = time.Time{}
	for name, at := range map[string]time.Time{"b": day(2), "a": day(1), "c": day(3)} {
		c := issued(name, 1, day(90))
		c.Record.NextAt = at
		commit(t, i, c)
	}
	commit(t, i, never)
	due := func(now time.Time, limit int) []string {
		names, err := i.Due(now, limit)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	equal(t, "before all", due(day(1).Add(-1), 0), []string(nil))
	equal(t, "its own instant counts", due(day(1), 0), []string{"a"})
	equal(t, "all", due(day(9), 0), []string{"a", "b", "c"})
	equal(t, "limit", due(day(9), 2), []string{"a", "b"})
	if at, ok, err := i.NextDue(); !ok || err != nil || !at.Equal(day(1)) {
		t.Error(at, ok, err)
	}
	a := issued("a", 1, day(90))
	a.Record.NextAt = day(4)
	commit(t, i, a)
	equal(t, "after a moved", due(day(9), 0), []string{"b", "c", "a"})
	sound(t, i)
}

func TestOpenRollouts(t *testing.T) {
	t.Parallel()
	i := open(t)
	in := func(name string, phase renewer.Phase) {
		c := issued(name, 1, day(90))
		c.Record.Rollout = &renewer.Rollout{ID: name + "#1", Certificate: name, Phase: phase}
		commit(t, i, c)
	}
	in("b", renewer.PhaseRolling)
	in("a", renewer.PhaseOrdering)
	in("blocked", renewer.PhaseBlocked)
	commit(t, i, issued("idle", 1, day(90)))
	names, err := i.Open()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "open", names, []string{"a", "b"})
	in("a", renewer.PhaseDone)
	names, _ = i.Open()
	equal(t, "after a is done", names, []string{"b"})
	sound(t, i)
}

func TestGenerationsNewestFirst(t *testing.T) {
	t.Parallel()
	i := open(t)
	for n := 1; n <= 12; n++ {
		commit(t, i, issued("docker", n, day(n)), issued("docker2", n, day(n)), issued("docke", n, day(n)))
	}
	all, err := i.Generations("docker")
	if err != nil || len(all) != 12 {
		t.Fatal(len(all), err)
	}
	for n, g := range all {
		if g.Number != 12-n || g.Certificate != "docker" {
			t.Errorf("at %d: generation %d of %s", n, g.Number, g.Certificate)
		}
	}
}

func TestRolloutsNewestFirst(t *testing.T) {
	t.Parallel()
	i := open(t)
	for n := 1; n <= 12; n++ {
		commit(t, i, renewer.Change{Closed: &renewer.Rollout{ID: renewer.RolloutID("x", n), Certificate: "x", Phase: renewer.PhaseDone}})
	}
	got, err := i.Rollouts("x", 3)
	if err != nil || len(got) != 3 || got[0].ID != "x#12" || got[2].ID != "x#10" {
		t.Error(got, err)
	}
}

func TestRolloutByID(t *testing.T) {
	t.Parallel()
	i := open(t)
	for n := 1; n <= 11; n++ {
		commit(t, i, renewer.Change{Closed: &renewer.Rollout{ID: renewer.RolloutID("x@h", n), Certificate: "x@h", Phase: renewer.PhaseDone}})
	}
	for id, want := range map[string]bool{"x@h#1": true, "x@h#11": true, "x@h#12": false, "x#1": false, "x@h": false, "": false, "#1": false} {
		r, ok, err := i.Rollout(id)
		if err != nil || ok != want || ok && r.ID != id {
			t.Errorf("%q: %q %t %v", id, r.ID, ok, err)
		}
	}
}

func TestFindByNumbers(t *testing.T) {
	t.Parallel()
	i := open(t)
	a, b := issued("a", 1, day(90)), issued("b", 1, day(90))
	a.Generation.Serial, b.Generation.Serial = "00ab12cd34", "00ab12cd3499"
	commit(t, i, a, b)
	for hex, want := range map[string]string{
		"00ab12cd34": "a", "00:AB:12:CD:34": "a", "00ab12cd3499": "b", "00ab12cd349": "b", "00ab12": "", "ffffffffff": "",
	} {
		g, ok, err := i.BySerial(hex)
		if err != nil || ok != (want != "") || g.Certificate != want {
			t.Errorf("serial %s: %q %v %v", hex, g.Certificate, ok, err)
		}
	}
	if _, _, err := i.BySerial("00ab12cd"); !errors.Is(err, ErrAmbiguous) {
		t.Error(err)
	}
	g, ok, err := i.ByFingerprint(a.Generation.Fingerprint[:9])
	if err != nil || !ok || g.Certificate != "a" {
		t.Error(g.Certificate, ok, err)
	}
}

func TestRemovedNamesKeepTheirNumbers(t *testing.T) {
	t.Parallel()
	i := open(t)
	c := issued("docker", 3, day(90))
	c.Record.Rollout = &renewer.Rollout{ID: "docker#3", Certificate: "docker", Phase: renewer.PhaseRolling}
	commit(t, i, c)
	commit(t, i, renewer.Change{Remove: "docker", Events: []renewer.Event{{Type: renewer.EventRemoved, Certificate: "docker"}}})
	commit(t, i, renewer.Change{Remove: "docker"}, renewer.Change{Remove: "never-there"})

	names, _ := i.Names()
	open, _ := i.Open()
	due, _ := i.Due(day(999), 0)
	if n := len(names) + len(open) + len(due) + len(rowNames(t, i, time.Time{})); n != 0 {
		t.Errorf("still listed: %v %v %v", names, open, due)
	}
	rec, ok, err := i.Record("docker")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	equal(t, "deleted", rec, renewer.Record{Name: "docker", Entry: "docker", Issuer: "fleet-ca", Latest: 3, Rollouts: 3})
	if all, _ := i.Generations("docker"); len(all) != 1 {
		t.Errorf("%d generations", len(all))
	}
	sound(t, i)

	if _, err := i.Commit(t.Context(), issued("docker", 1, day(9))); !errors.Is(err, ErrConflict) {
		t.Errorf("numbers began again: %v", err)
	}
	commit(t, i, issued("docker", 4, day(180)))
	names, _ = i.Names()
	equal(t, "back", names, []string{"docker"})
	sound(t, i)
}

// What has something in place still keeps what it was, and a restored backup says that
// it may be another thing by now.
func TestWhatLeftKeepsWhatItWas(t *testing.T) {
	t.Parallel()
	i := open(t)
	c := issued("docker", 3, day(90))
	st := renewer.PlacementState{State: renewer.HostVerified, Revision: "r3-1", Generation: 3, Roots: renewer.NewRootSet("A"), Origin: renewer.OriginIssued}
	c.Record.Departed = []renewer.Departed{
		{Host: "a", Generation: 3, Issuer: "fleet-ca", NotAfter: day(90), State: &st, Role: renewer.Role{Trust: []string{"fleet-ca"}, Settle: time.Hour}},
		{Host: "b", Generation: 2, Issuer: "fleet-ca", NotAfter: day(90), Usages: []renewer.Usage{renewer.UsageClient}}, // of a version before
	}
	c.Record.Role = renewer.Role{Usages: []renewer.Usage{renewer.UsageServer}, Activates: true}
	c.Remove = "docker"
	commit(t, i, c)
	sound(t, i)
	rec, _, err := i.Record("docker")
	if err != nil || rec.Current != c.Record.Current || rec.Rollout != nil || len(rec.Placements) > 0 {
		t.Errorf("%+v, %v", rec, err)
	}
	equal(t, "departed", rec.Departed, c.Record.Departed)
	equal(t, "role", rec.Role, c.Record.Role)
	file := filepath.Join(t.TempDir(), "copy.db")
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(i.Backup(out), out.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	restored := openAt(t, file)
	rec, _, err = restored.Record("docker")
	if err != nil || rec.Departed[0].State.Unseen != renewer.UnseenRestored || rec.Departed[1].State != nil {
		t.Errorf("%+v, %v", rec.Departed, err)
	}
	sound(t, restored)
}

func TestCommitRefuses(t *testing.T) {
	t.Parallel()
	i := open(t)
	commit(t, i, issued("a", 2, day(90)))
	other := gen("a", 2, day(80))
	other.Fingerprint = renewer.Fingerprint([]byte("another"))
	rec := func(name string) *renewer.Record { return &renewer.Record{Name: name, Latest: 2, Rollouts: 2} }
	for what, tc := range map[string]struct {
		change renewer.Change
		want   error
	}{
		"another certificate": {renewer.Change{Generation: other}, ErrConflict},
		"latest falls":        {renewer.Change{Record: &renewer.Record{Name: "a", Latest: 1, Rollouts: 2}}, ErrConflict},
		"rollouts fall":       {renewer.Change{Record: &renewer.Record{Name: "a", Latest: 2, Rollouts: 1}}, ErrConflict},
		"no name":             {renewer.Change{Record: rec("")}, ErrInvalid},
		"NUL byte":            {renewer.Change{Record: rec("a\x00b")}, ErrInvalid},
		"long name":           {renewer.Change{Record: rec(string(make([]byte, 2000)))}, ErrInvalid},
		"negative":            {renewer.Change{Record: &renewer.Record{Name: "z", Latest: -1}}, ErrInvalid},
		"row alone":           {renewer.Change{Row: &renewer.Row{Name: "a"}}, ErrInvalid},
		"row of another":      {renewer.Change{Record: rec("a"), Row: &renewer.Row{Name: "b"}}, ErrInvalid},
		"open rollout closed": {renewer.Change{Closed: &renewer.Rollout{ID: "a#1", Certificate: "a", Phase: renewer.PhaseRolling}}, ErrInvalid},
		"rollout of another":  {renewer.Change{Closed: &renewer.Rollout{ID: "b#1", Certificate: "a", Phase: renewer.PhaseDone}}, ErrInvalid},
		"negative generation": {renewer.Change{Generation: gen("a", -1, day(1))}, ErrInvalid},
		"nameless generation": {renewer.Change{Generation: &renewer.Generation{Number: 1}}, ErrInvalid},
		"event without type":  {renewer.Change{Events: []renewer.Event{{Message: "?"}}}, ErrInvalid},
		"bad remove":          {renewer.Change{Remove: "a\x00"}, ErrInvalid},
	} {
		good := issued("new", 1, day(5))
		if _, err := i.Commit(t.Context(), good, tc.change); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", what, err)
		}
		if _, ok, _ := i.Record("new"); ok {
			t.Fatalf("%s: half of the commit was written", what)
		}
	}
	// The same certificate again is fine: that is how a revocation is noted.
	revoked := gen("a", 2, day(90))
	revoked.RevokedAt = day(1)
	commit(t, i, renewer.Change{Generation: revoked})
	if g, _, _ := i.Generation("a", 2); !g.RevokedAt.Equal(day(1)) {
		t.Error("the revocation was not written")
	}
	sound(t, i)
}

func TestRecordWithoutRowGetsOne(t *testing.T) {
	t.Parallel()
	i := open(t)
	c := issued("a", 1, day(90))
	c.Row = nil
	c.Record.Placements = map[string]renewer.PlacementState{"host-b": {State: renewer.HostVerified, Generation: 1}}
	commit(t, i, c)
	var got renewer.Row
	if err := i.Rows(time.Time{}, func(r renewer.Row) bool { got = r; return true }); err != nil {
		t.Fatal(err)
	}
	if got.Name != "a" || !got.NotAfter.Equal(day(90)) || got.Status != renewer.StatusValid || got.Hosts[0].Name != "host-b" {
		t.Errorf("%+v", got)
	}
	sound(t, i)
}

func TestContextCancelledWritesNothing(t *testing.T) {
	t.Parallel()
	i := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Commit(ctx, issued("a", 1, day(1))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if names, _ := i.Names(); len(names) != 0 {
		t.Error(names)
	}
}

func TestAfterClose(t *testing.T) {
	t.Parallel()
	i := open(t)
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if err := i.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	_, err1 := i.Commit(t.Context(), issued("a", 1, day(1)))
	_, err2 := i.Names()
	err3 := i.Rows(time.Time{}, func(renewer.Row) bool { return true })
	for _, err := range []error{err1, err2, err3, errors.Join(i.CheckFull(t.Context())...)} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

func TestEventFilters(t *testing.T) {
	t.Parallel()
	i := open(t)
	log := func(certificate, rollout string, at time.Time) {
		commit(t, i, renewer.Change{Events: []renewer.Event{{Type: renewer.EventIssued, Certificate: certificate, Rollout: rollout, Time: at}}})
	}
	log("docker@host-a", "docker@host-a#1", day(1)) // 1
	log("docker@host-b", "docker@host-b#1", day(2)) // 2
	log("", "", day(3))                             // 3
	log("docker-ui", "docker-ui#1", day(1))         // 4: the clock was set back
	log("docker@host-a", "docker@host-a#2", day(4)) // 5
	log("docker", "docker#1", day(5))               // 6

	for what, tc := range map[string]struct {
		filter renewer.EventFilter
		want   []uint64
	}{
		"all":               {renewer.EventFilter{}, []uint64{1, 2, 3, 4, 5, 6}},
		"after":             {renewer.EventFilter{After: 4}, []uint64{5, 6}},
		"after the end":     {renewer.EventFilter{After: 99}, nil},
		"newest":            {renewer.EventFilter{Limit: 2}, []uint64{5, 6}},
		"first after":       {renewer.EventFilter{After: 3, Limit: 2}, []uint64{4, 5}},
		"after and before":  {renewer.EventFilter{After: 1, Before: 6, Limit: 3}, []uint64{2, 3, 4}},
		"after the last":    {renewer.EventFilter{After: math.MaxUint64, Limit: 2}, nil},
		"entry first after": {renewer.EventFilter{Certificate: "docker", After: 1, Limit: 2}, []uint64{2, 5}},
		"fewer after":       {renewer.EventFilter{After: 1, Limit: 9}, []uint64{2, 3, 4, 5, 6}},
		"since":             {renewer.EventFilter{Since: day(3)}, []uint64{3, 5, 6}},
		"since own time":    {renewer.EventFilter{Since: day(5)}, []uint64{6}},
		"newest since":      {renewer.EventFilter{Since: day(2), Limit: 3}, []uint64{3, 5, 6}},
		"entry":             {renewer.EventFilter{Certificate: "docker"}, []uint64{1, 2, 5, 6}},
		"name":              {renewer.EventFilter{Certificate: "docker@host-a"}, []uint64{1, 5}},
		"name after":        {renewer.EventFilter{Certificate: "docker@host-a", After: 1}, []uint64{5}},
		"entry after":       {renewer.EventFilter{Certificate: "docker", After: 2}, []uint64{5, 6}},
		"entry newest":      {renewer.EventFilter{Certificate: "docker", Limit: 3}, []uint64{2, 5, 6}},
		"unknown":           {renewer.EventFilter{Certificate: "dock"}, nil},
		"rollouts":          {renewer.EventFilter{Rollouts: []string{"docker@host-a#2", "docker-ui#1"}}, []uint64{4, 5}},
		"rollout and name":  {renewer.EventFilter{Certificate: "docker@host-a", Rollouts: []string{"docker@host-a#1"}}, []uint64{1}},
	} {
		events, err := i.Events(tc.filter)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		var got []uint64
		for _, e := range events {
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", what, got, tc.want)
		}
	}
}

func TestEventsGetATime(t *testing.T) {
	t.Parallel()
	i := open(t)
	got := commit(t, i, renewer.Change{Events: []renewer.Event{{Type: renewer.EventRecovered, Seq: 77}}})
	if !got[0].Time.Equal(epoch) || got[0].Seq != 1 {
		t.Errorf("%+v", got)
	}
}

package inventory

import (
	"fmt"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// seen is the change of a look at a time that found everything as it was.
func seen(name string, at time.Time, hosts ...string) renewer.Change {
	c := issued(name, 1, day(90))
	c.Generation, c.Events = nil, nil
	c.Row = rowOf(gen(name, 1, day(90)), hosts...)
	c.Record.Placements = map[string]renewer.PlacementState{}
	for i, h := range hosts {
		c.Record.Placements[h] = renewer.PlacementState{
			State: renewer.HostVerified, Generation: 1, Matches: true, Served: c.Row.Fingerprint, VerifiedAt: at, ProbedAt: at,
		}
		c.Row.Hosts[i].VerifiedAt = at
	}
	return c
}

// written counts the bytes that a function makes the inventory write.
func written(t testing.TB, i *Inventory, fn func()) int64 {
	t.Helper()
	var before, after bolt.TxStats
	before = i.db.Stats().TxStats
	fn()
	after = i.db.Stats().TxStats
	return (after.GetPageAlloc() - before.GetPageAlloc())
}

// A round of looks that finds nothing new changes the times that are read, and
// writes no record and no row.
func TestARoundThatFindsNothingNewWritesLittle(t *testing.T) {
	t.Parallel()
	i := open(t)
	var first, second []renewer.Change
	for n := range 1000 {
		name := fmt.Sprintf("service%d@host-%d", n%10, n)
		first = append(first, issued(name, 1, day(90)), seen(name, day(1), "b", "a"))
		second = append(second, seen(name, day(2).Add(time.Duration(n)), "b", "a"))
	}
	commit(t, i, first...)
	if err := i.Rows(time.Time{}, func(renewer.Row) bool { return true }); err != nil { // they are kept from now on
		t.Fatal(err)
	}
	if n := written(t, i, func() { commit(t, i, second...) }); n > 100_000 {
		t.Errorf("%d bytes were written", n)
	}
	rows := 0
	err := i.Rows(time.Time{}, func(r renewer.Row) bool {
		rec, _, err := i.Record(r.Name)
		want := rec.Placements["b"].VerifiedAt
		if err != nil || want.Before(day(2)) || !rec.Placements["a"].ProbedAt.Equal(want) || !r.Hosts[0].VerifiedAt.Equal(want) || !r.Hosts[1].VerifiedAt.Equal(want) {
			t.Fatalf("%+v %+v %v", r, rec, err)
		}
		rows++
		return true
	})
	if err != nil || rows != 1000 {
		t.Error(rows, err)
	}
	sound(t, i)
}

// Hosts that come and go keep their own times, in the record and in a row that
// stays as it was.
func TestTimesOfLooksFollowTheirHosts(t *testing.T) {
	t.Parallel()
	i := open(t)
	at := func(host string) time.Time { return day(int(host[0])) }
	for n, hosts := range [][]string{{"b"}, {"b", "d"}, {"a", "b", "c", "d"}, {"d"}, {"d", "a"}} {
		c := issued("web", 1, day(90))
		c.Record.Rollouts, c.Record.Placements = 1+n, map[string]renewer.PlacementState{}
		c.Row = rowOf(c.Generation, hosts...)
		for j, h := range hosts {
			c.Record.Placements[h] = renewer.PlacementState{VerifiedAt: at(h), ProbedAt: at(h)}
			c.Row.Hosts[j].VerifiedAt = at(h)
		}
		if n == 4 {
			c.Row = nil // as it was: of d alone
			hosts = hosts[:1]
		}
		commit(t, i, c, issued(fmt.Sprint("other", n), 1, day(9)))
		rec, _, err := i.Record("web")
		if err != nil || len(rec.Placements) != len(c.Record.Placements) {
			t.Fatal(rec, err)
		}
		for h, st := range rec.Placements {
			if !st.VerifiedAt.Equal(at(h)) || !st.ProbedAt.Equal(at(h)) {
				t.Errorf("step %d, %s: %s", n, h, st.VerifiedAt)
			}
		}
		err = i.Rows(time.Time{}, func(r renewer.Row) bool {
			for j, h := range r.Hosts {
				if r.Name == "web" && (h.Name != hosts[j] || !h.VerifiedAt.Equal(at(h.Name))) {
					t.Errorf("step %d: row %+v", n, r.Hosts)
				}
			}
			return true
		})
		if err != nil {
			t.Error(err)
		}
	}
	sound(t, i)
	if err := i.Reindex(); err != nil {
		t.Fatal(err)
	}
	sound(t, i)
}

package renewer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func departedEntry(usages []Usage, hosts ...string) Certificate {
	c := Certificate{Name: "web", Entry: "web", Issuer: "ca", Usages: usages, Trust: []string{"ca"}}
	for _, h := range hosts {
		c.Placements = append(c.Placements, Placement{Certificate: "web", Host: h, Dir: "/srv", Files: map[FileKind]string{FileCA: "ca.crt"}})
	}
	return c
}

// Whatever leaves an entry and returns is what it was, but that it is looked at
// first; what does not return, stays departed; and the record of before is not changed.
func TestWhatLeavesAndReturnsIsWhatItWas(t *testing.T) {
	t.Parallel()
	hosts := []string{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		usages := rapid.SampledFrom([][]Usage{nil, {UsageServer}, {UsageClient}}).Draw(t, "usages")
		was := Record{Name: "web", Issuer: "ca", Current: 2, Placements: map[string]PlacementState{}}
		for _, h := range hosts {
			if rapid.Bool().Draw(t, "placed on "+h) {
				was.Placements[h] = PlacementState{
					State: HostVerified, Matches: true, Generation: rapid.IntRange(1, 2).Draw(t, "generation"), Revision: "r1-" + h, Origin: OriginIssued,
					Roots: NewRootSet("A"), Dirs: []string{"/srv"}, Layout: "l",
				}
			}
		}
		if len(was.Placements) > 0 {
			was.noteRole(departedEntry(usages, hosts...))
		}
		before := fmt.Sprintf("%+v", was)
		some := rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 3, rapid.ID[string])
		generation := func(n int) *Generation {
			if usages == nil {
				return nil
			}
			return &Generation{Number: n, Request: Request{Issuer: "ca"}, Usages: usages, NotAfter: t0.Add(time.Hour)}
		}
		none := func(string) bool { return false }
		rec := was.Clone()
		rec.forget(departedEntry(usages, some.Draw(t, "stay")...), generation, none, t0)
		back := departedEntry(usages, some.Draw(t, "return")...)
		rec.Rejoin(back, t0.Add(time.Minute))
		rec.forget(back, generation, none, t0.Add(2*time.Minute))
		for _, h := range hosts {
			then, had := was.Placements[h]
			now, has := rec.Placements[h]
			_, in := back.Placement(h)
			left := 0
			for _, d := range rec.Departed {
				if d.Host == h {
					left++
				}
			}
			switch {
			case has != (had && in) || left != map[bool]int{true: 1}[had && !in]:
				t.Fatalf("%s: had %t, in the entry %t: %+v", h, had, in, rec)
			case has && (now.Generation != then.Generation || now.Revision != then.Revision || now.Origin != then.Origin || !now.Roots.Same(then.Roots)):
				t.Fatalf("%s was %+v and is %+v", h, then, now)
			case has && now.Reprobe.IsZero() != now.Matches:
				t.Fatalf("%s is called what it was, and is not looked at: %+v", h, now)
			}
		}
		if after := fmt.Sprintf("%+v", was); after != before {
			t.Fatalf("the record of before was %s and is %s", before, after)
		}
	})
}

func TestATrustBundleCountsUntilItIsLetGo(t *testing.T) {
	t.Parallel()
	rec := Record{Name: "roots", Placements: map[string]PlacementState{"a": {Revision: "r0-1", Roots: NewRootSet("A")}}}
	rec.noteRole(departedEntry(nil, "a"))
	rec.forget(Certificate{Name: "roots"}, func(int) *Generation { return nil }, func(string) bool { return false }, t0)
	if len(rec.Departed) != 1 || rec.Departed[0].Over(t0.AddDate(50, 0, 0)) || !rec.Departed[0].Role.Known() {
		t.Errorf("%+v", rec.Departed)
	}
}

// An entry that inherits has only what is at its own files, under the name that they
// have there until they are placed again.
func TestInheritTakesWhatItsFilesAre(t *testing.T) {
	t.Parallel()
	st := PlacementState{Revision: "r3-1", Generation: 3, Revisions: []Revision{{Name: "r2-1"}}, Roots: NewRootSet("A"), Origin: OriginIssued}
	old := Record{Name: "old", Entry: "old", Current: 3, Latest: 4, Rollouts: 7, Departed: []Departed{{Host: "a", State: &st}, {Host: "b", State: &st}}}
	rec := old.Inherit(departedEntry([]Usage{UsageServer}, "a"), t0)
	a, has := rec.Placements["a"]
	if rec.Name != "web" || rec.Current != 3 || rec.Latest != 4 || rec.Rollouts != 7 || len(rec.Placements) != 1 || len(rec.Departed) != 0 {
		t.Errorf("%+v", rec)
	}
	if !has || !slices.Equal(a.Names, []string{"old"}) || len(a.Revisions) != 0 || !a.Has(3) {
		t.Errorf("%+v", a)
	}
	if len(old.Departed) != 2 || old.Name != "old" || st.Names != nil {
		t.Errorf("what was inherited from was changed: %+v", old)
	}
}

// Where what is placed lies is on a machine, whatever the fleet file calls it: a host that
// is renamed, or names that are exchanged, leave nothing behind; a machine that got another
// address is the host of its name.
func TestWhatIsPlacedStaysWithItsMachine(t *testing.T) {
	t.Parallel()
	entry := func(hosts ...string) Certificate { // HOST=MACHINE
		var names, machines []string
		for _, h := range hosts {
			name, machine, _ := strings.Cut(h, "=")
			names, machines = append(names, name), append(machines, machine)
		}
		c := departedEntry([]Usage{UsageServer}, names...)
		for i := range c.Placements {
			c.Placements[i].Machine = machines[i]
		}
		return c
	}
	generation := func(n int) *Generation {
		return &Generation{Number: n, Usages: []Usage{UsageServer}, NotAfter: t0.Add(time.Hour)}
	}
	for name, tc := range map[string]struct {
		now  []string
		want string // host:the machine on which it was placed, those that left in brackets
	}{
		"as it was":                      {[]string{"a=1", "b=2"}, "a:1 b:2"},
		"renamed":                        {[]string{"a=1", "c=2"}, "a:1 c:2"},
		"exchanged":                      {[]string{"a=2", "b=1"}, "a:2 b:1"},
		"moved on by one":                {[]string{"b=1", "c=2"}, "b:1 c:2"},
		"another address":                {[]string{"a=1", "b=3"}, "a:1 b:2"},
		"its name is another's now":      {[]string{"a=3", "b=1"}, "a:1 b:2"},
		"one left":                       {[]string{"a=1"}, "a:1 (b:2)"},
		"one left, the other is renamed": {[]string{"c=1"}, "c:1 (b:2)"},
		"its name is known no more":      {[]string{"a=1", "c=3"}, "a:1 (b:2)"},
	} {
		for _, recorded := range []bool{false, true} { // that what is not in the entry by name left it
			c := entry(tc.now...)
			layout := entry("a=1").Placements[0].Layout()
			state := func(machine string) PlacementState {
				return PlacementState{Revision: "r1-1", Generation: 1, Origin: OriginIssued, Layout: layout, Machine: machine}
			}
			rec := Record{Name: "web", Placements: map[string]PlacementState{"a": state("1"), "b": state("2")}}
			rec.noteRole(c)
			none := func(string) bool { return false }
			if recorded {
				rec.forget(c, generation, none, t0)
			}
			rec.Rejoin(c, t0)
			rec.forget(c, generation, none, t0)
			var got []string
			for _, host := range slices.Sorted(maps.Keys(rec.Placements)) {
				got = append(got, host+":"+rec.Placements[host].Machine)
			}
			for _, d := range rec.Departed {
				got = append(got, "("+d.Host+":"+d.State.Machine+")")
			}
			if text := strings.Join(got, " "); text != tc.want {
				t.Errorf("%s, recorded %t: %s, want %s", name, recorded, text, tc.want)
			}
		}
	}
}

// What left ends where another certificate was proven in place over all of its files on
// the same machine, and not before.
func TestWhatLeftEndsWhenAllItsFilesAreReplaced(t *testing.T) {
	t.Parallel()
	type scene struct {
		left Departed
		host string
		by   PlacementState
		role Role
		now  time.Time
	}
	files := []string{"ca.crt", "tls.crt", "tls.key"}
	for name, x := range map[string]struct {
		edit func(*scene)
		want bool
	}{
		"all of them":            {func(*scene) {}, true},
		"and more":               {func(s *scene) { s.by.Files = append(slices.Clone(files), "full.pem") }, true},
		"another host name":      {func(s *scene) { s.host = "b" }, true},
		"machines are not known": {func(s *scene) { s.left.State.Machine = "" }, true},
		"not known, other host":  {func(s *scene) { s.left.State.Machine, s.host = "", "b" }, false},
		"another machine":        {func(s *scene) { s.by.Machine = "m2" }, false},
		"another directory":      {func(s *scene) { s.by.Dirs = []string{"/srv/b", "/srv/a"} }, false},
		"another key file":       {func(s *scene) { s.by.Files = []string{"ca.crt", "tls.crt", "web.key"} }, false},
		"no ca file":             {func(s *scene) { s.by.Files = files[1:] }, false},
		"files not known":        {func(s *scene) { s.left.State.Files = nil }, false},
		"nothing known":          {func(s *scene) { s.left.State = nil }, false},
		"found, not issued":      {func(s *scene) { s.by.Origin = OriginForeign }, false},
		"not proven":             {func(s *scene) { s.by.Matches = false }, false},
		"something else is seen": {func(s *scene) { s.by.Seen = &Seen{} }, false},
		"between generations":    {func(s *scene) { s.by.Interrupted = &Step{} }, false},
		"its service may run on": {func(s *scene) { s.left.Role.Activates = true }, false},
		"a service is restarted": {func(s *scene) { s.left.Role.Activates, s.role.Activates = true, true }, true},
		"it is not read yet":     {func(s *scene) { s.left.Role.Settle = time.Hour }, false},
		"it is read by then":     {func(s *scene) { s.left.Role.Settle, s.now = time.Hour, t0.Add(time.Hour) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := PlacementState{Machine: "m1", Dirs: []string{"/srv/a"}, Files: files, Origin: OriginIssued, Matches: true, PlacedAt: t0}
			was := st
			s := scene{left: Departed{Host: "a", State: &was}, host: "a", by: st, now: t0}
			x.edit(&s)
			if got := s.left.Replaced(s.host, s.by, s.role, s.now); got != x.want {
				t.Errorf("replaced: %t", got)
			}
		})
	}
}

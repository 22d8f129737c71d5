package rotation

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

func begun() Rotation {
	return Rotation{
		Issuer: "fleet-ca", Kind: Made, Stage: AddRoot, StartedAt: start, StageAt: start,
		From: CA{Subject: "CN=old", Fingerprint: "old", Root: "old-root"}, To: CA{Subject: "CN=new", Fingerprint: "new", Root: "new-root"},
	}
}

func on(hosts ...string) (list []Holder) {
	for _, host := range hosts {
		list = append(list, Holder{Name: "cli@" + host, Certificate: "cli", Host: host, Why: "cli@" + host + " waits"})
	}
	return list
}

// gone are placements that left the fleet file.
func gone(hosts ...string) []Holder {
	list := on(hosts...)
	for i := range list {
		list[i].Left, list[i].Blocked = true, true
	}
	return list
}

// stopped are placements whose files are replaced, and whose service is not there.
func stopped(hosts ...string) []Holder {
	list := on(hosts...)
	for i := range list {
		list[i].Replaced, list[i].Blocked = true, true
	}
	return list
}

func switched(r Rotation) Rotation {
	r.Stage, r.SwitchedAt = Reissue, start.Add(time.Hour)
	return r
}

func TestStagesFollowFromWhatIsInPlace(t *testing.T) {
	t.Parallel()
	before, after := Observed{Signing: "old", Next: "new"}, Observed{Signing: "new"}
	with := func(o Observed, f func(*Observed)) Observed { f(&o); return o }
	changed := func(r Rotation, f func(*Rotation)) Rotation { f(&r); return r }
	for name, c := range map[string]struct {
		r     Rotation
		o     Observed
		at    time.Duration
		stage Stage
		sw    bool
		wait  int
	}{
		"a verifier lacks the root":             {begun(), with(before, func(o *Observed) { o.Lacking = on("a", "b") }), 0, AddRoot, false, 2},
		"everybody has it":                      {begun(), before, 0, AddRoot, true, 0},
		"goes on without a host":                {changed(begun(), func(r *Rotation) { r.Without = []string{"b"} }), with(before, func(o *Observed) { o.Lacking = on("b") }), 0, AddRoot, true, 0},
		"it cannot sign for long":               {begun(), with(before, func(o *Observed) { o.Lacking, o.SwitchBy = on("a"), start }), 0, AddRoot, true, 1},
		"it can sign for a while":               {begun(), with(before, func(o *Observed) { o.Lacking, o.SwitchBy = on("a"), start.Add(1) }), 0, AddRoot, false, 1},
		"compromised":                           {changed(begun(), func(r *Rotation) { r.Compromised = true }), with(before, func(o *Observed) { o.Lacking = on("a") }), 0, AddRoot, true, 1},
		"the next CA is another":                {begun(), with(before, func(o *Observed) { o.Next = "" }), 0, AddRoot, false, 0},
		"the next CA cannot sign":               {changed(begun(), func(r *Rotation) { r.Compromised = true }), with(before, func(o *Observed) { o.NextErr = errors.New("passphrase") }), 0, AddRoot, false, 0},
		"taken back":                            {changed(begun(), func(r *Rotation) { r.CancelledAt = start }), with(before, func(o *Observed) { o.Holding = on("a") }), 0, Cancel, false, 1},
		"taken back, and gone":                  {changed(begun(), func(r *Rotation) { r.CancelledAt = start }), before, 0, Cancelled, false, 0},
		"another CA signs since":                {switched(begun()), Observed{Signing: "third", Followed: true, Holding: on("a")}, 0, DropRoot, false, 1},
		"and it was to be recorded still":       {begun(), Observed{Signing: "third", Followed: true}, 0, Done, false, 0},
		"somebody else's CA signs":              {begun(), Observed{Signing: "third", Next: "new"}, 0, AddRoot, true, 0},
		"a crash after the switch":              {begun(), with(after, func(o *Observed) { o.Presenting = on("a") }), 0, Reissue, false, 1},
		"taken back too late":                   {changed(begun(), func(r *Rotation) { r.CancelledAt = start }), with(after, func(o *Observed) { o.Presenting = on("a") }), 0, Reissue, false, 1},
		"all are reissued":                      {switched(begun()), with(after, func(o *Observed) { o.Holding = on("a", "b") }), 0, DropRoot, false, 2},
		"one comes back to it":                  {changed(switched(begun()), func(r *Rotation) { r.Stage = DropRoot }), with(after, func(o *Observed) { o.Presenting, o.Holding = on("a"), on("b") }), 0, Reissue, false, 1},
		"the old root is kept":                  {changed(switched(begun()), func(r *Rotation) { r.Keep = time.Hour }), with(after, func(o *Observed) { o.Holding = on("a") }), 119 * time.Minute, Keep, false, 0},
		"it was kept":                           {changed(switched(begun()), func(r *Rotation) { r.Keep = time.Hour }), with(after, func(o *Observed) { o.Holding = on("a") }), 2 * time.Hour, DropRoot, false, 1},
		"kept though compromised":               {changed(switched(begun()), func(r *Rotation) { r.Keep, r.Compromised = time.Hour, true }), with(after, func(o *Observed) { o.Holding = on("a") }), 0, DropRoot, false, 1},
		"no one holds it":                       {switched(begun()), after, 0, Done, false, 0},
		"no one but one without":                {changed(switched(begun()), func(r *Rotation) { r.Without = []string{"a"} }), with(after, func(o *Observed) { o.Presenting, o.Holding = on("a"), on("a") }), 0, Done, false, 0},
		"one left the fleet file":               {begun(), with(before, func(o *Observed) { o.Lacking = gone("a") }), 0, AddRoot, false, 1},
		"what left presents one":                {switched(begun()), with(after, func(o *Observed) { o.Presenting = gone("a") }), 0, Reissue, false, 1},
		"what left holds it":                    {switched(begun()), with(after, func(o *Observed) { o.Holding = append(on("b"), gone("a")...) }), 0, DropRoot, false, 1},
		"what left holds it alone":              {switched(begun()), with(after, func(o *Observed) { o.Holding = gone("a") }), 0, Done, false, 0},
		"compromised, and what left too":        {changed(switched(begun()), func(r *Rotation) { r.Compromised = true }), with(after, func(o *Observed) { o.Presenting, o.Holding = gone("a"), gone("a") }), 0, Done, false, 0},
		"compromised, and a service is stopped": {changed(switched(begun()), func(r *Rotation) { r.Compromised = true }), with(after, func(o *Observed) { o.Presenting, o.Holding = stopped("a"), on("b") }), 0, DropRoot, false, 1},
		"a service is stopped":                  {switched(begun()), with(after, func(o *Observed) { o.Presenting = stopped("a") }), 0, Reissue, false, 1},
		"taken back without a host":             {changed(begun(), func(r *Rotation) { r.CancelledAt, r.Without = start, []string{"a"} }), with(before, func(o *Observed) { o.Holding = on("a") }), 0, Cancelled, false, 0},
		"both under one root":                   {changed(switched(begun()), func(r *Rotation) { r.To.Root = r.From.Root }), with(after, func(o *Observed) { o.Holding = on("a") }), 0, Done, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := Decide(c.r, c.o, start.Add(c.at))
			if d.Stage != c.stage || d.Switch != c.sw || len(d.Wait.For) != c.wait {
				t.Errorf("%+v", d)
			}
			if failing := c.o.Next == "" && c.o.Signing == "old" || c.o.NextErr != nil; failing != (d.Wait.Err != nil) || failing && !d.Wait.Blocked() {
				t.Errorf("%+v", d.Wait)
			}
		})
	}
}

// What was asked for with a rotation that was taken back does not hold; the root of its
// next CA, which never signed, is to go.
func TestARotationThatTakesOverFromOneTakenBack(t *testing.T) {
	t.Parallel()
	was := begun()
	was.CancelledAt, was.Now, was.Keep, was.Without = start, true, time.Hour, []string{"a"}
	r := begun()
	r.To = CA{Subject: "CN=third", Fingerprint: "third", Root: "third-root"}
	r = r.TakeOver(was)
	if r.Now || r.Keep != 0 || r.Without != nil || r.Compromised {
		t.Errorf("%+v", r)
	}
	if old := r.Old(); len(old) != 2 || old[0].Root != "old-root" || old[0].TakenBack || old[1].Root != "new-root" || !old[1].TakenBack {
		t.Errorf("%+v", old)
	}
}

func TestAWaitNeedsSomebodyWhereNothingMoves(t *testing.T) {
	t.Parallel()
	away, blocked, moving := Holder{Away: true}, Holder{Blocked: true}, Holder{}
	for _, c := range []struct {
		w    Wait
		want bool
	}{
		{Wait{}, false}, {Wait{Err: errNextGone}, true}, {Wait{For: []Holder{away, blocked}}, true}, {Wait{For: []Holder{away, moving}}, false},
	} {
		if c.w.Blocked() != c.want {
			t.Errorf("%+v", c.w)
		}
	}
}

// A rotation in a fleet in which anything happens in any order: its stages only go
// on, signing is switched only when everybody is ready or it has to be, a root is
// called gone only when it may be, and once nothing happens any more it ends.
func TestARotationEndsWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"a", "b", "c"}
		r, o, now := begun(), Observed{Signing: "old", Next: "new"}, start
		r.Compromised, r.Keep = rapid.Bool().Draw(t, "compromised"), time.Duration(rapid.IntRange(0, 2).Draw(t, "keep"))*time.Hour
		lacking, presenting, holding := slices.Clone(hosts), slices.Clone(hosts), []string{}
		takeOne := func(from *[]string, what string) {
			if len(*from) > 0 {
				i := rapid.IntRange(0, len(*from)-1).Draw(t, what)
				*from = slices.Delete(slices.Clone(*from), i, i+1)
			}
		}
		var seen []Stage
		for n := 0; !r.Stage.Over(); n++ {
			if n > 200 {
				t.Fatalf("at stage %s after all that: %+v", r.Stage, o)
			}
			quiet := n > 100 // then only what goes on by itself
			switch what := rapid.IntRange(0, 6).Draw(t, "what"); {
			case what <= 1 && r.Stage == AddRoot:
				takeOne(&lacking, "has it")
			case what <= 2 && o.Signing == "new" && len(presenting) > 0:
				takeOne(&presenting, "reissued")
			case what <= 3 && len(holding) > 0:
				takeOne(&holding, "dropped")
			case what == 4:
				now = now.Add(time.Hour)
			case what == 5 && !quiet && o.Signing == "old" && rapid.IntRange(0, 20).Draw(t, "cancel") == 0 && r.CancelledAt.IsZero():
				r.CancelledAt, o.Next, holding = now, "", slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return slices.Contains(lacking, h) })
			case what == 6 && !quiet && rapid.IntRange(0, 20).Draw(t, "without") == 0:
				r.Without = append(r.Without, rapid.SampledFrom(hosts).Draw(t, "host"))
			}
			o.Lacking, o.Presenting, o.Holding = on(lacking...), on(presenting...), on(holding...)
			d := Decide(r, o, now)
			if again := Decide(r, o, now); again.Stage != d.Stage || again.Switch != d.Switch {
				t.Fatalf("another answer: %+v, %+v", d, again)
			}
			if d.Switch {
				if len(r.waitFor(o.Lacking)) > 0 && !r.Compromised || !r.CancelledAt.IsZero() || o.Next != "new" {
					t.Fatalf("switched at %+v %+v", r, o)
				}
				if rapid.Bool().Draw(t, "crash") { // before it is recorded
					o.Signing, o.Next = "new", ""
					continue
				}
				o.Signing, o.Next = "new", ""
				d = Decide(r, o, now)
			}
			if o.Signing == "new" && r.SwitchedAt.IsZero() {
				r.SwitchedAt = now
			}
			if d.Stage == DropRoot && r.Stage != DropRoot && r.CancelledAt.IsZero() {
				holding = slices.Clone(hosts)
			}
			if d.Stage == Done && len(r.waitFor(on(presenting...))) > 0 && r.Gone() == nil {
				t.Fatalf("done, and presented: %v", presenting)
			}
			if d.Stage == Keep && !now.Before(r.KeepUntil()) {
				t.Fatal("kept too long")
			}
			if d.Stage != r.Stage {
				seen, r.Stage = append(seen, d.Stage), d.Stage
			}
		}
		order := []Stage{AddRoot, Reissue, Keep, DropRoot, Done}
		if r.Stage == Cancelled {
			order = []Stage{Cancel, Cancelled}
		}
		at := -1
		for _, s := range seen {
			i := slices.Index(order, s)
			if i <= at {
				t.Fatalf("stages %v", seen)
			}
			at = i
		}
	})
}

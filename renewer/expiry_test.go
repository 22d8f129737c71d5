package renewer

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestThresholds(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		life time.Duration
		want [5]time.Duration // before the end
	}{
		{365 * aDay, [5]time.Duration{30 * aDay, 14 * aDay, 7 * aDay, 3 * aDay, aDay}},
		{90 * aDay, [5]time.Duration{30 * aDay, 14 * aDay, 7 * aDay, 3 * aDay, aDay}},
		{aDay, [5]time.Duration{8 * time.Hour, 224 * time.Minute, 112 * time.Minute, 48 * time.Minute, 16 * time.Minute}},
	} {
		g := Generation{Number: 1, IssuedAt: begin, NotAfter: begin.Add(c.life), RenewAt: begin}
		for n, before := range c.want {
			at := g.NotAfter.Add(-before)
			if passed(g, at.Add(-2*time.Second)) != n || passed(g, at.Add(2*time.Second)) != n+1 {
				t.Errorf("life %s: threshold %d is not %s before the end", c.life, n, before)
			}
			if next := nextThreshold(g, at.Add(-2*time.Second)); next.Sub(at).Abs() > 2*time.Second {
				t.Errorf("life %s: the next is %s before the end, want %s", c.life, g.NotAfter.Sub(next), before)
			}
		}
		if next := nextThreshold(g, g.NotAfter); !next.IsZero() {
			t.Errorf("life %s: there is a threshold after the end: %s", c.life, next)
		}
	}
}

func TestExpiringOnlyWhereNoRenewalIsOnItsWay(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	g := Generation{Number: 2, IssuedAt: begin, NotAfter: begin.Add(90 * aDay), RenewAt: begin.Add(60 * aDay)}
	at := func(daysLeft float64) time.Time { return g.NotAfter.Add(-time.Duration(daysLeft * float64(aDay))) }
	rollout := func(phase Phase, kind Kind, began float64, problem string) *Rollout {
		return &Rollout{Kind: kind, Phase: phase, StartedAt: at(began), Error: problem}
	}
	late := g
	late.RenewAt = at(1.5)
	for name, c := range map[string]struct {
		g     Generation
		rec   Record
		left  float64
		want  int // thresholds passed; 0: not reported
		noted ExpiryNote
	}{
		"long before":                       {g, Record{}, 40, 0, ExpiryNote{}},
		"renewal failed":                    {g, Record{Rollout: rollout(PhaseOrdering, KindIssue, 30, "no answer")}, 20, 1, ExpiryNote{}},
		"reported already":                  {g, Record{Rollout: rollout(PhaseOrdering, KindIssue, 30, "no answer")}, 20, 0, ExpiryNote{2, 1}},
		"the one before was reported":       {g, Record{Rollout: rollout(PhaseOrdering, KindIssue, 30, "no answer")}, 20, 1, ExpiryNote{1, 5}},
		"the next threshold":                {g, Record{Rollout: rollout(PhaseOrdering, KindIssue, 30, "no answer")}, 13.9, 2, ExpiryNote{2, 1}},
		"after a long sleep, the last one":  {g, Record{}, 0.5, 5, ExpiryNote{2, 1}},
		"blocked":                           {g, Record{Rollout: rollout(PhaseBlocked, KindIssue, 30, "x")}, 10, 2, ExpiryNote{}},
		"blocked, and the time is to come":  {late, Record{Rollout: rollout(PhaseBlocked, KindPlace, 30, "x")}, 10, 0, ExpiryNote{}},
		"under way":                         {g, Record{Rollout: rollout(PhaseRolling, KindIssue, 20, "")}, 13.9, 0, ExpiryNote{}},
		"under way for two thresholds":      {g, Record{Rollout: rollout(PhaseRolling, KindIssue, 30, "")}, 13.9, 2, ExpiryNote{}},
		"under way since the last one":      {g, Record{Rollout: rollout(PhaseRolling, KindIssue, 29, "")}, 13.9, 0, ExpiryNote{}},
		"renewed late, as the file says":    {late, Record{}, 2, 0, ExpiryNote{}},
		"renewed late, and that time came":  {late, Record{}, 1.4, 4, ExpiryNote{}},
		"expired is another event":          {g, Record{}, -1, 0, ExpiryNote{}},
		"nothing planned though it is time": {g, Record{}, 29, 1, ExpiryNote{}},
	} {
		c.rec.ExpiringNoted = c.noted
		note, ok := c.rec.Expiring(c.g, at(c.left))
		if ok != (c.want > 0) || ok && note != (ExpiryNote{2, c.want}) {
			t.Errorf("%s: %+v, %v; want %d", name, note, ok, c.want)
		}
	}
	rec := Record{Rollout: rollout(PhaseRolling, KindIssue, 30, "")}
	rec.Rollout.Steps = []Step{{Host: "a", State: StepPending, Error: errors.New("no route").Error()}}
	if _, ok := rec.Expiring(g, at(20)); !ok {
		t.Error("a host that cannot be reached is no problem")
	}
}

// Each threshold is reported once a generation, whatever happens in between and
// however often it is asked, restarts included: the note is in the record.
func TestAThresholdIsReportedOnce(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(time.Minute), int64(400*aDay)).Draw(t, "life"))
		g := Generation{Number: 1, IssuedAt: begin, NotAfter: begin.Add(life), RenewAt: begin.Add(life / 2)}
		var rec Record
		told := 0
		for now := begin; now.Before(g.NotAfter.Add(life)); now = now.Add(time.Duration(rapid.Int64Range(1, int64(life/3)).Draw(t, "step"))) {
			note, ok := rec.Expiring(g, now)
			if !ok {
				continue
			}
			if told++; note.Passed <= rec.ExpiringNoted.Passed || note.Passed > len(thresholdDays) || !now.Before(g.NotAfter) {
				t.Fatalf("%+v after %+v", note, rec.ExpiringNoted)
			}
			rec.ExpiringNoted = note
			if _, again := rec.Expiring(g, now); again {
				t.Fatal("reported twice")
			}
		}
		if told > len(thresholdDays) {
			t.Fatalf("reported %d times", told)
		}
	})
}

func TestTheApproachOfAnEndSaysHowItsRenewalStands(t *testing.T) {
	t.Parallel()
	c := entry("web", "a")
	now := t0.Add(85 * aDay)
	g := *generation(c, 1, t0)
	const ends = "expires at 2026-04-01T00:00:00Z; "
	rec := inPlace(c, 1)
	say := func(want string, waits ...Waiting) {
		t.Helper()
		if got := rec.ExpiringText(g, waits); got != ends+want {
			t.Errorf("got  %s\nwant %s", got, ends+want)
		}
	}
	say("no renewal is in progress")
	rec.begin(Issue(c, Reason{ReasonRenewTime, "renew time has come"}))
	say("its renewal, started at 2026-01-01T00:00:00Z, is not done")
	rec.Rollout.Attempts, rec.Rollout.Error, rec.Rollout.NextAt = 7, "down", now.Add(time.Hour)
	say("its renewal is not finished: 7 attempts failed; next retry at 2026-03-27T01:00:00Z", rec.Rollout.Next(c, Conditions{Now: now, WindowOpen: true}).Waiting...)
	rec.Rollout.Phase, rec.Rollout.EndedAt = PhaseBlocked, now.Add(-5*aDay)
	say("its renewal is blocked: needs manual action; next automatic retry at 2026-03-27T00:00:00Z")
}

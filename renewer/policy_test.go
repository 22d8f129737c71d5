package renewer

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRenewTimeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(20*time.Second), int64(10*365*24*time.Hour)).Draw(t, "lifetime"))
		policy := Renewal{
			At:     Share(rapid.Float64Range(0, 0.99).Draw(t, "at")),
			Before: time.Duration(rapid.Int64Range(0, int64(2*life)).Draw(t, "before")),
			Jitter: Share(rapid.Float64Range(0, 0.5).Draw(t, "jitter")),
			Lead:   time.Duration(rapid.Int64Range(0, int64(2*life)).Draw(t, "lead")),
		}
		g := Generation{IssuedAt: t0, NotBefore: t0.Add(-time.Minute), NotAfter: t0.Add(life), Fingerprint: rapid.String().Draw(t, "fingerprint")}
		at := policy.Time(g)
		if earliest := t0.Add(min(time.Minute, life/10)).Truncate(time.Second); at.Before(earliest) {
			t.Fatalf("renewed at %s, before %s: a loop", at, earliest)
		}
		if !at.Before(g.NotAfter) {
			t.Fatalf("renewed at %s, not before the end %s", at, g.NotAfter)
		}
		if again := policy.Time(g); !again.Equal(at) {
			t.Fatalf("%s, then %s", at, again)
		}
		if lead := policy.Lead; lead > 0 && lead <= MostLead(life) && at.After(g.NotAfter.Add(-lead)) && at.After(t0.Add(min(time.Minute, life/10))) {
			t.Fatalf("renewed at %s, less than %s before it expires at %s", at, lead, g.NotAfter)
		}
		steady := policy
		steady.Jitter = 0
		if at.After(steady.Time(g)) {
			t.Fatal("jitter made it later")
		}
		now := t0.Add(time.Duration(rapid.Int64Range(0, int64(life)-1).Draw(t, "now")))
		g.RenewAt = at
		if held := policy.AfterRollback(g, now); held.Before(now.Truncate(time.Second)) || !held.Before(g.NotAfter) && life > time.Minute {
			t.Fatalf("a rollback at %s holds until %s, its end is %s", now, held, g.NotAfter)
		}
	})
}

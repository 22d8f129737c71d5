package renewer

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A suggestion brings a renewal forward and never puts it off; and of certificates that
// are replaced at once, each second one is kept for a day, or a tenth of its life.
func TestASuggestionMakesNoLoop(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(time.Hour), int64(400*24*time.Hour)).Draw(t, "life"))
		issued := time.Unix(1e9, 0).UTC()
		g := Generation{IssuedAt: issued, NotAfter: issued.Add(life), RenewAt: issued.Add(2 * life / 3), Fingerprint: "ab"}
		by := issued.Add(time.Duration(rapid.Int64Range(-int64(life), int64(life)).Draw(t, "by")))
		at, sooner := Suggestion{By: by}.Sooner(g, nil)
		if sooner != by.Truncate(time.Second).Before(g.RenewAt) || sooner && !at.Before(g.RenewAt) {
			t.Fatalf("by %s: %s, %t", by, at, sooner)
		}
		before := Generation{IssuedAt: issued.Add(-time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "age")))}
		least := min(24*time.Hour, life/10)
		at, sooner = Suggestion{By: by}.Sooner(g, &before)
		if sooner && g.IssuedAt.Sub(before.IssuedAt) < least && at.Before(issued.Add(least).Truncate(time.Second)) {
			t.Fatalf("after one of %s: at %s", g.IssuedAt.Sub(before.IssuedAt), at)
		}
	})
	if _, sooner := (Suggestion{}).Sooner(Generation{RenewAt: time.Unix(1e9, 0)}, nil); sooner {
		t.Error("no opinion brings it forward")
	}
}

// The deadline of a certificate that was given less than asked for is within its life.
func TestTheDeadlineFollowsTheLifetimeGiven(t *testing.T) {
	t.Parallel()
	issued := time.Unix(1e9, 0).UTC()
	const day = 24 * time.Hour
	c := Certificate{Lifetime: 90 * day, OverrideBefore: 7 * day}
	for given, want := range map[time.Duration]time.Duration{90 * day: 7 * day, 160 * time.Hour: 16 * time.Hour} {
		g := Generation{Request: Request{Lifetime: c.Lifetime}, IssuedAt: issued, NotAfter: issued.Add(given)}
		if got := g.NotAfter.Sub(c.Deadline(&g).About); got != want {
			t.Errorf("of %s: %s before the end, want %s", given, got, want)
		}
	}
}

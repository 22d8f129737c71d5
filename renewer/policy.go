package renewer

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Defaults of the fleet file.
const (
	DefaultRenewAt = Share(0.67)
	DefaultJitter  = Share(0.05)
)

// Time returns when the generation is due. Shares count from issuance, not
// from the backdated notBefore, and the result is at least
// min(1 min, 10 % of the lifetime) after issuance: no policy and no lifetime,
// however short, can make a renewal loop. Jitter comes from the fingerprint,
// so that it is the same after a restart.
func (r Renewal) Time(g Generation) time.Time {
	life := g.NotAfter.Sub(g.IssuedAt)
	if life <= 0 {
		return g.NotAfter
	}
	at := g.IssuedAt.Add(part(life, r.At))
	if r.Before > 0 && r.Before < life {
		at = g.NotAfter.Add(-r.Before)
	} else if r.Before > 0 || r.At <= 0 {
		// An issuer that shortened the lifetime below renew_before.
		at = g.IssuedAt.Add(part(life, DefaultRenewAt))
	}
	if by := g.NotAfter.Add(-r.Lead); r.Lead > 0 && by.Before(at) && r.Lead <= MostLead(life) {
		at = by
	}
	at = at.Add(-part(part(life, r.Jitter), fraction(g.Fingerprint)))
	if earliest := g.IssuedAt.Add(min(time.Minute, life/10)); at.Before(earliest) {
		at = earliest
	}
	return at.UTC().Truncate(time.Second)
}

// AfterRollback returns the renew time of a generation that a rollback restored at now:
// its own, or, when that has passed, the same share of what is left of it.
func (r Renewal) AfterRollback(g Generation, now time.Time) time.Time {
	if g.RenewAt.After(now) {
		return g.RenewAt
	}
	g.IssuedAt = now
	return r.Time(g)
}

// Suggestion is until when an issuer wants a certificate renewed at the latest, and why:
// it may be about to revoke it. Zero: it has no opinion.
type Suggestion struct {
	By    time.Time
	Why   string
	Again time.Duration // after which it wants to be asked again
}

// leastKept is how long the second of two certificates is kept whatever an issuer
// suggests, where the first was not: one that wants every certificate replaced at once
// must not make a renewal loop.
const leastKept = 24 * time.Hour

// Sooner returns when a generation is due by a suggestion; ok is false where that is no
// sooner than it is due anyway. before is the generation before it; nil for none.
func (s Suggestion) Sooner(g Generation, before *Generation) (at time.Time, ok bool) {
	at = s.By
	least := min(leastKept, g.given()/10)
	if earliest := g.IssuedAt.Add(least); before != nil && g.IssuedAt.Sub(before.IssuedAt) < least && at.Before(earliest) {
		at = earliest
	}
	at = at.UTC().Truncate(time.Second)
	return at, !s.By.IsZero() && at.Before(g.RenewAt)
}

// Pick returns a time between two, the same one for a certificate each time.
func Pick(start, end time.Time, fingerprint string) time.Time {
	return start.Add(part(max(end.Sub(start), 0), fraction(fingerprint)))
}

func part(d time.Duration, s Share) time.Duration { return time.Duration(float64(d) * float64(s)) }

// fraction derives a number in [0, 1) from text.
func fraction(s string) Share {
	sum := sha256.Sum256([]byte(s))
	return Share(float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53))
}

// Backoff bounds: first retry after a minute, never later than six hours.
const (
	BackoffFirst = time.Minute
	BackoffMax   = 6 * time.Hour
)

// Backoff returns how long to wait after the given number of failed attempts
// (1 or more), doubling, less up to a quarter that depends on what is retried.
func Backoff(attempts int, what string) time.Duration {
	d := BackoffMax
	if attempts < 10 {
		d = min(BackoffFirst<<max(attempts-1, 0), BackoffMax)
	}
	return d - part(d/4, fraction(what))
}

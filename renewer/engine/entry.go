package engine

import (
	"time"

	"renewer/renewer"
)

// entry is one certificate with a rollout under way.
type entry struct {
	cert    renewer.Certificate
	rec     renewer.Record
	current *renewer.Generation
	rolling *renewer.Generation
}

// clone returns a copy to change; it takes the place of the entry only when
// that is recorded.
func (en *entry) clone() *entry {
	return &entry{cert: en.cert, rec: en.rec.Clone(), current: en.current, rolling: en.rolling}
}

// close ends the open or blocked rollout of an entry.
func (en *entry) close(phase renewer.Phase, why string, now time.Time) (*renewer.Rollout, []renewer.Event) {
	r := *en.rec.Rollout
	wasOver := r.Phase.Over()
	r.Phase, r.EndedAt, r.Error = phase, now, why
	en.rec.Rollout, en.rolling = nil, nil
	ev := renewer.Event{
		Time: now, Type: renewer.EventRolloutSuperseded, Certificate: r.Certificate, Generation: r.Generation, Rollout: r.ID, Message: why,
	}
	if wasOver {
		return nil, []renewer.Event{ev} // it is in the history already, as blocked
	}
	return &r, []renewer.Event{ev}
}

// start makes a rollout the one under way. It is recorded before anything is
// done because of it.
func (en *entry) start(r *renewer.Rollout, now time.Time) renewer.Event {
	en.rec.Rollouts++
	r.ID, r.StartedAt = renewer.RolloutID(en.cert.Name, en.rec.Rollouts), now
	en.rec.Rollout = r
	if r.Kind == renewer.KindPlace {
		en.rolling = en.current
	}
	return renewer.Event{
		Time: now, Type: renewer.EventRolloutPlanned, Certificate: en.cert.Name, Generation: r.Generation, Rollout: r.ID, Message: string(r.Kind) + ": " + r.Why(),
	}
}

// expire notes once that the current generation has ended.
func (en *entry) expire(now time.Time) (renewer.Event, bool) {
	g := en.current
	if g == nil || now.Before(g.NotAfter) || en.rec.ExpiredNoted == g.Number {
		return renewer.Event{}, false
	}
	en.rec.ExpiredNoted = g.Number
	return renewer.Event{
		Time: now, Type: renewer.EventExpired, Certificate: en.cert.Name, Generation: g.Number,
		Message: "it ended at " + g.NotAfter.Format(time.RFC3339),
	}, true
}

// expiring notes once a threshold that its end is near and its renewal is not
// on its way as it should be; to be asked when what is planned is in the record.
func (en *entry) expiring(waits func(*entry, time.Time) renewer.Waits, now time.Time) (renewer.Event, bool) {
	if en.current == nil {
		return renewer.Event{}, false
	}
	note, near := en.rec.Expiring(*en.current, now)
	if !near {
		return renewer.Event{}, false
	}
	en.rec.ExpiringNoted = note
	text, hint := en.rec.Trouble()
	if hint == "" {
		hint = "renewer show " + en.cert.Name + " says why; renewer renew " + en.cert.Name + " tries now"
	}
	return renewer.Event{
		Time: now, Type: renewer.EventExpiring, Certificate: en.cert.Name, Generation: en.current.Number,
		Message: en.rec.ExpiringText(*en.current, waits(en, now), now), Error: text, Hint: hint,
	}, true
}

// reschedule moves the renew time when the fleet file's policy changed.
func (en *entry) reschedule(now time.Time) (renewer.Event, bool) {
	if en.current == nil || en.current.Renewal == en.cert.Renewal {
		return renewer.Event{}, false
	}
	g := *en.current
	g.Renewal, g.RenewAt = en.cert.Renewal, en.cert.Renewal.Time(g)
	en.current = &g
	return renewer.Event{
		Time: now, Type: renewer.EventRescheduled, Certificate: en.cert.Name, Generation: g.Number,
		Message: "renew time is now " + g.RenewAt.Format(time.RFC3339),
	}, true
}

// nextAt is when a certificate is looked at again: never at once, so that one
// that waits for an answer does not keep the loop busy.
func nextAt(en *entry, now time.Time) time.Time {
	at := renewer.NextAt(en.cert, en.rec, en.current, en.rolling, now)
	if en.rec.Asked != nil && !en.open() {
		return now
	}
	if !at.IsZero() && !at.After(now) {
		at = now.Add(time.Minute)
	}
	return at
}

// open reports whether a rollout is under way.
func (en *entry) open() bool { return en.rec.Rollout != nil && !en.rec.Rollout.Phase.Over() }

package rotation

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Decision is what follows from what is observed.
type Decision struct {
	Stage  Stage
	Switch bool // the next CA is to sign from now on
	Wait   Wait
}

// Wait is what a stage waits for. Nothing for a stage that has ended.
type Wait struct {
	For   []Holder
	Err   error     // besides, or instead: what is wrong with the CAs
	Until time.Time // when it goes on whatever they do; zero: not by time
}

// Blocked reports whether nothing goes on without manual action: a CA that
// cannot be opened, or all that is waited for is away or blocked.
func (w Wait) Blocked() bool {
	moving := func(h Holder) bool { return !h.Away && !h.Blocked }
	return w.Err != nil || len(w.For) > 0 && !slices.ContainsFunc(w.For, moving)
}

var errNextGone = errors.New("its file has another CA")

// Decide returns the stage of a rotation as of now. It is pure: the same answer
// for the same arguments.
func Decide(r Rotation, o Observed, now time.Time) Decision {
	switch {
	case r.Stage.Over():
		return Decision{Stage: r.Stage}
	case r.Switched(o):
		return after(r, o, now)
	case !r.CancelledAt.IsZero():
		return left(Observed{Holding: r.waitFor(o.Holding)}, Cancel, Cancelled)
	case o.NextErr != nil:
		return Decision{Stage: AddRoot, Wait: Wait{Err: fmt.Errorf("the next CA %s cannot sign yet: %w", r.To.Subject, o.NextErr), For: r.waitFor(o.Lacking)}}
	case o.Next != r.To.Fingerprint:
		return Decision{Stage: AddRoot, Wait: Wait{Err: fmt.Errorf("the next CA %s cannot sign: %w", r.To.Subject, errNextGone)}}
	}
	wait := Wait{For: r.waitFor(o.Lacking), Until: o.SwitchBy}
	if end := ends(wait.For); !end.IsZero() && (wait.Until.IsZero() || end.Before(wait.Until)) {
		wait.Until = end
	}
	due := !o.SwitchBy.IsZero() && !now.Before(o.SwitchBy)
	return Decision{Stage: AddRoot, Switch: r.Compromised || due || len(wait.For) == 0, Wait: wait}
}

// after decides once signing is switched.
func after(r Rotation, o Observed, now time.Time) Decision {
	if presenting := r.waitFor(o.Presenting); len(presenting) > 0 && r.Gone() == nil {
		return Decision{Stage: Reissue, Wait: Wait{For: presenting, Err: o.SigningErr, Until: ends(presenting)}}
	}
	if r.Trusts(now) {
		return Decision{Stage: Keep, Wait: Wait{Until: r.KeepUntil()}}
	}
	if len(r.Old()) == 0 {
		return Decision{Stage: Done}
	}
	return left(Observed{Holding: r.waitFor(o.Holding)}, DropRoot, Done)
}

// ends is when the last of them ends by time; zero: not all are, by time.
func ends(list []Holder) (last time.Time) {
	for _, h := range list {
		if h.Until.IsZero() {
			return time.Time{}
		}
		if h.Until.After(last) {
			last = h.Until
		}
	}
	return last
}

// left is the last stage: it lasts until no one holds the root any more.
func left(o Observed, stage, end Stage) Decision {
	holding := slices.DeleteFunc(slices.Clone(o.Holding), func(h Holder) bool { return h.Left }) // from which nothing takes it
	if len(holding) == 0 {
		return Decision{Stage: end}
	}
	return Decision{Stage: stage, Wait: Wait{For: holding}}
}

// waitFor leaves out the hosts that it goes on without.
func (r Rotation) waitFor(list []Holder) (out []Holder) {
	for _, h := range list {
		if !slices.Contains(r.Without, h.Host) && (!r.Compromised || !h.Left && !h.Stuck()) {
			out = append(out, h)
		}
	}
	return out
}

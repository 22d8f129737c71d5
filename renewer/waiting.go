package renewer

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// WaitKind names what a rollout waits for.
type WaitKind string

// What a rollout waits for.
const (
	WaitWindow      WaitKind = "window"      // the maintenance window
	WaitPause       WaitKind = "pause"       // between two hosts
	WaitGuard       WaitKind = "guard"       // what the service runs
	WaitRate        WaitKind = "rate"        // of the issuer
	WaitIssuer      WaitKind = "issuer"      // it has the order, and has not signed it yet
	WaitPace        WaitKind = "pace"        // canary, max_parallel, or one that failed, of the rollout or of its entry
	WaitPeers       WaitKind = "peers"       // the other side of its peer group
	WaitGate        WaitKind = "gate"        // a verifier that has not the root yet
	WaitUnreachable WaitKind = "unreachable" // a host
	WaitLocal       WaitKind = "local"       // this machine ran out of a resource
	WaitBackoff     WaitKind = "backoff"     // the next retry after a failure
	WaitPerson      WaitKind = "person"      // manual action: it is blocked
)

// Wait is what a step, or an order, waits for: one thing at a time, recorded with
// the outcome that found it. When it is looked at again is NextAt.
type Wait struct {
	Kind  WaitKind  `json:"kind"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"` // it ends by then; zero: not by time
	Hint  string    `json:"hint,omitempty"`
}

// For reports whether the wait is of a kind; nil is of none.
func (w *Wait) For(kind WaitKind) bool { return w != nil && w.Kind == kind }

// hint returns what to do about the step's error or about what it waits for.
func (s *Step) hint() string {
	if s.Wait.For(WaitPerson) || s.Hint == "" && s.Wait != nil {
		return s.Wait.Hint
	}
	return s.Hint
}

// Waiting is one reason why a rollout does not go on. It is shown, decides
// nothing, and is stored nowhere: it follows from what is recorded, the fleet file
// and the time, so it is the same everywhere and never out of date.
type Waiting struct {
	Kind  WaitKind  `json:"kind"`
	Host  string    `json:"host,omitempty"` // empty: it keeps every host that has not begun
	Text  string    `json:"text"`           // for operators, with its times
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"` // it ends then, or is retried; zero: not by time
	By    string    `json:"by,omitempty"`   // the host that a trust gate waits for
}

func (w Waiting) String() string {
	if w.Host == "" {
		return w.Text
	}
	return OnHost(w.Host, w.Text)
}

// Waits is all that a rollout waits for, what explains most first.
type Waits []Waiting

func (w Waits) String() string { return strings.Join(w.Texts(), "; ") }

// Gate returns the trust gate among them; nil if there is none.
func (w Waits) Gate() *Waiting {
	for i := range w {
		if w[i].Kind == WaitGate {
			return &w[i]
		}
	}
	return nil
}

// Texts returns the reasons as they are shown.
func (w Waits) Texts() []string {
	texts := make([]string, 0, len(w))
	for _, one := range w {
		texts = append(texts, one.String())
	}
	return texts
}

// On returns what keeps one host that is not over: its own reason or, before
// it has begun, that of all.
func (w Waits) On(s Step) (Waiting, bool) {
	for _, one := range w {
		if one.Host == s.Host || one.Host == "" && (s.State == StepPending || s.State == StepStaged) {
			return one, true
		}
	}
	return Waiting{}, false
}

// wait notes a reason. One that keeps all hosts comes before those of single
// ones, unless it is only the pace: then they are what it waits for.
func (n *Next) wait(w Waiting) {
	if w.Host != "" {
		n.Waiting = append(n.Waiting, w)
		return
	}
	for _, has := range n.Waiting {
		if has.Host == "" {
			return
		}
	}
	if w.Kind == WaitPace {
		n.Waiting = append(n.Waiting, w)
	} else {
		n.Waiting = append(Waits{w}, n.Waiting...)
	}
}

// ordering says what an order waits for.
func (r *Rollout) ordering() Waiting {
	if r.Wait.For(WaitIssuer) {
		return Waiting{Kind: WaitIssuer, Text: r.Wait.Why, Since: r.Wait.Since, Until: r.NextAt}
	}
	if r.Wait.For(WaitRate) || r.Error == "" {
		return Waiting{Kind: WaitRate, Text: "rate limited until " + date(r.NextAt), Until: r.NextAt}
	}
	return Waiting{Kind: WaitBackoff, Text: failedTries(r.Attempts, r.NextAt), Until: r.NextAt}
}

// waiting says what a step waits for that is not begun or not done.
func (s *Step) waiting() Waiting {
	switch {
	case s.Wait.For(WaitGuard), s.Wait.For(WaitPerson):
		return Waiting{Kind: WaitGuard, Host: s.Host, Text: s.Wait.Why, Since: s.Wait.Since, Until: s.Wait.Until}
	case s.Wait.For(WaitLocal):
		return Waiting{Kind: WaitLocal, Host: s.Host, Text: s.Wait.Why + "; next retry at " + date(s.NextAt), Until: s.NextAt}
	case s.Lost():
		return Waiting{Kind: WaitUnreachable, Host: s.Host, Text: "cannot be reached; next retry at " + date(s.NextAt), Until: s.NextAt}
	default:
		return Waiting{Kind: WaitBackoff, Host: s.Host, Text: failedTries(s.Attempts, s.NextAt), Until: s.NextAt}
	}
}

// LeftBehind says which hosts an ended rollout went on without: they could
// not be reached, and are work of their own.
func (r *Rollout) LeftBehind() (out Waits) {
	for i := range r.Steps {
		if s := &r.Steps[i]; r.Phase == PhaseDone && !s.State.Over() {
			out = append(out, Waiting{Kind: WaitUnreachable, Host: s.Host, Text: "cannot be reached; it gets the certificate when it is back"})
		}
	}
	return out
}

func failedTries(n int, next time.Time) string {
	if n == 1 {
		return "the first attempt failed; next retry at " + date(next)
	}
	return fmt.Sprintf("%d attempts failed; next retry at %s", n, date(next))
}

// window says which window keeps a rollout from activating, or until when it is kept to.
func (r *Rollout) window(c Certificate, k Conditions) Waiting {
	w := Waiting{Kind: WaitWindow, Text: fmt.Sprintf("window %s opens %s", c.Window, date(k.WindowNext)), Until: k.WindowNext}
	if about := k.Deadline.About; !about.IsZero() && about.Before(w.Until) {
		w.Text += "; waiting at most until " + date(about) // as at the gate
		w.Until = about
	}
	return w
}

// paced says why no further host of a rollout may begin.
func (r *Rollout) paced(c Certificate) Waiting {
	proven := 0
	for _, s := range r.Steps {
		if s.State == StepVerified {
			proven++
		}
	}
	w := Waiting{Kind: WaitPace, Text: fmt.Sprintf("max_parallel reached (%d)", c.Pace.MaxParallel)}
	if proven < min(c.Pace.Canary, len(r.Steps)) {
		w.Text = "waits for its canary host to be verified"
	}
	return w
}

// halted says which host keeps the others of a rollout from being touched.
func (r *Rollout) halted() Waiting {
	w := Waiting{Kind: WaitPace, Text: "rollout stopped"}
	for _, s := range r.Steps {
		if s.State.failed() || s.State == StepRestoring || s.State == StepRestored {
			w.Text += ": " + s.Host + " failed"
			break
		}
	}
	return w
}

// Blocked says what a blocked rollout waits for; current is what is in place,
// nil for nothing.
func (r *Rollout) Blocked(current *Generation) Waiting {
	retry := RetryBlocked(*r, current)
	return Waiting{Kind: WaitPerson, Text: "needs manual action; next automatic retry at " + date(retry), Since: r.EndedAt, Until: retry}
}

// RolloutView is a rollout with what it waits for.
type RolloutView struct {
	Rollout
	Waiting Waits `json:"waiting,omitempty"`
}

// View returns the rollout of a record as it is shown; nil if there is none.
// waits is what it waits for if it is under way.
func (rec Record) View(current *Generation, waits Waits) *RolloutView {
	r := rec.Rollout
	switch {
	case r == nil:
		return nil
	case r.Phase == PhaseBlocked:
		waits = Waits{r.Blocked(current)}
	case r.Phase.Over():
		waits = nil
	default:
		waits = append(slices.Clone(waits), rec.Waits()...)
	}
	return &RolloutView{*r, waits}
}

// currentOf finds the generation that is in place.
func (rec Record) currentOf(gens []Generation) *Generation {
	for i := range gens {
		if rec.InPlace() && gens[i].Number == rec.Current {
			return &gens[i]
		}
	}
	return nil
}

// Waits says that a renewal waits for the rollout under way; empty for none.
func (rec Record) Waits() Waits {
	if rec.Asked == nil || rec.Rollout == nil || rec.Rollout.Phase.Over() {
		return nil
	}
	return Waits{{
		Kind: WaitPace, Since: rec.Asked.Since,
		Text: "renewal requested by operator at " + date(rec.Asked.Since) + "; it begins when rollout " + rec.Rollout.ID + " has no host in progress",
	}}
}

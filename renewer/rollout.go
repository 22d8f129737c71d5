package renewer

import (
	"fmt"
	"slices"
	"time"
)

// Kind is what a rollout is for.
type Kind string

// The kinds of rollout.
const (
	KindIssue    Kind = "issue"    // order a new generation and bring it to every host
	KindPlace    Kind = "place"    // bring the current generation to some hosts (again)
	KindRollback Kind = "rollback" // go back to a generation that is still on the hosts
)

// Phase is where a rollout is. A rollout is written before anything is done,
// so a phase names what may already have begun.
type Phase string

// The phases of a rollout.
const (
	PhaseOrdering   Phase = "ordering"   // the issuer may have been asked
	PhaseRolling    Phase = "rolling"    // hosts are under way
	PhaseDone       Phase = "done"       // over: every host has it
	PhaseBlocked    Phase = "blocked"    // over: only an operator can go on
	PhaseSuperseded Phase = "superseded" // over: the reason for it went away, or another one took its place
)

// Over reports whether nothing more is done for a rollout in this phase.
func (p Phase) Over() bool { return p == PhaseDone || p == PhaseBlocked || p == PhaseSuperseded }

// StepState is where a rollout is on one host; each names what may have begun
// on the host, so that going on after a crash repeats that and nothing else.
type StepState string

// The states of a step.
const (
	StepPending    StepState = "pending"     // staging may have begun
	StepStaged     StepState = "staged"      // lies beside what is live; nothing has begun
	StepActivating StepState = "activating"  // activation may have begun
	StepActivated  StepState = "activated"   // probing may have begun
	StepVerified   StepState = "verified"    // over: proven
	StepUnproven   StepState = "unproven"    // over: in place, but nothing runs that could prove it
	StepRestoring  StepState = "restoring"   // going back may have begun
	StepRestored   StepState = "restored"    // probing what was restored may have begun
	StepRolledBack StepState = "rolled_back" // over: back on the previous revision, proven
	StepBlocked    StepState = "blocked"     // over: neither the new nor the previous one could be proven
)

// Over reports whether nothing more is done for a step in this state.
func (s StepState) Over() bool {
	return s.InPlace() || s.failed()
}

// InPlace reports whether what the rollout brings is in place, and stays.
func (s StepState) InPlace() bool { return s == StepVerified || s == StepUnproven }
func (s StepState) failed() bool  { return s == StepRolledBack || s == StepBlocked }

// Live reports whether the host may be between two generations.
func (s StepState) Live() bool {
	return s == StepActivating || s == StepActivated || s == StepRestoring || s == StepRestored
}

// Reason is why a rollout was started.
type Reason struct {
	Code ReasonCode `json:"code"`
	Text string     `json:"text"` // for people: "renew time 2026-11-22T05:00:00Z has come"
}

// ReasonCode names a reason.
type ReasonCode string

// The reasons.
const (
	ReasonFirst          ReasonCode = "first" // never issued
	ReasonRevoked        ReasonCode = "revoked"
	ReasonExpired        ReasonCode = "expired"
	ReasonChanged        ReasonCode = "changed" // the entry asks for another certificate
	ReasonRenewTime      ReasonCode = "renew_time"
	ReasonRequested      ReasonCode = "requested"       // an operator asked
	ReasonKeyLost        ReasonCode = "key_lost"        // no host has the key of the current generation
	ReasonKeyCompromised ReasonCode = "key_compromised" // it is compromised
	ReasonRoot           ReasonCode = "root"            // its issuer's root is another one now
	ReasonHostAdded      ReasonCode = "host_added"
	ReasonFiles          ReasonCode = "files"       // directory, names, modes or owner changed
	ReasonTrust          ReasonCode = "trust"       // other roots
	ReasonDrift          ReasonCode = "drift"       // the probe saw something else
	ReasonBehind         ReasonCode = "behind"      // the host could not be reached when the others got it
	ReasonInterrupted    ReasonCode = "interrupted" // the host was lost between two generations
	ReasonReturned       ReasonCode = "returned"    // its peers went on without it, and it is back
	// No activation was proven since the files were placed.
	ReasonUnactivated ReasonCode = "unactivated"
)

// Rollout is one generation on its way to placements.
type Rollout struct {
	ID          string `json:"id"` // NAME#N
	Certificate string `json:"certificate"`
	Kind        Kind   `json:"kind"`
	Generation  int    `json:"generation"`
	// Ordered is the generation that is being ordered from an issuer which may sign days
	// later: its key is in the inventory already. 0 otherwise.
	Ordered int      `json:"ordered,omitempty"`
	Reasons []Reason `json:"reasons"`
	// Entry and Request are the fleet file's when it was planned: the first
	// tells that something changed, the second whether that asks for another
	// certificate.
	Entry     string    `json:"entry_digest"`
	Request   Request   `json:"request"`
	Phase     Phase     `json:"phase"`
	Steps     []Step    `json:"steps"`               // canary first
	Requested bool      `json:"requested,omitempty"` // by an operator: no window, no backoff
	Force     bool      `json:"force,omitempty"`     // by an operator: no guard, and no gate
	Without   []string  `json:"without,omitempty"`   // by an operator: hosts whose refusal holds no one up
	Quiet     bool      `json:"quiet,omitempty"`     // the service is left alone: host setup restarts it
	Attempts  int       `json:"attempts,omitempty"`  // failed orders
	NextAt    time.Time `json:"next_at,omitzero"`    // of the order
	Wait      *Wait     `json:"wait,omitempty"`      // what the order waits for; nil for nothing
	Error     string    `json:"error,omitempty"`
	Hint      string    `json:"hint,omitempty"`
	StartedAt time.Time `json:"started_at"`
	AskedAt   time.Time `json:"asked_at,omitzero"` // when an operator hurried it
	EndedAt   time.Time `json:"ended_at,omitzero"`
	// Same counts the blocked rollouts in a row that gave way to other roots before it;
	// see again.
	Same int `json:"again,omitempty"`
}

// Step is a rollout on one host.
type Step struct {
	Host     string    `json:"host"`
	State    StepState `json:"state"`
	Revision string    `json:"revision,omitempty"` // staged for this rollout
	Previous string    `json:"previous,omitempty"` // live before it; empty: nothing to go back to
	Layout   string    `json:"layout,omitempty"`   // Placement.Layout of what was staged
	// Roots and Foreign are of the ca file that was staged: all, and those kept
	// because they were found in the file that was there.
	Roots   RootSet `json:"roots,omitempty"`
	Foreign RootSet `json:"foreign,omitempty"`
	// Pass says which of two visits to the host this is: first the roots that
	// are added, with the leaf that is in place, and then the rest.
	Pass Pass `json:"pass,omitempty"`
	// Generation is the one that the pass brings.
	Generation int   `json:"generation,omitempty"`
	WasForeign bool  `json:"was_foreign,omitempty"` // Previous holds what renewer did not write
	Again      bool  `json:"again,omitempty"`       // activating: begun before, and cut off or failed
	Wait       *Wait `json:"wait,omitempty"`        // what it waits for; nil for nothing
	Settles    bool  `json:"settles,omitempty"`     // nothing was activated, and the roots are loaded by somebody else in time
	Rereads    bool  `json:"rereads,omitempty"`     // the service reads what changed by itself: nothing was restarted
	// Down is when the service, which ran, had to load the revision, Budget how long
	// from then on may pass until it is proven, the way back included (0: any
	// time), and Away how long it took.
	Down   time.Time     `json:"down_at,omitzero"`
	Budget time.Duration `json:"budget,omitempty"`
	Away   time.Duration `json:"away,omitempty"`
	// Workers of a Dagu coordinator have to be seen back before it is proven.
	Workers  []string  `json:"workers,omitempty"`
	Attempts int       `json:"attempts,omitempty"` // failed ones in this state
	NextAt   time.Time `json:"next_at,omitzero"`
	EndedAt  time.Time `json:"ended_at,omitzero"` // when State became a final one
	Error    string    `json:"error,omitempty"`
	Hint     string    `json:"hint,omitempty"`
}

// Pass is one visit of a rollout to a host.
type Pass string

// The passes.
const (
	PassWhole  Pass = ""       // all at once: there is no other
	PassRoots  Pass = "roots"  // the added roots alone, with the leaf that is in place
	PassRooted Pass = "rooted" // the rest: the roots are in place and loaded
)

// RolloutID names the nth rollout of a certificate.
func RolloutID(certificate string, n int) string { return fmt.Sprintf("%s#%d", certificate, n) }

// Delivers returns the number of the generation that the rollout brings; ok is
// false while that is not ordered. A trust bundle has number 0.
func (r *Rollout) Delivers() (number int, ok bool) {
	return r.Generation, r.Generation > 0 || r.Kind != KindIssue
}

// Step returns the step on a host.
func (r *Rollout) Step(host string) (*Step, bool) {
	for i := range r.Steps {
		if r.Steps[i].Host == host {
			return &r.Steps[i], true
		}
	}
	return nil, false
}

// Delivers returns the number of the generation that the step brings: that of
// the rollout or, while it adds roots alone, the one that is in place.
func (s *Step) Delivers(r Rollout, st PlacementState) int {
	if s.Pass == PassRoots {
		return st.Generation
	}
	return r.Generation
}

// Fresh reports whether a leaf is still to go live somewhere.
func (r *Rollout) Fresh() bool {
	return r.Phase == PhaseOrdering || slices.ContainsFunc(r.Steps, func(s Step) bool {
		return s.State == StepPending || s.State == StepStaged
	})
}

// InHand reports whether a host may be between two generations.
func (r *Rollout) InHand(host string) bool {
	s, ok := r.Step(host)
	return ok && s.State.Live()
}

// Stopped reports whether a failure keeps further hosts from being touched.
func (r *Rollout) Stopped() bool {
	for _, s := range r.Steps {
		if s.State.failed() || s.State == StepRestoring || s.State == StepRestored {
			return true
		}
	}
	return false
}

// Restoring reports whether a host is on its way back to what it had.
func (r *Rollout) Restoring() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.State == StepRestoring || s.State == StepRestored })
}

// Settled reports whether the rollout can be left or replaced: no host is
// between two generations.
func (r *Rollout) Settled() bool {
	for _, s := range r.Steps {
		if s.State.Live() {
			return false
		}
	}
	return true
}

// awayAfter is how many attempts in a row find no one before a host between two
// generations counts as one that cannot be reached: the others do not wait for it.
const awayAfter = 2

// unreachable reports whether the host was not reached by the last attempts. Where
// nothing has begun one is enough: what is left to do there can be a rollout of its
// own at any time.
func (s *Step) unreachable() bool {
	return s.Lost() && (s.Attempts >= awayAfter || !s.State.Live())
}

// Lost reports whether the last try failed because the host was not reached.
func (s *Step) Lost() bool { return s.Wait.For(WaitUnreachable) }

// LastError returns the first error of the rollout or of one of its steps, with
// the hint; empty if there is none.
func (r *Rollout) LastError() (text, hint string) {
	if r.Error != "" {
		return r.Error, r.Hint
	}
	for _, s := range r.Steps {
		switch {
		case s.Wait.For(WaitPerson):
			return OnHost(s.Host, s.Wait.Why), s.Wait.Hint
		case s.Error != "":
			return OnHost(s.Host, s.Error), s.Hint
		}
	}
	return "", ""
}

// GuardBlocked reports whether a guard waits for an operator.
func (r *Rollout) GuardBlocked() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Wait.For(WaitPerson) })
}

// Overrides is what a request goes on without waiting for. Window and backoff
// hold no request.
type Overrides struct {
	Force   bool     `json:"force,omitempty"`   // guards, and the trust gate
	Without []string `json:"without,omitempty"` // the trust gate, for what these hosts have in place
	// Since is when it was made, of one that waits for its turn.
	Since time.Time `json:"since,omitzero"`
}

// Override takes the overrides of a request into the rollout.
func (r *Rollout) Override(o Overrides) {
	r.Requested, r.Force = true, r.Force || o.Force
	for _, host := range o.Without {
		if !slices.Contains(r.Without, host) {
			r.Without = append(slices.Clone(r.Without), host)
		}
	}
}

// Hurry takes the operator's request into a rollout under way: no window, no
// backoff.
func (r *Rollout) Hurry(o Overrides, now time.Time) {
	r.Override(o)
	r.AskedAt = now
	r.retry(false)
}

// retry makes what waits for its next try due now, or only the order, and reports
// whether there was any.
func (r *Rollout) retry(orders bool) bool {
	waited := !r.NextAt.IsZero()
	r.NextAt = time.Time{}
	for i := range r.Steps {
		if s := &r.Steps[i]; !orders {
			waited = waited || !s.NextAt.IsZero()
			s.NextAt = time.Time{}
		}
	}
	return waited
}

// shown merges a step into what users see of its host.
func (s *Step) shown(was HostRow) (HostState, string) {
	switch s.State {
	case StepPending:
		if s.Error == "" {
			return was.State, was.Error
		}
		return was.State, s.Error
	case StepStaged:
		if s.Wait.For(WaitPerson) {
			return HostBlocked, s.Wait.Why
		}
		if was.State == HostDrifted || was.State == HostBlocked { // and that is live meanwhile
			return was.State, was.Error
		}
		return HostStaged, s.Error
	case StepRestoring:
		if s.Wait.For(WaitPerson) {
			return HostBlocked, s.Wait.Why
		}
		return HostActivated, s.Error
	case StepActivating, StepActivated, StepRestored:
		return HostActivated, s.Error
	case StepBlocked:
		if was.State == HostActivated { // a probe of files alone proves no activation
			return HostBlocked, s.Error
		}
	}
	return was.State, was.Error
}

// Half returns when half of the restart budget is used: what is not proven by
// then goes back in the other half. Zero where there is no budget.
func (s *Step) Half() time.Time {
	if s.Budget <= 0 || s.Down.IsZero() {
		return time.Time{}
	}
	return s.Down.Add(s.Budget / 2)
}

// halfSpent reports whether a new revision has had its half of the budget.
func (s *Step) halfSpent(now time.Time) bool {
	half := s.Half()
	return !half.IsZero() && !now.Before(half)
}

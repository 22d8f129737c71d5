package renewer

import (
	"fmt"
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
	PhaseDone       Phase = "done"       // every host is verified
	PhaseBlocked    Phase = "blocked"    // over; only a person can go on
	PhaseSuperseded Phase = "superseded" // over; another rollout took its place
)

// Over reports whether nothing more is done for a rollout in this phase.
func (p Phase) Over() bool { return p == PhaseDone || p == PhaseBlocked || p == PhaseSuperseded }

// StepState is where a rollout is on one host; each names what may have begun
// on the host, so that going on after a crash repeats that and nothing else.
type StepState string

// The states of a step.
const (
	StepPending    StepState = "pending"     // staging may have begun
	StepStaged     StepState = "staged"      // activation may have begun
	StepActivated  StepState = "activated"   // probing may have begun
	StepVerified   StepState = "verified"    // over: proven
	StepRestoring  StepState = "restoring"   // going back may have begun
	StepRestored   StepState = "restored"    // probing what was restored may have begun
	StepRolledBack StepState = "rolled_back" // over: back on the previous revision, proven
	StepUnproven   StepState = "unproven"    // over: in place, but nothing runs that could prove it
	StepBlocked    StepState = "blocked"     // over: neither the new nor the old one could be proven
)

// Over reports whether nothing more is done for a step in this state.
func (s StepState) Over() bool {
	return s == StepVerified || s == StepRolledBack || s == StepUnproven || s == StepBlocked
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
	ReasonFirst     ReasonCode = "first" // never issued
	ReasonRevoked   ReasonCode = "revoked"
	ReasonExpired   ReasonCode = "expired"
	ReasonChanged   ReasonCode = "changed" // the entry asks for another certificate
	ReasonRenewTime ReasonCode = "renew_time"
	ReasonRequested ReasonCode = "requested" // a person asked
	ReasonHostAdded ReasonCode = "host_added"
	ReasonFiles     ReasonCode = "files"    // directory, names, modes or owner changed
	ReasonTrust     ReasonCode = "trust"    // other roots
	ReasonDrift     ReasonCode = "drift"    // the probe saw something else
	ReasonUnproven  ReasonCode = "unproven" // in place, not yet proven
)

// Rollout is one generation on its way to placements.
type Rollout struct {
	ID          string    `json:"id"` // NAME#N
	Certificate string    `json:"certificate"`
	Kind        Kind      `json:"kind"`
	Generation  int       `json:"generation"`
	Reasons     []Reason  `json:"reasons"`
	Entry       string    `json:"entry_digest"` // Certificate.Digest when it was planned
	Phase       Phase     `json:"phase"`
	Steps       []Step    `json:"steps"`               // canary first
	Requested   bool      `json:"requested,omitempty"` // by a person: no window, no backoff
	Force       bool      `json:"force,omitempty"`     // by a person: no guard
	Attempts    int       `json:"attempts,omitempty"`  // failed orders
	NextAt      time.Time `json:"next_at,omitzero"`    // of the order
	Error       string    `json:"error,omitempty"`
	Hint        string    `json:"hint,omitempty"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
}

// Step is a rollout on one host.
type Step struct {
	Host      string    `json:"host"`
	State     StepState `json:"state"`
	Revision  string    `json:"revision,omitempty"` // staged for this rollout
	Previous  string    `json:"previous,omitempty"` // live before it; empty: nothing to go back to
	Trust     string    `json:"trust,omitempty"`    // TrustDigest of what was staged
	Attempts  int       `json:"attempts,omitempty"`
	NextAt    time.Time `json:"next_at,omitzero"`
	ChangedAt time.Time `json:"changed_at,omitzero"` // of State
	Error     string    `json:"error,omitempty"`
	Hint      string    `json:"hint,omitempty"`
	Waiting   string    `json:"waiting,omitempty"` // for what, if it only waits
}

// RolloutID names a rollout of a certificate.
func RolloutID(certificate string, n int) string { return fmt.Sprintf("%s#%d", certificate, n) }

func (r *Rollout) step(host string) (*Step, bool) {
	for i := range r.Steps {
		if r.Steps[i].Host == host {
			return &r.Steps[i], true
		}
	}
	return nil, false
}

// shown merges a step into what users see of its host.
func (s *Step) shown(was HostRow) (HostState, string) {
	switch s.State {
	case StepPending:
		if was.State != HostPending && s.Error == "" {
			return was.State, was.Error
		}
		return was.State, s.Error
	case StepStaged:
		return HostStaged, s.Error
	case StepActivated, StepRestoring, StepRestored:
		return HostActivated, s.Error
	case StepRolledBack:
		return HostRolledBack, s.Error
	case StepBlocked, StepUnproven:
		return HostBlocked, s.Error
	default:
		return was.State, was.Error
	}
}

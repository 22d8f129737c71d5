package renewer

import (
	"context"
	"time"
)

// EventType names what happened; the names are part of the contract with
// notification channels and never change.
type EventType string

// The events of the audit log.
const (
	EventRolloutPlanned    EventType = "rollout_planned"
	EventIssued            EventType = "issued"
	EventIssueWarning      EventType = "issue_warning"
	EventOrderWaiting      EventType = "order_waiting" // the issuer has the order, and may sign days later
	EventStaged            EventType = "staged"
	EventStageFailed       EventType = "stage_failed"
	EventActivated         EventType = "activated"
	EventActivateFailed    EventType = "activate_failed"
	EventVerified          EventType = "verified"
	EventProbeFailed       EventType = "probe_failed"
	EventNotChecked        EventType = "not_checked" // a negative check that could not be made
	EventRestored          EventType = "restored"
	EventRestoreFailed     EventType = "restore_failed"
	EventRolledBack        EventType = "rolled_back"
	EventRolloutWaiting    EventType = "rollout_waiting"
	EventRolloutDone       EventType = "rollout_done"
	EventRolloutBlocked    EventType = "rollout_blocked"
	EventRolloutSuperseded EventType = "rollout_superseded"
	EventRenewalFailed     EventType = "renewal_failed"
	EventDrifted           EventType = "drifted"
	EventUnreachable       EventType = "unreachable"
	EventRecovered         EventType = "recovered"
	EventExpiring          EventType = "expiring"
	EventExpired           EventType = "expired"
	EventRemoved           EventType = "removed"
	EventRescheduled       EventType = "rescheduled"
	EventHostSetup         EventType = "host_setup" // a step of setting up a host, and how it ended
	EventIssuerDown        EventType = "issuer_down"
	EventIssuerUp          EventType = "issuer_up"
	EventAdopted           EventType = "adopted"            // what was in place is generation 0
	EventTakenOver         EventType = "taken_over"         // a directory that another renewer kept
	EventRootDropped       EventType = "root_dropped"       // a foreign root leaves a ca file, by name
	EventForgotten         EventType = "forgotten"          // what left the fleet file is let go
	EventRevoked           EventType = "revoked"            // at the issuer, and from now on here
	EventRefused           EventType = "refused_by_peers"   // a leaf goes live although verifiers do not have its root
	EventLocal             EventType = "local_exhaustion"   // this machine ran out of something
	EventFound             EventType = "found_foreign"      // files that renewer did not write, where it is to place its own
	EventBudgetExceeded    EventType = "budget_exceeded"    // a service was away longer than its restart budget
	EventLifetimeTooShort  EventType = "lifetime_too_short" // the issuer gave less than a tenth of what was asked
	EventRequested         EventType = "requested"          // by an operator: By says who
)

// The events of the replacement of an issuer's CA.
const (
	EventCARotationStarted   EventType = "ca_rotation_started"
	EventCARotationStage     EventType = "ca_rotation_stage"    // it went on to its next stage
	EventCARotationSwitched  EventType = "ca_rotation_switched" // the next CA signs
	EventCARotationDone      EventType = "ca_rotation_done"
	EventCARotationCancelled EventType = "ca_rotation_cancelled" // asked for, and when it has ended
	EventCARotationWaiting   EventType = "ca_rotation_waiting"   // it needs manual action
	EventCAKeyDestroyed      EventType = "ca_key_destroyed"      // of a CA that signed before
)

// Event is one line of the append-only audit log.
type Event struct {
	Seq         uint64    `json:"seq"` // given by the inventory, from 1
	Time        time.Time `json:"time"`
	Type        EventType `json:"type"`
	Certificate string    `json:"certificate,omitempty"`
	Host        string    `json:"host,omitempty"`
	Issuer      string    `json:"issuer,omitempty"` // of events about an issuer and no certificate
	Generation  int       `json:"generation,omitempty"`
	Rollout     string    `json:"rollout,omitempty"`
	Message     string    `json:"message,omitempty"`
	Error       string    `json:"error,omitempty"`
	Hint        string    `json:"hint,omitempty"`
	By          string    `json:"by,omitempty"` // the operator, such as "uid 1000 (alice)"; of events that are a request
}

type operatorKey struct{}

// WithOperator notes who makes a request; name is called when that is recorded.
func WithOperator(ctx context.Context, name func() string) context.Context {
	return context.WithValue(ctx, operatorKey{}, name)
}

// OperatorOf returns who makes a request; empty for what renewer does by itself.
func OperatorOf(ctx context.Context) string {
	if name, ok := ctx.Value(operatorKey{}).(func() string); ok {
		return name()
	}
	return ""
}

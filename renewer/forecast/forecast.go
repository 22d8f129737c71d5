// Package forecast says what renewer will do in the time ahead. It plays the decisions of
// the product (renewer.Plan, renewer.Apply, traffic.Control) on a simulated clock, over the
// real fleet file and inventory, so it cannot decide anything else than the daemon will.
//
// What it assumes: issuers and hosts answer, but for the outages that it is asked about;
// services are proven at once; guards hold nothing up; no one changes the fleet file.
// An order is signed for the lifetime that the issuer gave last.
package forecast

import (
	"time"

	"renewer/renewer"
)

// Kind is what an Event is about.
type Kind string

// The kinds of event.
const (
	Renewal   Kind = "renewal"    // a certificate is ordered
	Restart   Kind = "restart"    // a service is restarted
	Reload    Kind = "reload"     // a service reloads its files
	Expires   Kind = "expires"    // what is in place expires and is not replaced
	AtRisk    Kind = "at_risk"    // an outage would expire it if it began at the worst moment
	Refused   Kind = "refused"    // the issuer refuses a certificate of that lifetime
	CAExpires Kind = "ca_expires" // a CA of an issuer expires
	CARotates Kind = "ca_rotates" // a CA is being replaced by itself (rotate_at)
	Collision Kind = "collision"  // restarts that get in each other's way
)

// Remarkable reports whether an operator should know of such an event first.
func (k Kind) Remarkable() bool { return k != Renewal && k != Restart && k != Reload }

// Event is one thing that will happen.
type Event struct {
	Time        time.Time `json:"time"`
	Until       time.Time `json:"until,omitzero"` // it lasts; of a restart in a window: when that closes
	Kind        Kind      `json:"kind"`
	Certificate string    `json:"certificate"`
	Host        string    `json:"host"`
	Issuer      string    `json:"issuer"`
	Window      string    `json:"window,omitempty"`
	Reason      string    `json:"reason"`
}

// Forecast is the time ahead.
type Forecast struct {
	Fleet  string    `json:"fleet,omitempty"` // its name
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Events []Event   `json:"events"` // earliest first
	// Cut says why it ends sooner than it was asked to; empty where it does not.
	Cut string `json:"cut,omitempty"`
}

// Request asks for a forecast.
type Request struct {
	For     time.Duration `json:"for"`
	Outages []Outage      `json:"outages,omitempty"`
}

// Outage is an issuer or a host that is away.
type Outage struct {
	Of   string        `json:"of"`
	For  time.Duration `json:"for"`
	From time.Time     `json:"from,omitzero"` // zero: the forecast's beginning
}

func (o Outage) at(now time.Time) bool { return !now.Before(o.From) && now.Before(o.From.Add(o.For)) }

// Fleet is what a forecast begins with.
type Fleet struct {
	Certificates []renewer.State // in the order of the fleet file
	Windows      map[string]Window
	// Orphans left the fleet file and are still in place, by name of the certificate.
	Orphans map[string][]renewer.Departed
	Issuers map[string]Issuer
	Retired func(host string) bool
}

// Window is a maintenance window.
type Window struct {
	At       func(t time.Time) (open bool, next time.Time)
	Duration time.Duration
	Shut     func() time.Duration // the longest time that it is closed; nil: not known
}

// Issuer is what is known of an issuer.
type Issuer struct {
	CAs []renewer.CAStatus
	// Ends is when the first of the CAs above its certificates expires; zero: not known.
	Ends time.Time
	// Refuses: a certificate that would outlive its CA is refused, and not shortened.
	Refuses  bool
	RotateAt time.Time     // when its CA is replaced by itself; zero: never
	Share    renewer.Share // of the life of the CA after that, when that is replaced in turn
	Next     time.Duration // how long that lives
	Standby  bool          // its root is trusted ahead of time
}

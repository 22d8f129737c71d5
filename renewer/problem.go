package renewer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"renewer/renewer/problems"
)

// Severity is how bad a problem is.
type Severity = problems.Severity

// The severities.
const (
	SeverityCritical = problems.Critical
	SeverityWarning  = problems.Warning
)

// Problem is one that is open now: what its row of the catalogue says, and of
// what it is true.
type Problem struct {
	ID       problems.ID `json:"id"`
	Severity Severity    `json:"severity"`
	Kind     string      `json:"kind"` // certificate, host, hosts, issuer, channel, daemon
	Name     string      `json:"name"`
	Host     string      `json:"host,omitempty"` // of a certificate's problem: where it is, or the host that holds it up
	What     string      `json:"what"`           // a few words, to stand after the name and a colon
	Meaning  string      `json:"meaning"`        // of the catalogue
	Since    time.Time   `json:"since,omitzero"`
	Expires  time.Time   `json:"expires,omitzero"` // the certificate in place, or the CA
	Error    string      `json:"error,omitempty"`
	Hint     string      `json:"hint,omitempty"`
	Commands []string    `json:"commands"`
	// Runbook is the name of its page in docs/runbooks.
	Runbook string `json:"runbook"`
}

// newProblem takes what the catalogue says.
func newProblem(id problems.ID, kind, name string, names problems.Names) Problem {
	row := problems.Of(id)
	return Problem{ID: id, Severity: row.Severity, Kind: kind, Name: name, Meaning: row.Meaning, Commands: row.Run(names), Runbook: row.Runbook}
}

// MostProblems is how many problems of certificates, and of hosts, are listed one by one.
const MostProblems = 10

// A CA that expires within the first is a problem, within the second a critical one.
const (
	caWarning  = 90 * aDay
	caCritical = 30 * aDay
)

// notifyStuck is how long a message may wait with no attempt that failed.
const notifyStuck = 2 * time.Hour

// Problems gathers what needs attention, the worst first: certificates has those
// of them already.
func Problems(s SystemStatus, certificates []Problem, now time.Time) []Problem {
	list := append([]Problem{}, slices.Concat(s.Daemon.problems(now), certificates, hostProblems(s.Hosts, now), s.others(now))...)
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Severity, b.Severity) }) // critical, warning
	return list
}

func (s SystemStatus) others(now time.Time) (list []Problem) {
	for _, i := range s.Issuers {
		list = append(list, i.Problems(now)...)
	}
	for _, c := range s.Channels {
		list = append(list, c.problems(now)...)
	}
	return list
}

// Count says how many problems of each kind are open, those of certificates aside.
func (s SystemStatus) Count(now time.Time) map[problems.ID]int {
	n := map[problems.ID]int{}
	for _, p := range append(s.Daemon.problems(now), s.others(now)...) {
		n[p.ID]++
	}
	for _, h := range s.Hosts {
		if !h.Up {
			n[problems.HostUnreachable]++
		}
	}
	return n
}

func (d DaemonStatus) problems(now time.Time) (list []Problem) {
	if age := now.Sub(d.LastCheck); !d.LastCheck.IsZero() && d.CheckWithin > 0 && age > d.CheckWithin {
		p := newProblem(problems.CheckNotRunning, "daemon", "renewer", problems.Names{})
		p.What, p.Since = "has not checked what is due for "+Span(age)+"; at most "+Span(d.CheckWithin)+" is expected", d.LastCheck.Add(d.CheckWithin)
		list = append(list, p)
	}
	if d.FleetError != "" {
		p := newProblem(problems.FleetFileRefused, "daemon", "renewer", problems.Names{})
		p.What, p.Since = "refused the fleet file"+agoText(d.FleetErrorAt, now), d.FleetErrorAt
		p.Error, p.Hint = d.FleetError, "the last good fleet file stays in effect"
		list = append(list, p)
	}
	return list
}

// Problems says what is wrong with an issuer at now.
func (s IssuerStatus) Problems(now time.Time) (list []Problem) {
	of := func(id problems.ID) Problem { return newProblem(id, "issuer", s.Name, problems.Names{Issuer: s.Name}) }
	if !s.Up {
		p := of(problems.IssuerDown)
		p.What, p.Since, p.Error, p.Hint = "down"+forSpan(s.Since, now), s.Since, s.Error, s.Hint
		list = append(list, p)
	}
	if r := s.Rotation; r != nil && r.Blocked {
		p := of(problems.CARotationBlocked)
		p.What, p.Since, p.Error, p.Hint = "replacement of its CA blocked at stage "+r.Stage+forSpan(r.Since, now), r.Since, strings.Join(r.Waiting, "; "), r.Ends
		list = append(list, p)
	}
	for _, ca := range s.CAs {
		if p := of(problems.CAExpiring); ca.NotAfter.Sub(now) <= caWarning {
			if ca.NotAfter.Sub(now) <= caCritical {
				p = of(problems.CAExpiringSoon)
			}
			p.What, p.Expires = "CA "+ca.Subject+" "+ExpiresText(ca.NotAfter, now), ca.NotAfter
			list = append(list, p)
		}
	}
	return list
}

func (c ChannelStatus) problems(now time.Time) []Problem {
	p := newProblem(problems.NotifyFailing, "channel", c.Name, problems.Names{Channel: c.Name})
	switch waited := now.Sub(c.WaitingSince); {
	case c.LastError != "":
		p.What, p.Since, p.Error, p.Hint = "notification failed, not delivering"+forSpan(c.FailingSince, now), c.FailingSince, c.LastError, c.Hint
	case !c.WaitingSince.IsZero() && waited > notifyStuck:
		p = newProblem(problems.NotifyStuck, "channel", c.Name, problems.Names{Channel: c.Name})
		p.What, p.Since = "a message has waited for "+Span(waited), c.WaitingSince
	default:
		return nil
	}
	return []Problem{p}
}

func hostProblems(hosts []HostStatus, now time.Time) (list []Problem) {
	more := 0
	for _, h := range hosts {
		switch {
		case h.Up:
		case len(list) == MostProblems:
			more++
		default:
			p := newProblem(problems.HostUnreachable, "host", h.Name, problems.Names{Host: h.Name})
			p.What, p.Since, p.Error, p.Hint = "cannot be reached"+forSpan(h.Since, now), h.Since, h.Error, h.Hint
			list = append(list, p)
		}
	}
	if more > 0 {
		p := newProblem(problems.HostUnreachable, "hosts", fmt.Sprintf("%d more", more), problems.Names{})
		p.What = "cannot be reached"
		list = append(list, p)
	}
	return list
}

// forSpan says for how long something has been so; empty where that is unknown.
func forSpan(since, now time.Time) string {
	if since.IsZero() || Span(now.Sub(since)) == "" {
		return ""
	}
	return " for " + Span(now.Sub(since))
}

func agoText(at, now time.Time) string {
	if at.IsZero() || Span(now.Sub(at)) == "" {
		return ""
	}
	return " " + Span(now.Sub(at)) + " ago"
}

// ExpiresText says when something expires or expired, from now.
func ExpiresText(at, now time.Time) string {
	if left := at.Sub(now); left > 0 {
		return "expires in " + cmp.Or(Span(left), "less than 1 s")
	}
	return "expired " + cmp.Or(Span(now.Sub(at)), "less than 1 s") + " ago"
}

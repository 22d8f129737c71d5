package renewer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Severity is how bad a problem is.
type Severity string

// The severities.
const (
	SeverityCritical Severity = "critical"
	SeverityWarning  Severity = "warning"
)

// Problem is something that a person should look at, with what to type and
// where to read on.
type Problem struct {
	Severity Severity `json:"severity"`
	Kind     string   `json:"kind"` // certificate, host, hosts, issuer, channel, daemon
	Name     string   `json:"name"`
	What     string   `json:"what"` // goes on after the name, in a few words
	Error    string   `json:"error,omitempty"`
	Hint     string   `json:"hint,omitempty"`
	Commands []string `json:"commands"`
	// Runbook is the name of its page in docs/runbooks, that of the alert.
	Runbook string `json:"runbook"`
}

// MostProblems is how many problems of one kind and severity are told one by one.
const MostProblems = 10

// A CA that ends within the first is a problem, within the second a bad one.
const (
	caWarning  = 90 * aDay
	caCritical = 30 * aDay
)

// Problems gathers what needs a person, the worst first: certificates has those
// of them already. A last check older than within is one; 0: it is not looked at.
func Problems(s SystemStatus, certificates []Problem, within time.Duration, now time.Time) []Problem {
	list := append([]Problem{}, slices.Concat(s.Daemon.problems(within, now), certificates, hostProblems(s.Hosts))...)
	for _, i := range s.Issuers {
		list = append(list, i.Problems(now)...)
	}
	for _, c := range s.Channels {
		if c.LastError != "" {
			list = append(list, Problem{
				Severity: SeverityCritical, Kind: "channel", Name: c.Name, What: "cannot be told: nobody hears of a problem through it",
				Error: c.LastError, Hint: c.Hint, Commands: []string{"renewer notify test " + c.Name}, Runbook: "RenewerNotifyFailing",
			})
		}
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Severity, b.Severity) }) // critical, warning
	return list
}

func (d DaemonStatus) problems(within time.Duration, now time.Time) (list []Problem) {
	t := Problem{Severity: SeverityCritical, Kind: "daemon", Name: "renewer"}
	if d.FleetError != "" {
		t := t
		t.What, t.Error, t.Hint = "the fleet file was not taken over", d.FleetError, "the last good one still holds"
		t.Commands, t.Runbook = []string{"renewer check"}, "RenewerFleetFileRefused"
		list = append(list, t)
	}
	if age := now.Sub(d.LastCheck); !d.LastCheck.IsZero() && within > 0 && age > within {
		t.What = "the last check ended " + Span(age) + " ago; at most " + Span(within) + " is expected"
		t.Commands, t.Runbook = []string{"renewer status", "systemctl restart renewer"}, "RenewerCheckNotRunning"
		list = append(list, t)
	}
	return list
}

// Problems says what is wrong with an issuer at now.
func (s IssuerStatus) Problems(now time.Time) (list []Problem) {
	t := Problem{Severity: SeverityCritical, Kind: "issuer", Name: s.Name}
	if !s.Up {
		t := t
		t.What, t.Error, t.Hint, t.Commands, t.Runbook = "is down", s.Error, s.Hint, []string{"renewer check --online"}, "RenewerIssuerDown"
		list = append(list, t)
	}
	if r := s.Rotation; r != nil && r.Blocked {
		t := t
		t.Severity, t.What, t.Error, t.Hint = SeverityWarning, "is to get another CA, and that is blocked at stage "+r.Stage, strings.Join(r.Waiting, "; "), r.Ends
		t.Commands, t.Runbook = []string{"renewer ca show " + s.Name}, "RenewerCARotationBlocked"
		list = append(list, t)
	}
	for _, ca := range s.CAs {
		left := ca.NotAfter.Sub(now)
		if left > caWarning {
			continue
		}
		t := t
		t.What, t.Commands = "will not sign for long: its CA "+ca.Subject+" ends in "+Span(left), []string{"renewer ca show " + s.Name}
		t.Runbook = "RenewerCAEndingSoon"
		if left > caCritical {
			t.Severity, t.Runbook = SeverityWarning, "RenewerCAEnding"
		}
		if left <= 0 {
			t.What = "cannot sign: its CA " + ca.Subject + " has ended"
		}
		list = append(list, t)
	}
	return list
}

func hostProblems(hosts []HostStatus) (list []Problem) {
	t := Problem{Severity: SeverityCritical, What: "cannot be reached", Runbook: "RenewerHostUnreachable"}
	more := 0
	for _, h := range hosts {
		switch {
		case h.Up:
		case len(list) == MostProblems:
			more++
		default:
			t := t
			t.Kind, t.Name, t.Error, t.Hint, t.Commands = "host", h.Name, h.Error, h.Hint, []string{"renewer doctor " + h.Name}
			list = append(list, t)
		}
	}
	if more > 0 {
		t.Kind, t.Name, t.Commands = "hosts", fmt.Sprintf("%d more", more), []string{"renewer status"}
		list = append(list, t)
	}
	return list
}

// Late reports whether a renewal should have happened by now: half of the time
// that was set aside for it is over.
func (r Row) Late(now time.Time) bool {
	return !r.RenewAt.IsZero() && r.NotAfter.After(r.RenewAt) && now.After(r.RenewAt.Add(r.NotAfter.Sub(r.RenewAt)/2))
}

// Wrong reports whether a host was seen to have something else than it should,
// with nothing under way that explains it: a rollout does once it has touched
// the host, and not while it waits for a window or a guard.
func (r Row) Wrong(h HostRow) bool {
	return h.Served != "" && !h.Matches && (r.Status != StatusRenewing || h.State != HostActivated)
}

// HasProblem reports whether something is wrong on a host.
func (r Row) HasProblem() bool {
	return slices.ContainsFunc(r.Hosts, func(h HostRow) bool {
		return h.Error != "" || h.State == HostDrifted || h.State == HostBlocked || r.Wrong(h)
	})
}

// Severity is how bad the state of a certificate is; empty: nobody has to look.
func (r Row) Severity(now time.Time) Severity {
	switch {
	case r.Status == StatusBlocked, r.Status == StatusExpired, r.Status == StatusRevoked,
		(r.Status == StatusDue || r.Status == StatusRenewing) && r.Late(now):
		return SeverityCritical
	case r.HasProblem():
		return SeverityWarning
	default:
		return ""
	}
}

// Problem says what is wrong with a certificate whose Severity is not empty.
func (d Detail) Problem(now time.Time) Problem {
	r := d.Row
	t := Problem{Severity: r.Severity(now), Kind: "certificate", Name: r.Name, Error: d.LastError, Hint: d.Hint}
	renew, show := "renewer renew "+r.Name, "renewer show "+r.Name
	var host HostRow
	if i := slices.IndexFunc(r.Hosts, func(h HostRow) bool { return h.Error != "" || r.Wrong(h) }); i >= 0 {
		host = r.Hosts[i]
	}
	say := func(what, runbook string, commands ...string) {
		t.What, t.Runbook, t.Commands = what, runbook, commands
	}
	switch {
	case r.Status == StatusExpired:
		say("has expired", "RenewerCertificateExpired", renew)
	case r.Status == StatusRevoked:
		say("is revoked", "RenewerRevokedInUse", renew)
	case r.Status == StatusBlocked && d.Rollout != nil && d.Rollout.GuardBlocked():
		say("waits for a person: a guard keeps it from being activated", "RenewerRolloutBlocked", renew+" --force")
	case r.Status == StatusBlocked && host.Name != "" && (d.Rollout == nil || d.Rollout.Phase != PhaseBlocked):
		say("cannot be proven on "+host.Name, host.runbook(r), "renewer verify "+r.Name) // to renew it would help nobody
	case r.Status == StatusBlocked:
		say("is blocked until a person has put right what stopped it", "RenewerRolloutBlocked", show, renew)
	case r.Status != StatusPending && r.Late(now):
		say("is late: half of the time to renew it in is over", "RenewerRenewalOverdue", show, renew)
	case r.Status == StatusPending:
		say("was not proven on every host yet", "RenewerNeverIssued", show)
	case host.Matches && host.State != HostRolledBack:
		say("is not renewed on "+host.Name+" yet: what is there stays, and it is tried again by itself", "RenewerRenewalOverdue", show, renew)
	case host.Name != "":
		say("is not right on "+host.Name, host.runbook(r), "renewer verify "+r.Name)
	default:
		say("is "+string(r.Status), "RenewerServedUnproven", show)
	}
	if host.Name != "" {
		t.Commands = append(t.Commands, "renewer doctor "+host.Name)
	}
	if t.Error == "" && host.Name != "" && !strings.Contains(t.What, host.Name) {
		t.Error = host.Name + " was seen to serve another certificate"
	}
	return t
}

func (h HostRow) runbook(r Row) string {
	switch {
	case h.State == HostRolledBack:
		return "RenewerRolledBack"
	case r.Wrong(h) && h.State != HostBlocked:
		return "RenewerServedDiffers"
	default:
		return "RenewerServedUnproven"
	}
}

var units = []struct {
	size time.Duration
	name string
}{{365 * aDay, "y"}, {aDay, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}

// Span tells a duration in its largest unit, and in the next one too while
// there are fewer than three of the first; empty for less than a second.
func Span(d time.Duration) string {
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, u.name)
		if n < 3 && i+1 < len(units) {
			next := units[i+1]
			if rest := (d % u.size) / next.size; rest > 0 {
				text += fmt.Sprintf(" %d %s", rest, next.name)
			}
		}
		return text
	}
	return ""
}

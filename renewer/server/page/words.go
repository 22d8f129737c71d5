package page

import (
	"cmp"
	"fmt"
	"html/template"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

var functions = template.FuncMap{
	"mark": markOf, "onHost": hostLook, "status": statusLook, "breaks": breaks, "event": eventLook, "waits": waitLook, "pieces": pieces, "join": strings.Join, "many": many, "short": short,
	"certificate": certificateLink, "host": hostLink, "runbook": runbookLink,
	"spans":      func() any { return windows },
	"ends":       firstEnd,
	"laneAt":     func(i int) int { return 12*i + 2 },
	"axisHeight": func(a *axis) int { return 12 * len(a.Lanes) },
	// What a part needs besides its data.
	"part": func(f interface{ whole() frame }, v any) any { return part{f.whole(), v} },
	"log": func(f frame, events []renewer.Event, caption string) any {
		return struct{ Clock, Events, Caption any }{f.clock, events, caption}
	},
}

// clock is the moment at which a page is made.
type clock struct{ Now time.Time }

// moment is a time as a page shows it.
type moment struct {
	ISO, Stamp, Relative string // empty for the zero time
	Past                 bool
}

// Day is the date alone.
func (m moment) Day() string { return m.Stamp[:min(len(m.Stamp), len(time.DateOnly))] }

// When tells a time absolutely and relative to now.
func (c clock) When(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{ISO: t.Format(time.RFC3339), Stamp: t.Format("2006-01-02 15:04"), Relative: relative(t.Sub(c.Now)), Past: t.Before(c.Now)}
}

// relative tells a time from now: "in 29 d", "in 1 h 5 min", "3 d ago".
func relative(d time.Duration) string {
	s := cmp.Or(renewer.Span(d.Abs()), "less than 1 s")
	switch {
	case d == 0:
		return "now"
	case d < 0:
		return s + " ago"
	default:
		return "in " + s
	}
}

// breaks cuts a name where a line may end: behind dots, hyphens and what else
// joins the parts of names and paths.
func breaks(name string) (out []string) {
	at := 0
	for i, r := range name {
		if strings.ContainsRune(".-@_/:", r) && i+1 < len(name) {
			out, at = append(out, name[at:i+1]), i+1
		}
	}
	return append(out, name[at:])
}

func many(n int, one string) string {
	if n != 1 {
		one += "s"
	}
	return thousands(n) + " " + one
}

// thousands writes 12 345 with a narrow space that does not break.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// short is the beginning of a fingerprint.
func short(hex string) string {
	if len(hex) > 12 {
		return hex[:12]
	}
	return hex
}

// pieces breaks a fingerprint or serial into groups of eight digits, where a
// line may end.
func pieces(hex string) []string {
	var out []string
	for len(hex) > 8 {
		out, hex = append(out, hex[:8]), hex[8:]
	}
	return append(out, hex)
}

// look is how a state is shown: a colour, a sign that says the same without
// it, and the word.
type look struct{ Class, Sign, Word string }

const (
	good = "good"
	busy = "busy"
	warn = "warn"
	bad  = "bad"
	idle = "idle"
)

var signs = map[string]string{good: "✓", busy: "↻", warn: "!", bad: "✕", idle: "–"}

var classes = map[string]string{
	string(renewer.StatusPending): idle, string(renewer.StatusValid): good, string(renewer.StatusDue): warn, string(renewer.StatusRenewing): busy,
	string(renewer.StatusBlocked): bad, string(renewer.StatusExpired): bad, string(renewer.StatusRevoked): bad, string(renewer.StatusOrphaned): idle,

	string(renewer.Accepted): good, string(renewer.Assumed): good, string(renewer.NotLoaded): warn, string(renewer.NoRoot): bad, string(renewer.NotKnown): idle, // StatusUnknown and HostUnknown too

	string(renewer.HostStaged): busy, string(renewer.HostActivated): busy, string(renewer.HostVerified): good,
	string(renewer.HostRolledBack): bad, string(renewer.HostDrifted): bad,

	string(renewer.StepActivating): busy, string(renewer.StepRestoring): bad, string(renewer.StepRestored): bad, string(renewer.StepUnproven): warn,

	string(renewer.PhaseOrdering): busy, string(renewer.PhaseRolling): busy, string(renewer.PhaseDone): good, string(renewer.PhaseSuperseded): idle,

	"up": good, "down": classOf(problems.Of(problems.HostUnreachable).Severity), "working": good, "failing": classOf(problems.Of(problems.NotifyFailing).Severity),
}

// markOf gives the look of a status, state or phase.
func markOf(state any) look {
	word := fmt.Sprint(state)
	class, ok := classes[word]
	if !ok {
		class = idle
	}
	return look{class, signs[class], strings.ReplaceAll(word, "_", " ")}
}

// statusLook gives the look of a certificate's status, with the class of its row.
func statusLook(class string, s renewer.Status) look {
	return look{class, signs[class], markOf(s).Word}
}

// countLook gives the look of a status that many certificates have.
func countLook(s renewer.Status) look {
	if id, ok := opens[s]; ok {
		return statusLook(classOf(problems.Of(id).Severity), s)
	}
	return markOf(s)
}

// opens are the problems of which a status alone tells.
var opens = map[renewer.Status]problems.ID{
	renewer.StatusExpired: problems.CertificateExpired, renewer.StatusRevoked: problems.RevokedInUse, renewer.StatusBlocked: problems.RolloutBlocked,
}

// hostLook gives the look of a host's state: an activation that failed is called
// activated until what was there before is back.
func hostLook(h renewer.HostRow) look {
	l := markOf(h.State)
	if h.State == renewer.HostActivated && h.Error != "" {
		l = look{bad, signs[bad], "activation failed"}
	}
	return l
}

// eventLook gives the look of an event.
func eventLook(e renewer.Event) look {
	class := idle
	row, known := problems.ByEvent(string(e.Type))
	switch t := e.Type; {
	case t == renewer.EventVerified, t == renewer.EventRolloutDone, t == renewer.EventRecovered, t == renewer.EventIssued:
		class = good
	case t == renewer.EventActivateFailed, t == renewer.EventProbeFailed, t == renewer.EventRestoreFailed, t == renewer.EventRolledBack:
		class = bad
	case known:
		class = classOf(row.Severity)
	case e.Error != "", t == renewer.EventIssueWarning, strings.HasSuffix(string(t), "_failed"):
		class = warn
	}
	return look{class, signs[class], strings.ReplaceAll(string(e.Type), "_", " ")}
}

// waitLook gives the look of a reason to wait.
func waitLook(w renewer.Waiting) look {
	l := look{Class: idle, Sign: signs[idle], Word: "waits"}
	switch w.Kind {
	case renewer.WaitUnreachable, renewer.WaitBackoff:
		l.Class, l.Sign = warn, signs[warn]
	case renewer.WaitPerson:
		l = look{bad, signs[bad], "blocked"}
	}
	return l
}

// firstEnd is when the first of an issuer's CA certificates expires.
func firstEnd(cas []renewer.CAStatus) (end time.Time) {
	for _, ca := range cas {
		if end.IsZero() || ca.NotAfter.Before(end) {
			end = ca.NotAfter
		}
	}
	return end
}

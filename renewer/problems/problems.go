// Package problems is the catalogue of problems: one row for each problem that
// renewer reports. Severity, meaning, commands and runbook of a problem are
// defined here alone: status, the page, notifications, alert rules and the
// headers of runbooks use them, or a test compares them. Package renewer
// decides when a certificate, a host or an issuer has a problem; a row only
// describes it.
package problems

import (
	"slices"
	"strings"
)

// ID names a problem. It is part of the contract with scripts and never changes.
type ID string

// Severity is how bad a problem is.
type Severity string

// The severities. Critical: a service is refused or will be very soon, its
// certificate is not the one that was issued, or renewer itself is blind.
// Warning: all else.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
)

// Row is one problem.
type Row struct {
	ID       ID
	Severity Severity
	Runbook  string // page in docs/runbooks; also the name of the alert, unless NoAlert says why there is none
	NoAlert  string
	// NoStatus: why neither status nor page show it; empty where they do.
	NoStatus string
	// Events are the types of audit log events that open it and that channels
	// receive.
	Events   []string
	Checks   []string // of renewer doctor that find it
	Meaning  string   // one sentence, without its full stop
	Commands []string // what to run first; {certificate}, {host}, {issuer} and {channel} stand for names
	Opens    string   // what opens it
	Closes   string   // what closes it
}

// Alert returns the name of its alert; empty if there is none.
func (r Row) Alert() string {
	if r.NoAlert != "" {
		return ""
	}
	return r.Runbook
}

// Title returns the id in words.
func (r Row) Title() string { return strings.ReplaceAll(string(r.ID), "_", " ") }

// Names is what the placeholders of a command stand for; empty: unknown.
type Names struct{ Certificate, Host, Issuer, Channel string }

// Run returns the commands for these names, without those that need a name that
// is not known.
func (r Row) Run(n Names) (out []string) {
	names := strings.NewReplacer("{certificate}", n.Certificate, "{host}", n.Host, "{issuer}", n.Issuer, "{channel}", n.Channel)
	missing := func(command string) bool {
		return n.Certificate == "" && strings.Contains(command, "{certificate}") || n.Host == "" && strings.Contains(command, "{host}") ||
			n.Issuer == "" && strings.Contains(command, "{issuer}") || n.Channel == "" && strings.Contains(command, "{channel}")
	}
	for _, command := range r.Commands {
		if !missing(command) {
			out = append(out, names.Replace(command))
		}
	}
	return out
}

// All returns every row, in the order of the index of runbooks.
func All() []Row { return slices.Clone(table) }

// ByID returns a row; ok is false if there is none.
func ByID(id ID) (Row, bool) { return find(func(r Row) bool { return r.ID == id }) }

// Of returns the row of an id of this package. It panics on any other.
func Of(id ID) Row {
	r, ok := ByID(id)
	if !ok {
		panic("problems: no row " + string(id))
	}
	return r
}

// ByEvent returns the problem that a type of event opens.
func ByEvent(event string) (Row, bool) {
	return find(func(r Row) bool { return slices.Contains(r.Events, event) })
}

// ByCheck returns the problem that a check of the doctor finds.
func ByCheck(check string) (Row, bool) {
	return find(func(r Row) bool { return slices.Contains(r.Checks, check) })
}

// ByAlert returns the problem of an alert.
func ByAlert(alert string) (Row, bool) {
	return find(func(r Row) bool { return alert != "" && r.Alert() == alert })
}

// Rank orders problems, the worst first.
func Rank(id ID) int {
	i := slices.IndexFunc(table, func(r Row) bool { return r.ID == id })
	if i >= 0 && table[i].Severity == Warning {
		i += len(table)
	}
	return i
}

func find(is func(Row) bool) (Row, bool) {
	if i := slices.IndexFunc(table, is); i >= 0 {
		return table[i], true
	}
	return Row{}, false
}

package notify

import (
	"cmp"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// A kind of problem. Its name is the word of the fleet file that asks for it; what
// it says is that of its row in the catalogue.
type kind struct {
	problems.Row
	after string // what to run once it is over, where that is something else
	// brief: one that is over before anybody was told is not worth a message.
	// Of the others people want to know even then: somebody replaced a file.
	brief bool
	// again: each further event is news; of the others it is a repeat.
	again bool
}

// pattern is the command with its placeholders.
func (k kind) pattern(over bool) string {
	if over && k.after != "" {
		return k.after
	}
	return k.Commands[0]
}

var kinds = map[renewer.EventType]kind{
	renewer.EventExpired:           {Row: problems.Of(problems.CertificateExpired)},
	renewer.EventRestoreFailed:     {Row: problems.Of(problems.RestoreFailed), after: "renewer show {certificate}"},
	renewer.EventRolloutBlocked:    {Row: problems.Of(problems.RolloutBlocked)},
	renewer.EventRolledBack:        {Row: problems.Of(problems.RolledBack)},
	renewer.EventExpiring:          {Row: problems.Of(problems.CertificateExpiring), again: true},
	renewer.EventRenewalFailed:     {Row: problems.Of(problems.RenewalFailed), brief: true},
	renewer.EventIssuerDown:        {Row: problems.Of(problems.IssuerDown), brief: true},
	renewer.EventCARotationWaiting: {Row: problems.Of(problems.CARotationBlocked)},
	renewer.EventDrifted:           {Row: problems.Of(problems.Drifted)},
	renewer.EventUnreachable:       {Row: problems.Of(problems.ServedUnproven), brief: true},
}

// notice is an event that opens no problem; each is told once.
type notice struct{ means, command string }

var notices = map[renewer.EventType]notice{
	renewer.EventIssueWarning: {means: "The issuer issued something else than was requested", command: "renewer show {certificate}"},
	renewer.EventOrderWaiting: {means: "An order waits until the issuer signs it", command: "renewer show {certificate}"},
	renewer.EventRolloutDone:  {means: "A rollout is done and verified", command: "renewer show {certificate}"},
	renewer.EventRecovered:    {means: "The service serves the right certificate again", command: "renewer verify {certificate}"},

	renewer.EventLifetimeTooShort: {
		means: "The issuer gave less than a tenth of the requested lifetime", command: "renewer show {certificate}",
	},
	renewer.EventBudgetExceeded:    {means: problems.Of(problems.BudgetExceeded).Meaning, command: problems.Of(problems.BudgetExceeded).Commands[0]},
	renewer.EventCARotationStarted: {means: "The replacement of a CA has started", command: "renewer ca show {issuer}"},
	renewer.EventCARotationDone:    {means: "The CA of an issuer was replaced", command: "renewer ca show {issuer}"},
	renewer.EventRevoked:           {means: "A certificate was revoked at its issuer", command: "renewer show {certificate}"},
}

// Usual are the events of a channel that names none: what an operator acts on.
var Usual = []renewer.EventType{
	renewer.EventExpired, renewer.EventRestoreFailed, renewer.EventRolloutBlocked, renewer.EventRolledBack, renewer.EventExpiring,
	renewer.EventRenewalFailed, renewer.EventIssuerDown, renewer.EventCARotationWaiting,
	renewer.EventDrifted, renewer.EventUnreachable,
}

// key is what makes two events speak of the same problem.
type key struct {
	kind                      renewer.EventType
	certificate, host, issuer string
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(problems.Rank(kinds[k.kind].ID), problems.Rank(kinds[o.kind].ID)), cmp.Compare(k.kind, o.kind),
		cmp.Compare(k.issuer, o.issuer), cmp.Compare(k.certificate, o.certificate), cmp.Compare(k.host, o.host))
}

// opens returns the problem that an event speaks of.
func opens(e renewer.Event) (k key, ok bool) {
	k = key{kind: e.Type, certificate: e.Certificate}
	switch e.Type {
	case renewer.EventRolledBack, renewer.EventRestoreFailed, renewer.EventDrifted, renewer.EventUnreachable:
		k.host = e.Host
	case renewer.EventStageFailed: // the renewal does not get to that host
		k.kind, k.host = renewer.EventRenewalFailed, e.Host
	case renewer.EventRolloutWaiting:
		if e.Error == "" { // it passes by itself
			return k, false
		}
		k.kind, k.host = renewer.EventRolloutBlocked, e.Host
	case renewer.EventIssuerDown, renewer.EventCARotationWaiting:
		k = key{kind: e.Type, issuer: e.Issuer}
	}
	_, ok = kinds[k.kind]
	return k, ok
}

// ends reports whether a problem is over because of an event.
func ends(e renewer.Event, t Problem) bool {
	if e.Type == renewer.EventIssuerUp {
		return t.Kind == renewer.EventIssuerDown && t.Issuer == e.Issuer
	}
	if t.Kind == renewer.EventCARotationWaiting {
		switch e.Type {
		case renewer.EventCARotationStage, renewer.EventCARotationSwitched, renewer.EventCARotationDone, renewer.EventCARotationCancelled:
			return t.Issuer == e.Issuer
		}
		return false
	}
	if t.Certificate != e.Certificate || t.Issuer != "" {
		return false
	}
	here := t.Host == e.Host && t.Host != ""
	switch e.Type {
	case renewer.EventRemoved:
		return true
	case renewer.EventRolloutDone:
		switch t.Kind {
		case renewer.EventUnreachable: // what runs nowhere is in place, but not proven
			return false
		case renewer.EventExpiring, renewer.EventExpired:
			return t.Generation != e.Generation
		}
		return true
	case renewer.EventIssued, renewer.EventOrderWaiting: // the answer that was of no use is gone
		return t.Kind == renewer.EventRenewalFailed && t.Host == ""
	case renewer.EventStaged:
		return t.Kind == renewer.EventRenewalFailed && here
	case renewer.EventActivated, renewer.EventRolloutWaiting:
		return t.Kind == renewer.EventRolloutBlocked && here
	case renewer.EventVerified:
		return here
	case renewer.EventRestored:
		return t.Kind == renewer.EventRestoreFailed && here
	case renewer.EventRecovered:
		return here && (t.Kind == renewer.EventDrifted || t.Kind == renewer.EventUnreachable || t.Kind == renewer.EventRestoreFailed)
	case renewer.EventDrifted:
		return here && t.Kind == renewer.EventUnreachable // it could be looked at
	case renewer.EventExpired:
		return t.Kind == renewer.EventExpiring
	}
	return false
}

// givenUp reports whether an event ends a problem unless another rollout
// takes the place of the one that ended.
func givenUp(e renewer.Event, t Problem) bool {
	if e.Type != renewer.EventRolloutSuperseded || t.Certificate != e.Certificate {
		return false
	}
	switch t.Kind {
	case renewer.EventRolloutBlocked, renewer.EventRolledBack, renewer.EventRenewalFailed, renewer.EventRestoreFailed:
		return true
	}
	return false
}

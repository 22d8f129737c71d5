package notify

import (
	"cmp"
	"sync"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// A kind of problem. Its name is the word of the fleet file that asks for it;
// severity, meaning, commands and runbook are in the catalogue of problems.
type kind struct {
	is string // in a title, after the name
	// brief: a problem that closes before a message is sent is not reported. The
	// others are reported as a notice even then: a file was replaced by hand.
	brief bool
	// again: each further event is news; of the others it is a repeat.
	again bool
}

var kinds = map[renewer.EventType]kind{
	renewer.EventExpired:           {is: "expired"},
	renewer.EventRestoreFailed:     {is: "not restored"},
	renewer.EventRolloutBlocked:    {is: "blocked"},
	renewer.EventRolledBack:        {is: "rolled back"},
	renewer.EventExpiring:          {is: "expiring", again: true},
	renewer.EventRenewalFailed:     {is: "not renewed", brief: true},
	renewer.EventIssuerDown:        {is: "down", brief: true},
	renewer.EventCARotationWaiting: {is: "CA rotation blocked"},
	renewer.EventDrifted:           {is: "drifted"},
	renewer.EventUnreachable:       {is: "unreachable", brief: true},
}

// notices are for information, once each. Those without a text here are in the
// catalogue of problems.
var notices = map[renewer.EventType]problems.Row{
	renewer.EventBudgetExceeded:    {},
	renewer.EventIssueWarning:      {Meaning: "The issuer issued something else than was requested", Commands: []string{"renewer show {certificate}"}},
	renewer.EventOrderWaiting:      {Meaning: "The issuer has an order and has not signed it yet; renewer waits for it", Commands: []string{"renewer show {certificate}"}},
	renewer.EventRolloutDone:       {Meaning: "A rollout is done and proven", Commands: []string{"renewer show {certificate}"}},
	renewer.EventRecovered:         {Meaning: "The service serves the right certificate again", Commands: []string{"renewer verify {certificate}"}},
	renewer.EventLifetimeTooShort:  {Meaning: "The issuer gave less than a tenth of the requested lifetime", Commands: []string{"renewer show {certificate}"}},
	renewer.EventCARotationStarted: {Meaning: "The replacement of a CA has started", Commands: []string{"renewer ca show {issuer}"}},
	renewer.EventCARotationDone:    {Meaning: "The CA of an issuer was replaced", Commands: []string{"renewer ca show {issuer}"}},
	renewer.EventRevoked:           {Meaning: "A certificate was revoked at its issuer", Commands: []string{"renewer show {certificate}"}},
}

// rowOf returns what the catalogue says of a kind.
func rowOf(k renewer.EventType) problems.Row {
	if row, ok := problems.ByEvent(string(k)); ok {
		return row
	}
	return notices[k]
}

// describe says what the catalogue knows of a problem. It is done when a message
// is made, so that what an older version kept has today's words.
func describe(t *Problem) { t.is(t.row()) }

// row is what the catalogue says of a problem. A drift that lasts is the problem
// that status shows then.
func (t Problem) row() problems.Row {
	if t.differs() {
		return problems.Of(problems.ServedDiffers)
	}
	return rowOf(t.Kind)
}

// differs reports whether a drift was escalated: see state.escalate.
func (t Problem) differs() bool {
	return t.Kind == renewer.EventDrifted && t.Severity == string(problems.Critical)
}

func (t *Problem) is(row problems.Row) {
	t.Means, t.Runbook, t.Commands = row.Meaning, row.Runbook, run(patterns(*t), t.key())
	if t.Command = ""; len(t.Commands) > 0 {
		t.Command = t.Commands[0]
	}
	if _, ok := kinds[t.Kind]; ok && row.Severity != "" {
		t.Severity = string(row.Severity)
	}
}

// patterns are the commands of a problem with placeholders, to run first to last.
func patterns(t Problem) []string {
	switch {
	case t.Until.IsZero():
		return t.row().Commands
	case t.Issuer != "":
		return []string{"renewer status"}
	}
	return []string{"renewer show {certificate}"}
}

// Usual are the events of a channel that names none: all problems.
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

// ranks orders kinds of problems, the worst first.
var ranks = sync.OnceValue(func() map[renewer.EventType]int {
	out := map[renewer.EventType]int{}
	for k := range kinds {
		out[k] = problems.Rank(rowOf(k).ID)
	}
	return out
})

func (t Problem) rank() int {
	if t.differs() {
		return problems.Rank(problems.ServedDiffers)
	}
	return ranks()[t.Kind]
}

func (t Problem) compare(o Problem) int {
	return cmp.Or(cmp.Compare(t.rank(), o.rank()), t.key().compare(o.key()))
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(ranks()[k.kind], ranks()[o.kind]), cmp.Compare(k.kind, o.kind),
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

// ends reports whether an event closes a problem.
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
	case renewer.EventRolledBack: // the previous one was put back after all; restored alone proves nothing
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
// takes the place of the one that ended. restore_failed is not among them: the
// service may be down until a probe sees that it is not.
func givenUp(e renewer.Event, t Problem) bool {
	if e.Type != renewer.EventRolloutSuperseded || t.Certificate != e.Certificate {
		return false
	}
	switch t.Kind {
	case renewer.EventRolloutBlocked, renewer.EventRolledBack, renewer.EventRenewalFailed:
		return true
	}
	return false
}

package notify

import (
	"cmp"
	"strings"

	"renewer/renewer"
)

// A kind of problem. Its name is the word of the fleet file that asks for it.
type kind struct {
	is      string // in a title, after the name
	means   string
	command string // what helps; {certificate} and {host} are replaced
	// brief: one that is over before anybody was told is not worth a message.
	// Of the others people want to know even then: somebody replaced a file.
	brief bool
	// again: each further event is news; of the others it is a repeat.
	again bool
	rank  int // the worst first
}

// pattern is the command with its placeholders.
func (k kind) pattern(over bool) string {
	switch {
	case !over:
		return k.command
	case strings.Contains(k.command, "{certificate}"), strings.Contains(k.command, "{host}"):
		return "renewer show {certificate}"
	}
	return "renewer status"
}

var kinds = map[renewer.EventType]kind{
	renewer.EventExpired: {
		is: "expired", means: "what is in place has ended: clients refuse it", command: "renewer renew {certificate}", rank: 1,
	},
	renewer.EventRestoreFailed: {
		is: "not restored", means: "a rollout failed, and putting the previous certificate back failed too: the service may be down",
		command: "renewer doctor {host}", rank: 2,
	},
	renewer.EventRolloutBlocked: {
		is: "blocked", means: "a rollout has stopped and only a person can go on; what was in place before still is",
		command: "renewer show {certificate}", rank: 3,
	},
	renewer.EventRolledBack: {
		is: "rolled back", means: "the new certificate was not proven in time, so the previous one was put back and is served",
		command: "renewer show {certificate}", rank: 4,
	},
	renewer.EventExpiring: {
		is: "expiring", means: "the end comes near and its renewal is not done",
		command: "renewer renew {certificate}", again: true, rank: 5,
	},
	renewer.EventRenewalFailed: {
		is: "not renewed", means: "a new certificate could not be had or brought to its host; it is tried again by itself, and what is in place stays",
		command: "renewer show {certificate}", brief: true, rank: 6,
	},
	renewer.EventIssuerDown: {
		is: "down", means: "the issuer does not answer as it should: nothing can be renewed there", command: "renewer check --online", brief: true, rank: 7,
	},
	renewer.EventCARotationWaiting: {
		is: "CA rotation blocked", means: "the CA of an issuer is being replaced, and that needs manual action; nothing is refused meanwhile",
		command: "renewer ca show {issuer}", rank: 8,
	},
	renewer.EventDrifted: {
		is: "drifted", means: "something else is there or served than renewer put in place; it is put right as soon as it may be (renewer status says what it waits for)",
		command: "renewer verify {certificate}", rank: 9,
	},
	renewer.EventUnreachable: {
		is: "unreachable", means: "nobody can see what is served there: the host or the service does not answer",
		command: "renewer doctor {host}", brief: true, rank: 10,
	},
}

// notices have no end; each is told once.
var notices = map[renewer.EventType]kind{
	renewer.EventIssueWarning: {means: "the issuer gave something else than was asked for", command: "renewer show {certificate}"},
	renewer.EventOrderWaiting: {means: "an order waits for the issuer to sign it, for as long as that takes", command: "renewer show {certificate}"},
	renewer.EventRolloutDone:  {means: "a rollout is done and proven", command: "renewer show {certificate}"},
	renewer.EventRecovered:    {means: "it is served as it should be again", command: "renewer verify {certificate}"},

	renewer.EventLifetimeTooShort: {
		means: "the issuer gave less than a tenth of the lifetime that was asked for", command: "renewer show {certificate}",
	},
	renewer.EventBudgetExceeded: {
		means: "a service was away for longer than its restart budget", command: "renewer history {certificate} --since 24h",
	},
	renewer.EventCARotationStarted: {means: "the CA of an issuer is being replaced", command: "renewer ca show {issuer}"},
	renewer.EventCARotationDone:    {means: "the CA of an issuer was replaced", command: "renewer ca show {issuer}"},
	renewer.EventRevoked:           {means: "a certificate was revoked at its issuer", command: "renewer show {certificate}"},
}

// Usual are the events of a channel that names none: what a person would act on.
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
	return cmp.Or(cmp.Compare(kinds[k.kind].rank, kinds[o.kind].rank), cmp.Compare(k.kind, o.kind),
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
		return here && (t.Kind == renewer.EventDrifted || t.Kind == renewer.EventUnreachable)
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

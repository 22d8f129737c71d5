package notify

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/problems"
)

// Facts is what messages say beside the log.
type Facts struct {
	Fleet string // its name
	Page  string // address of the status page; empty: there is none
	// Row returns what is known of a certificate, and of an issuer the row of its
	// certificate that expires first. nil: nothing is known of any.
	Row func(certificate, issuer string) (renewer.Row, bool)
}

// add says of each problem what the log does not have.
func (f Facts) add(m *Message, now time.Time) {
	m.Fleet, m.Page = f.Fleet, f.Page
	for _, list := range [][]Problem{m.Open, m.Resolved, m.Notices} {
		for i := range list {
			t := &list[i]
			if f.Row != nil {
				if row, ok := f.Row(t.Certificate, t.Issuer); ok {
					t.about(row, now)
				}
			}
			if f.Page == "" {
				continue
			}
			t.Page = f.Page + pageOf(*t)
			if t.Runbook != "" {
				t.RunbookURL = f.Page + "/runbooks/" + t.Runbook
			}
		}
	}
	m.Severity = m.worst()
}

// about says what follows from the state of the certificate at now: when it
// expires, and that it does so within days, which is a problem of its own.
func (t *Problem) about(row renewer.Row, now time.Time) {
	t.NotAfter = row.NotAfter
	if t.Kind != renewer.EventExpiring || !t.Until.IsZero() {
		return
	}
	row.Problems(now, func(id problems.ID, _ *renewer.HostRow) {
		if id == problems.CertificateExpiringSoon {
			t.is(problems.Of(id))
		}
	})
}

// differs reports whether status says of a problem's host that it serves another
// certificate and was not restored.
func (f Facts) differs(t Problem, now time.Time) bool {
	if f.Row == nil {
		return false
	}
	row, ok := f.Row(t.Certificate, "")
	return ok && row.DriftOn(t.Host, now) == problems.ServedDiffers
}

// pageOf is the path of the page that shows a problem.
func pageOf(t Problem) string {
	switch {
	case t.Kind == renewer.EventUnreachable && t.Host != "":
		return "/hosts/" + url.PathEscape(t.Host)
	case t.Certificate != "":
		return "/certificates/" + url.PathEscape(t.Certificate)
	case t.Issuer != "":
		return "/issuers"
	}
	return "/"
}

// asOf returns the message with what depends on the time of its attempt.
func (m Message) asOf(now time.Time) Message {
	for _, list := range []*[]Problem{&m.Open, &m.Resolved, &m.Notices} {
		*list = slices.Clone(*list)
		for i := range *list {
			t := &(*list)[i]
			if t.Message == name(*t) { // which stands before it
				t.Message = ""
			}
			t.Expires = expires(*t, now)
			if t.Expires != "" { // said once
				at := t.NotAfter.UTC().Format(time.RFC3339)
				t.Message = strings.TrimPrefix(strings.TrimPrefix(t.Message, "expires at "+at+"; "), "expired at "+at)
			}
		}
	}
	return m
}

// expires says when what a problem is about expires.
func expires(t Problem, now time.Time) string {
	if t.NotAfter.IsZero() {
		return ""
	}
	at := ", at " + when(t.NotAfter)
	left := t.NotAfter.Sub(now)
	whose := ""
	if t.Issuer != "" {
		whose = "the first of its certificates "
	}
	switch span := renewer.Span(left.Abs()); {
	case span == "":
		return whose + "expires now" + at
	case left < 0:
		return whose + "expired " + span + " ago" + at
	default:
		return whose + "expires in " + span + at
	}
}

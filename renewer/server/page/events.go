package page

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"renewer/renewer"
)

// eventsPage is the event log, newest first.
type eventsPage struct {
	Certificate string
	Events      []renewer.Event
	Older       string // address; empty: there are none
	Newest      string // address of the first page; empty on it
}

// perEvents is how many events a page shows.
const perEvents = 100

func (p *pages) events(r *http.Request, f *frame) (any, error) {
	f.Section, f.Title = "events", "Events"
	system, err := p.Source.System(r.Context())
	if err != nil {
		return nil, err
	}
	f.Daemon = system.Daemon
	q := r.URL.Query()
	page := eventsPage{Certificate: parseFilter(url.Values{"q": q["certificate"]}).Query}
	before, err := strconv.ParseUint(q.Get("before"), 10, 64)
	if err != nil {
		before = 0
	}
	page.Events, err = p.Source.Events(r.Context(), renewer.EventFilter{Certificate: page.Certificate, Before: before, Limit: perEvents + 1})
	if err != nil {
		return nil, err
	}
	slices.Reverse(page.Events)
	address := func(before uint64) string {
		q := url.Values{}
		if page.Certificate != "" {
			q.Set("certificate", page.Certificate)
		}
		if before > 0 {
			q.Set("before", strconv.FormatUint(before, 10))
		}
		if len(q) == 0 {
			return "/events"
		}
		return "/events?" + q.Encode()
	}
	if len(page.Events) > perEvents {
		page.Events = page.Events[:perEvents]
		page.Older = address(page.Events[perEvents-1].Seq)
	}
	if before > 0 {
		page.Newest = address(0)
	}
	return page, nil
}

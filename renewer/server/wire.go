package server

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// What both ends of the socket agree on.

// endTrailer is the trailer of a streamed answer: endOK, or a wireError. A
// stream without it was cut.
const (
	endTrailer = "Renewer-End"
	endOK      = "ok"
)

// heartbeat is how often a stream that waits sends a blank line, and
// clientPatience how long the client waits for anything at all.
const (
	heartbeat      = 15 * time.Second
	clientPatience = 90 * time.Second
)

// line is one line of a stream of events; the last has a result, an error, or
// both. Blank lines keep the connection alive.
type line[T any] struct {
	Event  *renewer.Event `json:"event,omitempty"`
	Result *T             `json:"result,omitempty"`
	Error  *wireError     `json:"error,omitempty"`
}

// wireError is an error with what somebody decides on.
type wireError struct {
	Message string        `json:"error"`
	Hint    string        `json:"hint,omitempty"`
	Class   renewer.Class `json:"class,omitempty"`
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Message: err.Error(), Hint: renewer.Hint(err)}
	if c := renewer.ClassOf(err); c != renewer.ClassRetry {
		w.Class = c
	}
	return w
}

func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	return &renewer.Error{Class: w.Class, Hint: w.Hint, Err: errors.New(w.Message)}
}

func listQuery(f renewer.ListFilter) url.Values {
	q := url.Values{}
	set(q, "host", f.Host)
	set(q, "issuer", f.Issuer)
	set(q, "status", string(f.Status))
	if f.ExpiringWithin != 0 {
		q.Set("expiring_within", f.ExpiringWithin.String())
	}
	return q
}

func eventQuery(f renewer.EventFilter) url.Values {
	q := url.Values{}
	set(q, "certificate", f.Certificate)
	if f.Before != 0 {
		q.Set("before", strconv.FormatUint(f.Before, 10))
	}
	if f.After != 0 {
		q.Set("after", strconv.FormatUint(f.After, 10))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339Nano))
	}
	if len(f.Rollouts) > 0 {
		q["rollout"] = f.Rollouts
	}
	return q
}

func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

// query reads parameters and keeps the first fault; done reports it, and any
// parameter that nobody asked for.
type query struct {
	values url.Values
	fault  error
}

func (q *query) text(key string) string {
	v := q.values.Get(key)
	delete(q.values, key)
	return v
}

func (q *query) all(key string) []string {
	v := q.values[key]
	delete(q.values, key)
	return v
}

func parsed[T any](q *query, key string, parse func(string) (T, error)) T {
	var zero T
	text := q.text(key)
	if text == "" {
		return zero
	}
	v, err := parse(text)
	if err != nil && q.fault == nil {
		q.fault = errors.New("bad value of " + key + ": " + strconv.Quote(text))
	}
	return v
}

func (q *query) done() error {
	for key := range q.values {
		if q.fault == nil {
			q.fault = errors.New("unknown parameter " + strconv.Quote(key))
		}
	}
	return q.fault
}

func parseListFilter(v url.Values) (renewer.ListFilter, error) {
	q := &query{values: v}
	f := renewer.ListFilter{
		Host: q.text("host"), Issuer: q.text("issuer"), Status: renewer.Status(q.text("status")),
		ExpiringWithin: parsed(q, "expiring_within", time.ParseDuration),
	}
	return f, q.done()
}

func parseEventFilter(v url.Values) (renewer.EventFilter, error) {
	q := &query{values: v}
	f := renewer.EventFilter{
		Certificate: q.text("certificate"), Rollouts: q.all("rollout"),
		After:  parsed(q, "after", func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }),
		Before: parsed(q, "before", func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }),
		Limit:  parsed(q, "limit", strconv.Atoi),
		Since:  parsed(q, "since", func(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) }),
	}
	return f, q.done()
}

func forecastQuery(r forecast.Request) url.Values {
	q := url.Values{"for": {r.For.String()}}
	for _, o := range r.Outages {
		q.Add("outage", o.Of+"="+o.For.String())
	}
	return q
}

func parseForecast(v url.Values) (r forecast.Request, err error) {
	q := &query{values: v}
	r.For = parsed(q, "for", time.ParseDuration)
	for _, text := range q.all("outage") {
		of, long, _ := strings.Cut(text, "=")
		d, err := time.ParseDuration(long)
		if err != nil {
			return r, fmt.Errorf("outage %s: %w", text, err)
		}
		r.Outages = append(r.Outages, forecast.Outage{Of: of, For: d})
	}
	return r, q.done()
}

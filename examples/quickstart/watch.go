package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"renewer/renewer"
)

// pollEvery is how often the daemon is asked for news.
const pollEvery = 300 * time.Millisecond

// backdate is how far a certificate's notBefore lies before its issuance.
const backdate = time.Minute

// source is the part of the daemon's service that is watched.
type source interface {
	List(ctx context.Context, f renewer.ListFilter, yield func(renewer.Row) error) error
	Events(ctx context.Context, f renewer.EventFilter) ([]renewer.Event, error)
	Show(ctx context.Context, name string) (renewer.Detail, error)
}

// watcher prints one plain line for each thing that a newcomer should see.
type watcher struct {
	source source
	out    io.Writer
	since  time.Time
	after  uint64 // the last event that was seen

	stood                     bool // an earlier run left certificates
	first, renewals, problems int
}

// standing prints what an earlier run left.
func (w *watcher) standing(ctx context.Context) error {
	return w.source.List(ctx, renewer.ListFilter{}, func(r renewer.Row) error {
		// What was issued since the start is news, and comes as an event.
		news := !r.NotBefore.Add(backdate).Before(w.since.Truncate(time.Second))
		if r.Generation == 0 || news {
			return nil
		}
		w.stood = true
		_, err := fmt.Fprintf(w.out, "%8s  %-7s continues with generation %d: serial %s, valid until %s, renewed at about %s\n",
			"", r.Name, r.Generation, r.Serial, clock(r.NotAfter), clock(r.RenewAt))
		return err
	})
}

// poll prints what is new.
func (w *watcher) poll(ctx context.Context) error {
	events, err := w.source.Events(ctx, renewer.EventFilter{After: w.after, Since: w.since})
	if err != nil {
		return err
	}
	for _, e := range events {
		w.after = e.Seq
		line, err := w.line(ctx, e)
		if err != nil {
			return err
		}
		if line != "" {
			fmt.Fprintf(w.out, "%s  %-7s %s\n", e.Time.Local().Format(time.TimeOnly), e.Certificate, line)
		}
	}
	return nil
}

// line is what is worth saying about an event; empty for steps on the way.
func (w *watcher) line(ctx context.Context, e renewer.Event) (string, error) {
	switch e.Type {
	case renewer.EventIssued:
		return fmt.Sprintf("generation %d issued", e.Generation), nil
	case renewer.EventRolloutDone:
		detail, err := w.source.Show(ctx, e.Certificate)
		if err != nil {
			return "", err
		}
		if e.Generation > 1 {
			w.renewals++
		} else {
			w.first++
		}
		return fmt.Sprintf("generation %d in place and verified: serial %s, valid until %s, renewed at about %s",
			e.Generation, detail.Serial, clock(detail.NotAfter), clock(detail.RenewAt)), nil
	}
	if e.Error == "" {
		return "", nil
	}
	w.problems++
	text := fmt.Sprintf("%s: %s", e.Type, e.Error)
	if e.Host != "" {
		text = fmt.Sprintf("%s on %s: %s", e.Type, e.Host, e.Error)
	}
	if e.Hint != "" {
		text += " (hint: " + e.Hint + ")"
	}
	return text, nil
}

// clock shows a time within the next hours.
func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }

// summary is the last line.
func (w *watcher) summary() string {
	return fmt.Sprintf("%d first certificates and %d renewals verified, %d problems", w.first, w.renewals, w.problems)
}

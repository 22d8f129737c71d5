// Package testfleet is a made-up fleet for tests of what is shown of one: as
// many certificates as wanted, or one in each state, in memory.
package testfleet

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"renewer/renewer"
	"renewer/renewer/forecast"
)

// Day is a day of a lifetime.
const Day = 24 * time.Hour

// Fleet answers what is asked of a fleet. Change it under With.
type Fleet struct {
	mu      sync.Mutex
	Status  renewer.SystemStatus
	Details map[string]renewer.Detail
	rows    []renewer.Row // sorted; nil: to be made of Details
	Log     []renewer.Event
	Matrix  renewer.Trust
	Ahead   forecast.Forecast
}

// With changes the fleet while it may be looked at.
func (f *Fleet) With(change func(*Fleet)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
	f.rows = nil
}

// Put adds or replaces a certificate.
func (f *Fleet) Put(d renewer.Detail) {
	if f.Details == nil {
		f.Details = map[string]renewer.Detail{}
	}
	f.Details[d.Name] = d
	f.rows = nil
}

// System returns Status.
func (f *Fleet) System(context.Context) (renewer.SystemStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Status, nil
}

// List calls yield for each certificate, soonest expiry first, those without
// an end last.
func (f *Fleet) List(_ context.Context, filter renewer.ListFilter, yield func(renewer.Row) error) error {
	f.mu.Lock()
	if f.rows == nil {
		for _, d := range f.Details {
			f.rows = append(f.rows, d.Row)
		}
		slices.SortFunc(f.rows, func(a, b renewer.Row) int {
			switch {
			case a.NotAfter.IsZero() != b.NotAfter.IsZero():
				return map[bool]int{true: 1, false: -1}[a.NotAfter.IsZero()]
			case !a.NotAfter.Equal(b.NotAfter):
				return a.NotAfter.Compare(b.NotAfter)
			default:
				return strings.Compare(a.Name, b.Name)
			}
		})
	}
	rows := f.rows
	f.mu.Unlock()
	for _, r := range rows {
		if !filter.Matches(r) {
			continue
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// Show returns a certificate.
func (f *Fleet) Show(_ context.Context, name string) (renewer.Detail, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.Details[name]
	return d, ok, nil
}

// Trust returns Matrix.
func (f *Fleet) Trust(context.Context) (renewer.Trust, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Matrix, nil
}

// Forecast returns Ahead.
func (f *Fleet) Forecast(context.Context) (forecast.Forecast, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Ahead, nil
}

// Events returns the newest events that match, oldest first.
func (f *Fleet) Events(_ context.Context, filter renewer.EventFilter) ([]renewer.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []renewer.Event
	for _, e := range f.Log {
		if name := filter.Certificate; name != "" && e.Certificate != name && !strings.HasPrefix(e.Certificate, name+"@") {
			continue
		}
		if e.Seq > filter.After && (filter.Before == 0 || e.Seq < filter.Before) {
			out = append(out, e)
		}
	}
	if n := filter.Limit; n > 0 && len(out) > n {
		out = out[len(out)-n:]
	}
	return out, nil
}

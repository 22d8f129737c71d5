package engine

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"renewer/renewer"
)

// A glance is what the check can afford: it asks whether anybody is there, at
// the hosts and at what they serve, without logging in and without TLS. What
// is gone, or back, is looked at properly; so problem, and its end, is known at
// the next check and not only at the next probe.

const (
	glances       = 32              // at once
	glanceTimeout = 5 * time.Second // of one
	secondGlance  = 5 * time.Second // after the first; a service that restarts is back by then
)

// What can be asked at a glance. An error says that no one answers, and
// nothing else.
type (
	// HostReacher is a Host that can be asked.
	HostReacher interface {
		Reach(ctx context.Context) error
	}
	// ServiceReacher is a Prober that can ask at an address.
	ServiceReacher interface {
		Reach(ctx context.Context, address string) error
	}
)

// spot is one thing to glance at.
type spot struct{ host, address string } // one of the two is set

// Glance looks properly at the placements whose host or service is gone since
// the last look, or back.
func (e *Engine) Glance(ctx context.Context) error {
	var fleet Fleet
	if err := e.do(ctx, func() { fleet = e.fleet }); err != nil {
		return err
	}
	answered, err := e.lastAnswers()
	if err != nil {
		return err
	}
	doubtful := map[spot]bool{} // those that somebody counts on
	for _, c := range fleet.Certificates {
		for _, p := range c.Placements {
			was, known := answered[p.ID()]
			if !known {
				continue
			}
			for _, s := range e.spots(p, fleet) {
				doubtful[s] = doubtful[s] || was
			}
		}
	}
	there := e.who(ctx, fleet, slices.Collect(maps.Keys(doubtful)))
	var again []spot
	for s, was := range doubtful {
		if was && !there[s] {
			again = append(again, s)
		}
	}
	if len(again) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(secondGlance):
		}
		maps.Copy(there, e.who(ctx, fleet, again))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var names []string
	for _, c := range fleet.Certificates {
		if slices.ContainsFunc(c.Placements, func(p renewer.Placement) bool {
			was, known := answered[p.ID()]
			spots := e.spots(p, fleet)
			gone := slices.ContainsFunc(spots, func(s spot) bool { return !there[s] })
			return known && len(spots) > 0 && was == gone
		}) {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	e.Log.Info("hosts or issuers became reachable or unreachable; checking them", "certificates", len(names))
	err = e.Survey(ctx, names)
	return err
}

// lastAnswers reads from the index whether the last look at each placement got
// an answer. What was never looked at, and what is on its way, is left out.
func (e *Engine) lastAnswers() (map[string]bool, error) {
	answered := map[string]bool{}
	err := e.Store.Rows(time.Time{}, func(row renewer.Row) bool {
		for _, h := range row.Hosts {
			switch h.State {
			case renewer.HostPending, renewer.HostActivated:
			case renewer.HostStaged: // what is live waits with it
				if h.Served != "" {
					answered[renewer.Placement{Certificate: row.Name, Host: h.Name}.ID()] = true
				}
			default:
				answered[renewer.Placement{Certificate: row.Name, Host: h.Name}.ID()] = h.State != renewer.HostBlocked
			}
		}
		return true
	})
	return answered, err
}

// spots lists what a placement can be asked at: its host, and what its probe
// dials.
func (e *Engine) spots(p renewer.Placement, fleet Fleet) (out []spot) {
	if _, ok := fleet.Hosts[p.Host].(HostReacher); ok {
		out = append(out, spot{host: p.Host})
	}
	if _, ok := e.Prober.(ServiceReacher); ok && p.Probe.Kind.Served() && p.Probe.Address != "" {
		out = append(out, spot{address: p.Probe.Address})
	}
	return out
}

// who reports who answers.
func (e *Engine) who(ctx context.Context, fleet Fleet, spots []spot) map[spot]bool {
	there := map[spot]bool{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(glances)
	for _, s := range spots {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
			defer cancel()
			var err error
			if s.host != "" {
				err = fleet.Hosts[s.host].(HostReacher).Reach(ctx)
			} else {
				err = e.Prober.(ServiceReacher).Reach(ctx, s.address)
			}
			mu.Lock()
			defer mu.Unlock()
			there[s] = err == nil
			return nil
		})
	}
	_ = g.Wait() // the answers are what counts
	return there
}

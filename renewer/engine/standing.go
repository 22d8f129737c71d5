package engine

import (
	"context"
	"runtime/debug"
	"time"

	"renewer/renewer"
)

// Standing is how things stand as of the last turn of the loop. Its map is not to
// be changed.
type Standing struct {
	LastCheck, LastProbe time.Time
	NextDue              time.Time
	Waiting              map[string]renewer.Waits // as of Waiting; empty in an engine that is not on its own
}

// What many rollouts wait for is not published at every turn.
const (
	atOnce    = 100
	tellEvery = time.Second
)

// Standing does not wait for the loop, which may be at work on a whole fleet.
// Before the first turn it is empty.
func (e *Engine) Standing() Standing {
	if g := e.stands.Load(); g != nil {
		return *g
	}
	return Standing{}
}

// muchWork is after how much work, in certificates and tasks, memory is given
// back to the system: what a pass over a large fleet needed would be kept for long.
const muchWork = 1000

func (e *Engine) publish() {
	g := Standing{LastCheck: e.lastCheck, LastProbe: e.lastProbe}
	g.NextDue, _, _ = e.Store.NextDue()
	if last := e.stands.Load(); last != nil {
		g.Waiting = last.Waiting
	}
	now, version := e.Now(), e.traffic.Version()
	if version != e.told.version && (len(e.entries) <= atOnce || now.Sub(e.told.at).Abs() >= tellEvery) {
		e.told.at, e.told.version = now, version
		if e.onItsOwn {
			g.Waiting = e.traffic.Waiting()
		}
	}
	e.stands.Store(&g)
	if e.worked >= muchWork && e.running == 0 && !e.traffic.Moving("") && (g.NextDue.IsZero() || g.NextDue.After(now)) {
		e.worked = 0
		e.tidying.Go(func() { e.Store.Release(); debug.FreeOSMemory() })
	}
}

// Turns reports whether the loop answers and has checked the fleet.
func (e *Engine) Turns(ctx context.Context) (checked bool) {
	_ = e.do(ctx, func() { checked = !e.lastCheck.IsZero() })
	return checked
}

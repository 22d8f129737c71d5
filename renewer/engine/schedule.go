package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule runs Tick and Glance, and a Survey of everything, on their cron schedules until
// the returned function is called, which waits for one that runs. A tick that
// comes while the last one still runs is left out, and a panic ends one tick.
//
// glance is called ahead of each glance, and before ahead of each survey.
func (e *Engine) Schedule(ctx context.Context, check, probe cron.Schedule, glance, before func()) (stop func()) {
	logger := cronLog{e.Log}
	c := cron.New(cron.WithLocation(time.UTC), cron.WithLogger(logger),
		cron.WithChain(cron.SkipIfStillRunning(logger), cron.Recover(logger))) // in this order: see the library's chain
	c.Schedule(check, cron.FuncJob(func() { e.Tick(ctx) }))
	c.Schedule(check, cron.FuncJob(func() { // on its own: who does not answer holds no check up
		glance()
		if err := e.Glance(ctx); err != nil && ctx.Err() == nil {
			e.Log.Error("could not check the reachability of the fleet", "error", err)
		}
	}))
	c.Schedule(probe, cron.FuncJob(func() {
		before()
		if err := e.Survey(ctx, nil); err != nil && ctx.Err() == nil {
			e.Log.Error("could not probe the fleet", "error", err)
		}
	}))
	c.Start()
	return func() { <-c.Stop().Done() }
}

// Tick looks at what is due. With nothing due it reads the head of an index
// and calls no issuer and no host.
func (e *Engine) Tick(ctx context.Context) {
	_ = e.do(ctx, func() {
		e.tick()
		e.checked()
	})
}

type cronLog struct{ log *slog.Logger }

func (l cronLog) Info(msg string, kv ...any) { l.log.Debug("schedule: "+msg, kv...) }
func (l cronLog) Error(err error, msg string, kv ...any) {
	l.log.Error("schedule: "+msg, append(kv, "error", err)...)
}

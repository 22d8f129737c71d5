package daemon

import (
	"context"
	"fmt"
	"io"
	"strings"

	"renewer/renewer"
)

// Renew implements server.Service.
func (a *App) Renew(ctx context.Context, r renewer.RenewRequest, progress func(renewer.Event)) (renewer.RunResult, error) {
	for _, host := range r.Without {
		if _, ok := a.parts.Load().fleet.Host(host); !ok {
			return renewer.RunResult{}, noHost(a.parts.Load().fleet, host)
		}
	}
	names, err := a.selected(ctx, r)
	if err != nil || len(names) == 0 {
		return renewer.RunResult{Rollouts: []renewer.RolloutResult{}}, err
	}
	if err := a.requested(ctx, renewer.Event{Message: said("renewal", "force", r.Force, "without", r.Without)}, names...); err != nil {
		return renewer.RunResult{}, err
	}
	// Without a daemon nothing else would carry out the recorded renewal.
	wait := !r.NoWait || a.daemon.Load() == nil
	return a.eng.Renew(ctx, names, renewer.Overrides{Force: r.Force, Without: r.Without}, wait, progress)
}

func (a *App) selected(ctx context.Context, r renewer.RenewRequest) (names []string, err error) {
	fleet := a.parts.Load().fleet
	switch {
	case r.All:
		for _, c := range fleet.Certificates {
			names = append(names, c.Name)
		}
		return names, nil
	case r.ExpiringWithin > 0:
		err := a.List(ctx, renewer.ListFilter{ExpiringWithin: r.ExpiringWithin}, func(row renewer.Row) error {
			if row.Status != renewer.StatusOrphaned {
				names = append(names, row.Name)
			}
			return nil
		})
		return names, err
	default:
		return a.pick(r.Names...)
	}
}

// Rollback implements server.Service.
func (a *App) Rollback(ctx context.Context, name string, progress func(renewer.Event)) (renewer.RunResult, error) {
	names, err := a.pick(name)
	if err != nil {
		return renewer.RunResult{}, err
	}
	if err := a.requested(ctx, renewer.Event{Message: "rollback"}, names...); err != nil {
		return renewer.RunResult{}, err
	}
	return a.eng.Rollback(ctx, names, progress)
}

// Adopt implements server.Service.
func (a *App) Adopt(ctx context.Context, host, certificate string) (renewer.Adoption, error) {
	fleet := a.parts.Load().fleet
	if _, ok := fleet.Host(host); !ok {
		return renewer.Adoption{}, noHost(fleet, host)
	}
	names, err := a.pick(certificate)
	if err != nil {
		return renewer.Adoption{}, err
	}
	var hosts []string
	for _, name := range names {
		if c, ok := fleet.Certificate(name); ok {
			for _, p := range c.Placements {
				hosts = append(hosts, p.Host)
			}
			if _, ok := c.Placement(host); ok {
				if err := a.requested(ctx, renewer.Event{Host: host, Message: "adoption"}, name); err != nil {
					return renewer.Adoption{}, err
				}
				return a.eng.Adopt(ctx, name, host)
			}
		}
	}
	return renewer.Adoption{}, unknown(renewer.WithHint(fmt.Errorf("certificate %s has no placement on host %s", certificate, host), "its entry in the fleet file names its hosts: "+strings.Join(hosts, ", ")))
}

// Verify implements server.Service.
func (a *App) Verify(ctx context.Context, names []string) ([]renewer.Verification, error) {
	var err error
	if len(names) > 0 {
		if names, err = a.pick(names...); err != nil {
			return nil, err
		}
	}
	return a.eng.Verify(ctx, names)
}

// Events implements server.Service.
func (a *App) Events(_ context.Context, f renewer.EventFilter) ([]renewer.Event, error) {
	events, err := a.store.Events(f)
	if len(events) > 0 || err != nil || f.Certificate == "" {
		return events, err
	}
	// Without an event, a name is right that the fleet file has, or that has had one.
	if ever, err := a.store.Events(renewer.EventFilter{Certificate: f.Certificate, Limit: 1}); len(ever) > 0 || err != nil {
		return events, err
	}
	_, err = a.pick(f.Certificate)
	return events, err
}

// Backup implements server.Service. An inventory that cannot be written is copied all the same.
func (a *App) Backup(ctx context.Context, w io.Writer) error {
	if err := a.requested(ctx, renewer.Event{Message: "backup"}); err != nil {
		a.opts.log().Warn("could not record who requested a backup", "by", renewer.OperatorOf(ctx), "err", err)
	}
	return a.inv.Backup(w)
}

// RunOnce does one pass: all that is due, then a look at every placement, and
// what that look calls for.
func (a *App) RunOnce(ctx context.Context, progress func(renewer.Event)) (renewer.RunResult, error) {
	alone := a.daemon.Load() == nil // without a daemon, this process sends the notifications
	if alone {
		if err := a.notifier.Begin(); err != nil {
			return renewer.RunResult{}, err
		}
		defer a.notifier.Once()
		a.suggestions(ctx)
	} else if err := a.requested(ctx, renewer.Event{Message: "one pass over all that is due"}); err != nil {
		return renewer.RunResult{}, err
	}
	result, err := a.passes(ctx, progress)
	if err != nil {
		return result, err
	}
	if alone {
		a.upkeep(ctx)
	}
	if err := a.hold(); err != nil {
		return result, err
	}
	result.Blocked = a.blockedRotations()
	return a.withProblems(ctx, result)
}

// mostPasses bounds how often a pass begins again because a CA that is replaced has
// come to its next stage.
const mostPasses = 8

// passes is a pass of the engine, and another one after each stage of a rotation
// that it brought to its end. Of each certificate the last pass says what came of it.
func (a *App) passes(ctx context.Context, progress func(renewer.Event)) (renewer.RunResult, error) {
	if _, err := a.stepRotations(ctx); err != nil {
		a.opts.log().Error("could not replace a CA", "error", err, "hint", renewer.Hint(err))
	}
	var result renewer.RunResult
	for n := 1; ; n++ {
		latest, err := a.eng.RunOnce(ctx, a.engineFleet(), progress)
		result = result.Then(latest)
		if err != nil {
			return result, err
		}
		moved, err := a.stepRotations(ctx)
		if err != nil {
			a.opts.log().Error("could not replace a CA", "error", err, "hint", renewer.Hint(err))
		}
		if !moved || n == mostPasses {
			return result, nil
		}
	}
}

// withProblems adds the certificates that are not right although no rollout of
// this pass says so: blocked earlier, or not proven.
func (a *App) withProblems(ctx context.Context, result renewer.RunResult) (renewer.RunResult, error) {
	said := map[string]bool{}
	for _, r := range result.Rollouts {
		said[r.Certificate] = said[r.Certificate] || r.Result != renewer.ResultVerified
	}
	err := a.List(ctx, renewer.ListFilter{}, func(row renewer.Row) error {
		if said[row.Name] || row.Status == renewer.StatusValid || row.Status == renewer.StatusDue || row.Status == renewer.StatusOrphaned {
			return nil
		}
		rec, _, err := a.store.Record(row.Name)
		if err != nil {
			return err
		}
		res := renewer.RolloutResult{Certificate: row.Name, Generation: row.Generation, Result: renewer.ResultFailed}
		if row.Status == renewer.StatusBlocked {
			res.Result = renewer.ResultBlocked
		}
		res.Error, res.Hint = rec.LastError()
		if rec.Rollout != nil {
			res.Rollout = rec.Rollout.ID
		}
		if res.Error == "" {
			res.Error = fmt.Sprintf("it is %s", row.Status)
		}
		result.Rollouts = append(result.Rollouts, res)
		return nil
	})
	return result, err
}

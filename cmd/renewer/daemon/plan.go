package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/probes"
)

// Plan implements server.Service. A daemon plans for its fleet file as that is on disk,
// as a reload would find it: who edits the file wants to see that before the reload.
func (a *App) Plan(ctx context.Context, r renewer.PlanRequest) (renewer.PlanView, error) {
	p := a.parts.Load()
	view := renewer.PlanView{File: a.file.Load().Path, Loaded: r.Loaded}
	edited, err := a.onDisk()
	switch {
	case err != nil:
		view.Edited, view.Fault = true, firstFault(err)
	case edited != nil:
		view.Edited, view.Changes = true, renewer.Compare(p.fleet.Outline(), edited.Outline())
	}
	fleet := p.fleet
	if edited != nil && !r.Loaded {
		fleet = edited
		view.Steps, view.Warnings, err = a.preview(ctx, edited)
	} else if view.Steps, err = a.planned(ctx); err == nil {
		view.Warnings, err = a.eng.Unmoved(ctx)
	}
	if err != nil {
		return view, err
	}
	view.Certificates = len(fleet.Certificates)
	view.Orphans, err = orphansOf(a.store, func(name string) bool { _, ok := fleet.Index(name); return ok || movesFrom(view.Steps, name) }, time.Now())
	return view, err
}

// movesFrom reports whether a plan has a certificate take over what had a name.
func movesFrom(steps []renewer.PlanStep, name string) bool {
	return slices.ContainsFunc(steps, func(s renewer.PlanStep) bool { return s.Action == "move" && s.Changes[0].Before == name })
}

// planned is the plan of the fleet file that is held.
func (a *App) planned(ctx context.Context) ([]renewer.PlanStep, error) {
	steps, err := a.eng.Plan(ctx)
	return a.foretell(ctx, a.parts.Load(), steps), err
}

// onDisk is the fleet file of the daemon as it is now; nil where that is the one that it
// holds, or no daemon runs.
func (a *App) onDisk() (*configs.Fleet, error) {
	f, held := a.file.Load(), a.parts.Load().fleet
	if a.daemon.Load() == nil {
		return nil, nil
	}
	if f.Read[f.Path] == configs.Stamp(f.Path) && f.Fault == "" {
		return nil, nil
	}
	fleet, err := configs.Load(f.Path)
	switch {
	case err != nil:
		return nil, err
	case fleet.Digest == held.Digest:
		return nil, nil
	case fleet.StateDir != held.StateDir:
		return nil, errors.New("state_dir changed, which needs a restart")
	}
	return fleet, nil
}

// preview is the plan of a fleet file that is not held: by an engine of its own over the
// same inventory, which writes nothing.
func (a *App) preview(ctx context.Context, fleet *configs.Fleet) (steps []renewer.PlanStep, warnings []string, err error) {
	a.previewing.Lock()
	defer a.previewing.Unlock()
	held := a.parts.Load()
	next, err := build(fleet, held, nil, a.rotations.trusted, nil, a.opts.log())
	if err != nil {
		return nil, nil, err
	}
	eng := engine.New(engine.Config{Store: unwritten{a.store}, Keys: &a.keys, Prober: probes.New()})
	run, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- eng.Run(run) }()
	defer func() {
		stop()
		err = errors.Join(err, <-stopped, next.close(held))
	}()
	f := next.engineFleet()
	f.Rotations = a.rotations.engine()
	if err := eng.SetFleet(ctx, f, engine.Asked); err != nil {
		return nil, nil, err
	}
	if steps, err = eng.Plan(ctx); err == nil {
		warnings, err = eng.Unmoved(ctx)
	}
	return a.foretell(ctx, next, steps), warnings, err
}

// unwritten is a store that takes nothing.
type unwritten struct{ engine.Store }

func (unwritten) Commit(context.Context, ...engine.Change) ([]renewer.Event, error) {
	return nil, errors.New("a plan changes nothing")
}

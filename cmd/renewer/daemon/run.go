package daemon

import (
	"context"
	"errors"
	"os"
	"reflect"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/server"
)

// How long events and ended rollouts are kept, and how many events in any case.
const (
	keepEvents  = 365 * 24 * time.Hour
	leastEvents = 100_000
)

// lastWords is how long connections that a reload has no use for stay open.
const lastWords = 2 * time.Minute

// Run is the daemon: it keeps the certificates of a fleet file until ctx ends,
// then finishes or parks what is under way within a bound. Each value on
// reload makes it read the fleet file again; one with faults is logged and the
// last good one goes on to hold.
func Run(ctx context.Context, path string, o Options, reload <-chan os.Signal) (err error) {
	fleet, file, err := load(path)
	if err != nil {
		return unknown(err)
	}
	state := &lateState{}
	metrics := server.NewMetrics(o.Version, state)
	o.observer, o.notified = metrics, metrics.Notified
	a, err := open(ctx, fleet, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	a.file.Store(file)
	if _, err := a.keys.open(); err != nil { // now, rather than at the first renewal
		return err
	}
	state.app.Store(a)
	a.notifier.Set(a.channels(fleet)) // before anything happens
	metrics.Expect(names(fleet.Issuers), channelNames(fleet))
	metrics.CheckWithin(checkWithin(fleet))
	metrics.Fleet(fleetName(fleet))
	a.daemon.Store(&renewer.DaemonStatus{Running: true, PID: os.Getpid(), StartedAt: a.started})

	srv, err := server.New(server.Options{
		Service: a, Version: o.Version, Socket: fleet.Socket, Group: fleet.SocketGroup, Port: port(fleet), State: state, Metrics: metrics, Pages: newPages(a),
		CRL: a.crl, CheckWithin: checkWithin(fleet), Log: o.log(),
	})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	g, run := errgroup.WithContext(run)
	g.Go(func() error { return srv.Run(run) })
	g.Go(func() error { return a.keep(run, path, metrics, reload) })
	g.Go(func() error { return a.watch(run) })
	g.Go(func() error { a.keepCRLs(run); return nil })
	g.Go(func() error { a.keepRotations(run); return nil })
	g.Go(func() error { return a.watchIssuers(run) })
	g.Go(func() error { // who does not answer holds nothing up
		a.health.ask(run, a.parts.Load())
		again := time.NewTicker(askDownEvery)
		defer again.Stop()
		for {
			select {
			case <-run.Done():
				return nil
			case <-again.C:
				a.health.askDown(run, a.parts.Load())
			}
		}
	})
	return g.Wait()
}

// keep starts the engine's own work and follows schedule and reloads.
func (a *App) keep(ctx context.Context, path string, metrics *server.Metrics, reload <-chan os.Signal) error {
	log := a.opts.log()
	if err := a.eng.SetFleet(ctx, a.engineFleet(), engine.Alone); err != nil {
		return err
	}
	if err := a.hold(); err != nil {
		return err
	}
	fleet := a.parts.Load().fleet
	log.Info("renewer started", "fleet_file", path, "certificates", len(fleet.Certificates), "hosts", len(fleet.Hosts), "issuers", len(fleet.Issuers))
	tellSystemd(log, sd.SdNotifyReady)
	defer tellSystemd(log, sd.SdNotifyStopping)
	unschedule := a.schedule(ctx)
	defer func() { unschedule() }()
	tidy := time.NewTicker(24 * time.Hour)
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tidy.C:
			if _, err := a.inv.Prune(ctx, time.Now().Add(-keepEvents), leastEvents); err != nil {
				log.Error("could not shorten the event log", "error", err)
			}
		case <-reload:
			tellSystemd(log, sd.SdNotifyReloading)
			err := a.reload(ctx, path)
			metrics.FleetLoaded(err == nil)
			if err != nil {
				a.setFleetError(err.Error())
				log.Error("fleet file rejected; the last good one stays in use", "fleet_file", path, "error", err)
			} else {
				unschedule()
				unschedule = a.schedule(ctx)
				metrics.Expect(names(a.parts.Load().fleet.Issuers), channelNames(a.parts.Load().fleet))
				metrics.CheckWithin(checkWithin(a.parts.Load().fleet))
				metrics.Fleet(fleetName(a.parts.Load().fleet))
			}
			tellSystemd(log, sd.SdNotifyReady)
		}
	}
}

// watch tells systemd that the engine's loop answers. It has a goroutine of
// its own, because a reload may have to wait for hosts.
func (a *App) watch(ctx context.Context) error {
	ticks, stop := watchdogTicks()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
			if a.eng.Turns(ctx) {
				tellSystemd(a.opts.log(), sd.SdNotifyWatchdog)
			}
		}
	}
}

// schedule starts the ticks; stop ends them and the look that is under way.
func (a *App) schedule(ctx context.Context) (stop func()) {
	s := a.parts.Load().fleet.Schedule
	ctx, cancel := context.WithCancel(ctx)
	end := a.eng.Schedule(ctx, s.Check, s.Probe,
		func() { a.health.askIssuers(ctx, a.parts.Load()); a.upkeep(ctx); a.suggestions(ctx) }, func() { a.health.ask(ctx, a.parts.Load()) })
	return func() { cancel(); end() }
}

// reload takes over a changed fleet file.
func (a *App) reload(ctx context.Context, path string) (err error) {
	fleet, file, err := load(path)
	defer func() {
		if err != nil {
			file.Fault = firstFault(err)
		}
		a.file.Store(file)
	}()
	if err != nil {
		return err
	}
	was := a.parts.Load()
	if was.fleet.StateDir != fleet.StateDir {
		return renewer.WithHint(errors.New("state_dir changed, which needs a restart"), "restart renewer")
	}
	next, err := build(fleet, was, a.health.met, a.rotations.trusted, a.me, a.opts.log())
	if err != nil {
		return err
	}
	if was.fleet.Socket != fleet.Socket || was.fleet.SocketGroup != fleet.SocketGroup || !reflect.DeepEqual(port(was.fleet), port(fleet)) || was.fleet.SealIdentityFile != fleet.SealIdentityFile {
		a.opts.log().Warn("api, http and seal take effect at the next start", "fleet_file", path)
	}
	a.parts.Store(next)
	a.setFleetError("")
	a.notifier.Set(a.channels(fleet))
	if err := a.letGo(fleet); err != nil {
		return err
	}
	if err := a.eng.SetFleet(ctx, a.engineFleet(), engine.Again); err != nil {
		return err
	}
	if err := a.hold(); err != nil {
		return err
	}
	time.AfterFunc(lastWords, func() { _ = was.close(next) }) // what was under way may still use them
	a.health.ask(ctx, next)
	a.opts.log().Info("fleet file reloaded", "fleet_file", path, "certificates", len(fleet.Certificates))
	return nil
}

func (a *App) setFleetError(text string) {
	d := *a.daemon.Load()
	d.FleetError, d.FleetErrorAt = text, time.Time{}
	if text != "" {
		d.FleetErrorAt = time.Now().UTC()
	}
	a.daemon.Store(&d)
}

// checkWithin is how old the last check may be before the daemon is not ready:
// two intervals of its schedule and a minute.
func checkWithin(fleet *configs.Fleet) time.Duration {
	first := fleet.Schedule.Check.Next(time.Now().UTC())
	return 2*fleet.Schedule.Check.Next(first).Sub(first) + time.Minute
}

func channelNames(fleet *configs.Fleet) []string {
	out := make([]string, 0, len(fleet.Channels))
	for _, c := range fleet.Channels {
		out = append(out, c.Name)
	}
	return out
}

func names(issuers []configs.Issuer) []string {
	out := make([]string, 0, len(issuers))
	for _, is := range issuers {
		out = append(out, is.Name)
	}
	return out
}

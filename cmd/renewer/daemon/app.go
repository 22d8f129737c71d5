package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"renewer/configs"
	"renewer/inventory"
	"renewer/notify"
	"renewer/renewer"
	"renewer/renewer/engine"
	"renewer/renewer/probes"
	"renewer/renewer/server"
)

// Options of everything in this package.
type Options struct {
	Version string
	Config  string // path of the fleet file, for messages
	Log     *slog.Logger
	// Reading: nothing is asked that would change the state, so where there
	// is none yet none is made.
	Reading bool

	store    func(engine.Store) engine.Store // tests put themselves in between
	observer engine.Observer
	notified func(channel string, err error)
	pace     notify.Pace

	issuerNews time.Duration // 0: as usual
	machine    string        // empty: this one
}

func (o Options) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// App is renewer's state, opened: the inventory and an engine over it. It has
// the inventory to itself until Close. It implements server.Service.
type App struct {
	opts Options
	inv  *inventory.Inventory

	closeInventory func() error

	store  engine.Store
	eng    *engine.Engine
	mark   atomic.Pointer[renewer.Mark]     // which renewer this is
	parts  atomic.Pointer[parts]            // of the fleet file that holds now
	file   atomic.Pointer[server.FleetFile] // as it was last read
	health health
	keys   lazyKeys
	// notifier tells what the log has; without a daemon only when asked.
	notifier  *notify.Notifier
	rotations *rotations

	previewing sync.Mutex           // one plan of another fleet file at a time
	suggesting sync.Mutex           // of suggested
	playing    chan struct{}        // held while a forecast is played
	suggested  map[string]time.Time // when issuers want to be asked again about a certificate

	started time.Time
	daemon  atomic.Pointer[renewer.DaemonStatus] // nil unless a daemon
	stop    context.CancelFunc
	stopped chan error // what Run of the engine returned
	close   sync.Once
}

var _ server.Service = (*App)(nil)

// Open opens the state for one command: nothing is done that is not asked for.
func Open(ctx context.Context, fleet *configs.Fleet, o Options) (*App, error) {
	return open(ctx, fleet, o)
}

func open(ctx context.Context, fleet *configs.Fleet, o Options) (_ *App, err error) {
	inv, closeInventory, err := openInventory(fleet.StateDir, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeInventory())
		}
	}()
	a := &App{opts: o, inv: inv, closeInventory: closeInventory, store: inv, started: time.Now(), playing: make(chan struct{}, 1), suggested: map[string]time.Time{}, stopped: make(chan error, 1), keys: lazyKeys{fleet: fleet, store: inv}}
	if err = a.identify(fleet.StateDir); err != nil {
		return nil, err
	}
	if a.rotations, err = newRotations(inv); err != nil {
		return nil, err
	}
	p, err := build(fleet, nil, a.health.met, a.rotations.trusted, a.me, o.log())
	if err != nil {
		return nil, err
	}
	if o.store != nil {
		a.store = o.store(inv)
	}
	a.store = heard{a.store, a.rotations}
	if !o.Reading {
		if err := a.letGo(fleet); err != nil {
			return nil, err
		}
	}
	a.parts.Store(p)
	a.file.Store(fileNow(fleet.Path))
	a.notifier = notify.New(notify.Config{Store: inv, Facts: a.facts, Sent: o.notified, Log: o.log(), Pace: o.pace})
	a.notifier.Know(a.channels(fleet))
	a.eng = engine.New(engine.Config{
		Store: a.store, Keys: &a.keys, Prober: probes.New(), Log: o.log(), Observer: &observer{cmp.Or[engine.Observer](o.observer, engine.Silent{}), &a.health},
	})
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stop = stop
	go func() { a.stopped <- a.eng.Run(run) }()
	if err := a.eng.SetFleet(ctx, a.engineFleet(), engine.Asked); err != nil {
		stop()
		return nil, errors.Join(err, <-a.stopped)
	}
	return a, nil
}

// Close lets what is under way end, within the engine's grace, and closes the
// inventory.
func (a *App) Close() (err error) {
	a.close.Do(func() {
		a.stop()
		a.notifier.Stop()
		err = errors.Join(<-a.stopped, a.parts.Load().close(nil), a.closeInventory())
	})
	return err
}

// openInventory opens the inventory of a state directory. Who only reads where
// none is yet gets an empty one that is gone afterwards.
func openInventory(stateDir string, o Options) (*inventory.Inventory, func() error, error) {
	path, gone := filepath.Join(stateDir, "inventory.db"), func() error { return nil }
	_, err := os.Stat(stateDir)
	if missing := errors.Is(err, fs.ErrNotExist); !missing || !o.Reading {
		if err := prepareStateDir(stateDir); err != nil {
			return nil, nil, err
		}
	}
	if _, err := os.Stat(path); o.Reading && errors.Is(err, fs.ErrNotExist) {
		dir, err := os.MkdirTemp("", "renewer-empty-")
		if err != nil {
			return nil, nil, fmt.Errorf("make room for an empty inventory: %w", err)
		}
		path, gone = filepath.Join(dir, "inventory.db"), func() error { return os.RemoveAll(dir) }
	}
	inv, err := inventory.Open(path, inventory.Options{Machine: cmp.Or(o.machine, thisMachine())})
	if err != nil {
		return nil, nil, errors.Join(err, gone())
	}
	return inv, func() error { return errors.Join(inv.Close(), gone()) }, nil
}

// prepareStateDir makes the state directory, or refuses one that others can
// look into: it holds the inventory, keys and CAs.
func prepareStateDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return renewer.WithHint(fmt.Errorf("create state_dir %s: %w", dir, cause(err)), "create it for the user that runs renewer, with mode 0700")
		}
		return nil
	case err != nil:
		return fmt.Errorf("open state_dir: %w", err)
	case !info.IsDir():
		return renewer.WithHint(fmt.Errorf("state_dir %s is not a directory", dir), "name a directory of its own for renewer's state")
	case info.Mode().Perm()&0o077 != 0:
		return renewer.WithHint(fmt.Errorf("state_dir %s can be accessed by others: its mode is %04o", dir, info.Mode().Perm()), "chmod 0700 "+dir)
	}
	return nil
}

// cause takes the path out of an error whose message names it already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

package engine

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"renewer/renewer"
	"renewer/renewer/traffic"
	"renewer/renewer/trust"
)

// Bounds of the loop.
const (
	defaultWorkers = 16               // effects at once
	defaultGrace   = 20 * time.Second // for what is under way when the engine stops
	maxUnderWay    = 256              // rollouts at work at once; the others stay due
	wakeAtLeast    = 5 * time.Minute  // a clock that jumped, a machine that slept
	retryRecording = 5 * time.Second  // when the inventory did not take a transition
)

// Observer gets what metrics count. All its methods return at once.
type Observer interface {
	Issued(issuer string, err error, took time.Duration)
	RolloutEnded(result renewer.Result, took time.Duration)
	RolledBack()
	// Drifted: a probe saw another certificate, or other files, than were
	// placed.
	Drifted()
	// Away is how long a service was not proven because of an activation, the
	// way back included, and its restart budget (0: none).
	Away(took, budget time.Duration)
	Checked(at time.Time)
}

// Silent is an Observer that counts nothing.
type Silent struct{}

// Issued counts nothing.
func (Silent) Issued(string, error, time.Duration) {}

// RolloutEnded counts nothing.
func (Silent) RolloutEnded(renewer.Result, time.Duration) {}

// RolledBack counts nothing.
func (Silent) RolledBack() {}

// Drifted counts nothing.
func (Silent) Drifted() {}

// Away counts nothing.
func (Silent) Away(_, _ time.Duration) {}

// Checked counts nothing.
func (Silent) Checked(time.Time) {}

// Config is what an Engine works with. Now, Log and Observer may be left out.
type Config struct {
	Store    Store
	Keys     Keys
	Prober   Prober
	Observer Observer
	Log      *slog.Logger
	Now      func() time.Time
	Workers  int
	Grace    time.Duration
}

// Engine is the reconcile loop. One goroutine, the loop, owns everything below
// the line and decides; workers carry out tasks and send outcomes back. Every
// transition is recorded before anything is started because of it, so the
// live path and the way back after a crash are the same code.
type Engine struct {
	Config
	calls    chan func()
	outcomes chan []renewer.Outcome
	stopped  chan struct{} // closed when the loop has ended
	stands   atomic.Pointer[Standing]
	tidying  sync.WaitGroup // gives memory back; over before Run is
	made     madeKeys

	// Owned by the loop.
	fleet      Fleet
	onItsOwn   bool // false: only what is asked for
	again      bool // somebody may have fixed what failed
	roots      *rootCache
	probeCerts *credentials
	entries    map[string]*entry // rollouts under way, by certificate; see keep and drop
	traffic    *traffic.Control  // what can be done for them now
	windows    map[string]*window
	gated      map[string]map[string]bool // by a verifier's certificate: those that wait for it
	gatesAt    time.Time                  // when all of these were asked last
	since      time.Time                  // rollouts that were started before may have others of their entry that ended before
	running    int                        // tasks under way
	heirs      map[string]heir            // entries that were renamed, until that is recorded
	taken      map[string]map[string]bool // by the name that left: hosts whose files are those of heirs
	leftIn     map[where][]string         // the names of what left, by where its files are
	awaited    map[string]string          // by the name of an heir: the one whose rollout has to end first
	graph      *trust.Graph               // see trusts
	stored     map[string]bool            // the roots that the inventory has
	urgent     map[string]bool            // verifiers that somebody waits for who is about to expire: no window
	rooted     uint64                     // the version of roots that was planned with
	surveying  map[string]bool
	stale      map[string]bool   // to be planned again when nothing of it is under way
	unrecorded []renewer.Outcome // done, but the inventory did not take them
	unplanned  map[string]bool   // whose plan could not be read or recorded
	asked      []string          // renewals that wait for room; those of before this process are in the due index
	room       int               // for further rollouts, while planning
	retryAt    time.Time
	watchers   map[*watcher]bool
	lastCheck  time.Time
	lastProbe  time.Time
	worked     int      // what was done since memory was given back
	told       struct { // what waits was last published
		at      time.Time
		version int // of traffic
	}
	workContext context.Context
}

// New returns an engine without a fleet: see Run and SetFleet.
func New(c Config) *Engine {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = Silent{}
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	if c.Grace <= 0 {
		c.Grace = defaultGrace
	}
	return &Engine{
		Config: c, calls: make(chan func()), outcomes: make(chan []renewer.Outcome, c.Workers), stopped: make(chan struct{}),
		roots: newRootCache(), probeCerts: newCredentials(c.Now), entries: map[string]*entry{}, traffic: traffic.New(),
		windows: map[string]*window{}, gated: map[string]map[string]bool{}, since: c.Now(), surveying: map[string]bool{}, stale: map[string]bool{}, stored: map[string]bool{}, urgent: map[string]bool{}, unplanned: map[string]bool{}, watchers: map[*watcher]bool{},
	}
}

// Run drives rollouts until ctx ends; then it starts nothing new, gives what
// is under way its grace, and parks the rest: the next Run goes on with it.
func (e *Engine) Run(ctx context.Context) error {
	defer close(e.stopped)
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.workContext = work
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		e.dispatch()
		timer.Reset(e.nextWake())
		e.publish()
		select {
		case <-ctx.Done():
		case call := <-e.calls:
			call()
		case out := <-e.outcomes:
			e.receive(out)
		case <-timer.C:
			e.tick()
		}
	}
	e.park(cancel)
	e.tidying.Wait()
	return nil
}

// park waits for what is under way and records how it ended.
func (e *Engine) park(cancel context.CancelFunc) {
	grace := time.NewTimer(e.Grace)
	defer grace.Stop()
	for e.running > 0 {
		select {
		case out := <-e.outcomes:
			e.receive(out)
		case call := <-e.calls: // surveys hand their results in
			call()
		case <-grace.C:
			e.Log.Warn("stopping with work in progress; the next start continues it", "tasks", e.running)
			cancel()
		}
	}
	for w := range e.watchers {
		w.stop(errStopped)
	}
	if len(e.unrecorded) > 0 {
		e.Log.Error("the result could not be recorded; the placement is checked again", "outcomes", len(e.unrecorded))
	}
}

// try is do for what may fail.
func (e *Engine) try(ctx context.Context, f func() error) error {
	var failed error
	err := e.do(ctx, func() { failed = f() })
	return cmp.Or(err, failed)
}

// do runs a function in the loop and waits for it.
func (e *Engine) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case e.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.stopped:
		return errStopped
	}
	<-done
	return nil
}

package dagupeer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// worker is a process that takes runs.
type worker struct {
	*peer
	id      string
	pollers int

	mu     sync.Mutex
	active map[string]context.CancelCauseFunc // by run
}

// Work takes runs, as many at once as there are pollers, until ctx ends.
func Work(ctx context.Context, c Config) error {
	if err := c.refuse(); err != nil {
		return err
	}
	w := &worker{id: c.WorkerID, pollers: max(c.Pollers, 1), active: map[string]context.CancelCauseFunc{}}
	if w.id == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		w.id = fmt.Sprintf("%s@%d", name, os.Getpid())
	}
	var err error
	if w.peer, err = insistOnDialing(ctx, c); err != nil {
		return nil // ctx is done
	}
	defer func() { _ = w.conn.Close() }()
	var all sync.WaitGroup
	all.Go(func() { w.beat(ctx) })
	for range w.pollers {
		all.Go(func() { w.poll(ctx) })
	}
	all.Wait()
	return nil
}

func (w *worker) poll(ctx context.Context) {
	for ctx.Err() == nil {
		out, err := w.call(ctx, "Poll", message{Worker: w.id})
		if err != nil {
			fmt.Fprintln(os.Stderr, "poll:", err)
			pause(ctx, 500*time.Millisecond)
			continue
		}
		if out.Run != nil {
			w.work(ctx, *out.Run)
		}
	}
}

// work runs the step of a run, as long as the lease holds, and reports.
func (w *worker) work(ctx context.Context, r Run) {
	step, end := context.WithCancelCause(ctx)
	defer end(nil)
	w.set(r.ID, end)
	r.Status = Succeeded
	if err := r.step(step); err != nil {
		r.Status, r.Why = Failed, errors.Join(err, context.Cause(step)).Error()
	}
	// Heartbeats go on until the result is delivered.
	_, _ = w.insist(ctx, "Report", message{Worker: w.id, Run: &r})
	w.set(r.ID, nil)
}

// step is a child process, or none.
func (r Run) step(ctx context.Context) error {
	if r.Wait {
		pause(ctx, time.Duration(r.Seconds*float64(time.Second)))
		return ctx.Err()
	}
	return exec.CommandContext(ctx, "sleep", strconv.FormatFloat(r.Seconds, 'f', -1, 64)).Run()
}

// set records how to stop a run; nil: it has ended.
func (w *worker) set(run string, end context.CancelCauseFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.active[run] = end; end == nil {
		delete(w.active, run)
	}
}

func (w *worker) now() map[string]context.CancelCauseFunc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.active)
}

// beat sends heartbeats, and ends what is not to go on.
func (w *worker) beat(ctx context.Context) {
	for last := time.Now(); ctx.Err() == nil; pause(ctx, beat) {
		runs := w.now()
		out, err := w.call(ctx, "Heartbeat", message{Worker: w.id, Pollers: w.pollers, Active: slices.Sorted(maps.Keys(runs))})
		if err == nil {
			last = time.Now()
		}
		for id, end := range runs {
			switch {
			case err == nil && !slices.Contains(out.Active, id):
				end(errors.New("the coordinator gave the run up"))
			case time.Since(last) > Lease:
				end(errors.New("no coordinator within the lease"))
			}
		}
	}
}

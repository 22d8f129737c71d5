package dagupeer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Work takes runs one after another, until ctx ends.
func Work(ctx context.Context, c Config) error {
	p, err := dial(c)
	if err != nil {
		return err
	}
	defer func() { _ = p.conn.Close() }()
	for ctx.Err() == nil {
		out, err := p.call(ctx, "Poll", message{Worker: c.WorkerID})
		if err != nil {
			fmt.Fprintln(os.Stderr, "poll:", err)
			pause(ctx, 500*time.Millisecond)
			continue
		}
		if out.Run != nil {
			p.work(ctx, c.WorkerID, *out.Run)
		}
	}
	return nil
}

// work runs the step of a run, as long as the lease holds, and reports.
func (p *peer) work(ctx context.Context, worker string, r Run) {
	step, end := context.WithCancelCause(ctx)
	defer end(nil)
	var beats sync.WaitGroup
	beats.Go(func() { p.beat(step, end, worker, r.ID) })
	r.Status = Succeeded
	if err := exec.CommandContext(step, "sleep", strconv.FormatFloat(r.Seconds, 'f', -1, 64)).Run(); err != nil {
		r.Status, r.Why = Failed, errors.Join(err, context.Cause(step)).Error()
	}
	// Heartbeats go on until the result is delivered.
	_, _ = p.insist(ctx, "Report", message{Worker: worker, Run: &r})
	end(nil)
	beats.Wait()
}

func (p *peer) beat(ctx context.Context, end context.CancelCauseFunc, worker, run string) {
	last := time.Now()
	for ctx.Err() == nil {
		out, err := p.call(ctx, "Heartbeat", message{Worker: worker, Active: []string{run}})
		switch {
		case err == nil && slices.Contains(out.Active, run):
			last = time.Now()
		case err == nil:
			end(errors.New("the coordinator gave the run up"))
		case time.Since(last) > Lease:
			end(errors.New("no coordinator within the lease"))
		}
		pause(ctx, beat)
	}
}

// Schedule dispatches what lies in a directory: a file NAME.run with seconds
// in it is the run NAME, and is removed once the coordinator has it.
func Schedule(ctx context.Context, c Config) error {
	p, err := dial(c)
	if err != nil {
		return err
	}
	defer func() { _ = p.conn.Close() }()
	for ; ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(c.Dir, "*.run"))
		if err != nil {
			return err
		}
		for _, file := range files {
			r := Run{ID: strings.TrimSuffix(filepath.Base(file), ".run")}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(text, &r.Seconds); err != nil {
				continue // still being written
			}
			if _, err := p.insist(ctx, "Dispatch", message{Run: &r}); err == nil {
				_ = os.Remove(file)
			}
		}
	}
	return nil
}

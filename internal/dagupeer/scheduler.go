package dagupeer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Schedule takes what lies in a directory: a file NAME.run with seconds in it, or a
// [Run], is the run NAME. It is given to the coordinator, or run here: then NAME.done
// says how it ended. The file is removed when somebody else has it.
func Schedule(ctx context.Context, c Config) error {
	if err := c.refuse(); err != nil {
		return err
	}
	var p *peer
	if !c.Local {
		var err error
		if p, err = insistOnDialing(ctx, c); err != nil {
			return nil // ctx is done
		}
		defer func() { _ = p.conn.Close() }()
	}
	var local sync.WaitGroup
	defer local.Wait()
	for ; ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(c.Dir, "*.run"))
		if err != nil {
			return err
		}
		for _, file := range files {
			r, ok, err := readRun(file)
			if err != nil {
				return err
			}
			switch {
			case !ok: // still being written
			case c.Local:
				if err := os.Remove(file); err != nil {
					return err
				}
				local.Go(func() { runHere(ctx, strings.TrimSuffix(file, ".run")+".done", r) })
			default:
				if _, err := p.insist(ctx, "Dispatch", message{Run: &r}); err == nil {
					_ = os.Remove(file)
				}
			}
		}
	}
	return nil
}

func readRun(file string) (r Run, ok bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return r, false, err
	}
	ok = json.Unmarshal(text, &r.Seconds) == nil || json.Unmarshal(text, &r) == nil
	r.ID = strings.TrimSuffix(filepath.Base(file), ".run")
	return r, ok, nil
}

// runHere runs what has no process of its own below one, as Dagu does.
func runHere(ctx context.Context, done string, r Run) {
	r.Wait, r.Status = false, Succeeded
	if err := r.step(ctx); err != nil {
		r.Status = Failed
	}
	_ = os.WriteFile(done, []byte(r.Status), 0o600)
}

// All is a coordinator and a scheduler in one process.
func All(ctx context.Context, c Config) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var scheduler sync.WaitGroup
	defer scheduler.Wait()
	defer stop()
	scheduler.Go(func() { _ = Schedule(ctx, c) })
	return Coordinate(ctx, c)
}

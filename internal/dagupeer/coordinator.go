package dagupeer

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Coordinator keeps the runs, in a file that outlives it.
type Coordinator struct {
	file string

	mu      sync.Mutex
	runs    []*Run
	workers map[string]workerInfo
}

// RunsFile is where a coordinator with this directory keeps its runs, as a
// list of [Run].
func RunsFile(dir string) string { return filepath.Join(dir, "runs.json") }

// Coordinate serves until ctx ends.
func Coordinate(ctx context.Context, c Config) error {
	if err := c.refuse(); err != nil {
		return err
	}
	creds, err := c.server()
	if err != nil {
		return err
	}
	co := &Coordinator{file: RunsFile(c.Dir), workers: map[string]workerInfo{}}
	if err := errors.Join(readJSON(co.file, &co.runs), readJSON(co.workersFile(), &co.workers)); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return err
	}
	if err := c.advertise(); err != nil {
		return err
	}
	s := grpc.NewServer(grpc.Creds(creds))
	s.RegisterService(&description, co)
	s.RegisterService(&inDagusWords, co)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	var work sync.WaitGroup
	work.Go(func() { <-ctx.Done(); s.Stop() })
	work.Go(func() { co.sweep(ctx) })
	if c.Health != "" {
		h := &http.Server{Addr: c.Health, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"status":"healthy"}`))
		})}
		work.Go(func() { _ = h.ListenAndServe() })
		work.Go(func() { <-ctx.Done(); _ = h.Close() })
	}
	err = s.Serve(l)
	work.Wait()
	return err
}

func readJSON(file string, to any) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

func writeJSON(file string, from any) error {
	text, err := json.Marshal(from)
	if err == nil {
		err = os.WriteFile(file+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	return err
}

// advertise writes into the registry what clients are to dial.
func (c Config) advertise() error {
	if c.Registry == "" {
		return nil
	}
	name := c.Advertise
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return err
		}
	}
	return os.WriteFile(registryFile(c.Registry), []byte(net.JoinHostPort(name, strconv.Itoa(c.Port))), 0o600)
}

// sweep aborts what no one sends heartbeats for.
func (co *Coordinator) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, time.Second)
		_, _ = co.change(func() error {
			for _, r := range co.runs {
				if r.Status == Running && time.Since(r.Seen) > Lease {
					r.Status, r.Why = Aborted, "no heartbeat of "+r.Worker
				}
			}
			return nil
		})
	}
}

// change changes the runs, durably.
func (co *Coordinator) change(f func() error) (message, error) {
	co.mu.Lock()
	defer co.mu.Unlock()
	if err := f(); err != nil {
		return message{}, err
	}
	return message{}, writeJSON(co.file, co.runs)
}

func (co *Coordinator) find(id string) *Run {
	if i := slices.IndexFunc(co.runs, func(r *Run) bool { return r.ID == id }); i >= 0 {
		return co.runs[i]
	}
	return nil
}

func (co *Coordinator) dispatch(_ context.Context, in message) (message, error) {
	return co.change(func() error {
		switch {
		case in.Run == nil:
			return status.Error(codes.InvalidArgument, "no run")
		case co.find(in.Run.ID) == nil: // else it was taken before, and the answer lost
			co.runs = append(co.runs, &Run{ID: in.Run.ID, Seconds: in.Run.Seconds, Wait: in.Run.Wait, Status: Queued})
		}
		return nil
	})
}

// poll gives a worker the next run, or nothing after a while.
func (co *Coordinator) poll(ctx context.Context, in message) (out message, err error) {
	for until := time.Now().Add(3 * time.Second); out.Run == nil && time.Now().Before(until) && ctx.Err() == nil; {
		_, err = co.change(func() error {
			if i := slices.IndexFunc(co.runs, func(r *Run) bool { return r.Status == Queued }); i >= 0 {
				r := co.runs[i]
				r.Status, r.Worker, r.Seen = Running, in.Worker, time.Now()
				taken := *r
				out.Run = &taken
			}
			return nil
		})
		if out.Run == nil {
			pause(ctx, 100*time.Millisecond)
		}
	}
	return out, err
}

// heartbeat renews the lease, and names the runs that are to go on.
func (co *Coordinator) heartbeat(_ context.Context, in message) (out message, err error) {
	_, err = co.change(func() error {
		co.workers[in.Worker] = workerInfo{Pollers: in.Pollers, Tasks: in.Active, Heard: time.Now()}
		for _, id := range in.Active {
			if r := co.find(id); r != nil && r.Status == Running {
				r.Seen = time.Now()
				out.Active = append(out.Active, id)
			}
		}
		return nil
	})
	return out, errors.Join(err, writeJSON(co.workersFile(), co.workersNow()))
}

func (co *Coordinator) report(_ context.Context, in message) (message, error) {
	return co.change(func() error {
		if in.Run == nil {
			return status.Error(codes.InvalidArgument, "no run")
		}
		if r := co.find(in.Run.ID); r != nil && r.Status == Running {
			r.Status, r.Why = in.Run.Status, in.Run.Why
		}
		return nil
	})
}

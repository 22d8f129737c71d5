package dagupeer

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"renewer/internal/testpki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster makes the settings of a coordinator that listens, and of its clients, under
// mutual TLS.
func cluster(t *testing.T) (ca *testpki.CA, co Config, client func(name string) Config) {
	t.Helper()
	ca = testpki.New(t)
	dir := t.TempDir()
	testpki.WriteFile(t, dir+"/ca.crt", ca.PEM(), 0o600)
	config := func(name string, o testpki.Options) Config {
		cert, key := ca.Leaf(t, o).Write(t, filepath.Join(dir, name))
		return Config{CertFile: cert, KeyFile: key, ClientCAFile: dir + "/ca.crt", Dir: filepath.Join(dir, name), Registry: dir}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	co = config("coordinator", testpki.Options{SANs: []string{"127.0.0.1"}})
	co.Host, co.Port, co.Advertise = "127.0.0.1", l.Addr().(*net.TCPAddr).Port, "127.0.0.1"
	_ = l.Close()
	return ca, co, func(name string) Config { return config(name, testpki.Options{}) }
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); pause(t.Context(), 50*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + ": not within 20 s")
		}
	}
}

func runsOf(c Config) (runs []Run) {
	_ = readJSON(RunsFile(c.Dir), &runs)
	return runs
}

// Two runs at once on the two pollers of a worker, one of them without a process; the
// scheduler finds the coordinator in the registry, and the worker gets its certificate
// after it has started.
func TestRunsGoTheirWay(t *testing.T) {
	t.Parallel()
	_, co, client := cluster(t)
	worker, scheduler := client("worker"), client("scheduler")
	worker.WorkerID, worker.Pollers = "w1", 2
	key := worker.KeyFile
	if err := os.Rename(key, key+".later"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() {
		if err := Coordinate(ctx, co); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	work.Go(func() { _ = Work(ctx, worker) })
	work.Go(func() { _ = Schedule(ctx, scheduler) })
	testpki.WriteFile(t, filepath.Join(scheduler.Dir, "one.run"), []byte("1"), 0o600)
	testpki.WriteFile(t, filepath.Join(scheduler.Dir, "two.run"), []byte(`{"seconds": 1, "wait": true}`), 0o600)
	await(t, "two runs are queued", func() bool { return len(runsOf(co)) == 2 })
	if err := os.Rename(key+".later", key); err != nil {
		t.Fatal(err)
	}
	is := func(status string) bool {
		runs := runsOf(co)
		return len(runs) == 2 && runs[0].Status == status && runs[1].Status == status && runs[0].Worker == "w1"
	}
	await(t, "both run at once", func() bool { return is(Running) })
	await(t, "both are finished", func() bool { return is(Succeeded) })

	// Without a certificate no one gets in.
	worker.CertFile = ""
	p, err := dial(worker)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.conn.Close() }()
	if _, err := p.call(ctx, "Heartbeat", message{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
}

// A scheduler that runs work itself needs no coordinator.
func TestLocalRuns(t *testing.T) {
	t.Parallel()
	c := Config{Insecure: true, Local: true, Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	testpki.WriteFile(t, filepath.Join(c.Dir, "one.run"), []byte("0.1"), 0o600)
	work.Go(func() { _ = Schedule(ctx, c) })
	await(t, "it is finished", func() bool {
		text, err := os.ReadFile(filepath.Join(c.Dir, "one.done"))
		return err == nil && string(text) == Succeeded
	})
}

// With insecure: false alone nothing starts.
func TestNothingStartsWithInsecureFalseAlone(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(context.Context, Config) error{"coordinator": Coordinate, "worker": Work, "scheduler": Schedule} {
		if err := start(t.Context(), Config{Dir: t.TempDir()}); err == nil {
			t.Errorf("the %s started", name)
		}
	}
}

// A run that no one sends heartbeats for is aborted when its lease has expired.
func TestLease(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runs.json")
	synctest.Test(t, func(t *testing.T) {
		co := &Coordinator{file: file, workers: map[string]workerInfo{}, runs: []*Run{{ID: "a", Status: Running, Seen: time.Now()}, {ID: "b", Status: Running, Seen: time.Now()}}}
		ctx, cancel := context.WithCancel(t.Context())
		go co.sweep(ctx)
		pause(ctx, 20*time.Second)
		if out, err := co.heartbeat(ctx, message{Active: []string{"b"}}); err != nil || len(out.Active) != 1 {
			t.Errorf("%+v, %v", out, err)
		}
		pause(ctx, 15*time.Second)
		synctest.Wait()
		if co.runs[0].Status != Aborted || co.runs[1].Status != Running {
			t.Errorf("%+v, %+v", *co.runs[0], *co.runs[1])
		}
		if out, _ := co.heartbeat(ctx, message{Active: []string{"a"}}); len(out.Active) != 0 {
			t.Error("an aborted run was let go on")
		}
		cancel()
	})
}

// One process with both roles runs what it is given itself.
func TestAllInOne(t *testing.T) {
	t.Parallel()
	_, co, _ := cluster(t)
	co.Local = true
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	testpki.WriteFile(t, filepath.Join(co.Dir, "one.run"), []byte("0.1"), 0o600)
	go func() { over <- All(ctx, co) }()
	await(t, "it is finished", func() bool {
		text, err := os.ReadFile(filepath.Join(co.Dir, "one.done"))
		return err == nil && string(text) == Succeeded
	})
	await(t, "it serves", func() bool {
		_, err := os.Stat(registryFile(co.Registry))
		return err == nil
	})
	cancel()
	if err := <-over; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

package dagupeer

import (
	"context"
	"encoding/json"
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

// cluster starts a coordinator, a worker and a scheduler under mutual TLS.
func TestARunGoesItsWay(t *testing.T) {
	t.Parallel()
	ca, dir := testpki.New(t), t.TempDir()
	testpki.WriteFile(t, dir+"/ca.crt", ca.PEM(), 0o600)
	config := func(name string, o testpki.Options) Config {
		cert, key := ca.Leaf(t, o).Write(t, filepath.Join(dir, name))
		return Config{CertFile: cert, KeyFile: key, ClientCAFile: dir + "/ca.crt", Dir: filepath.Join(dir, name)}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	co := config("coordinator", testpki.Options{SANs: []string{"127.0.0.1"}})
	co.Host, co.Port = "127.0.0.1", address.Port
	worker := config("worker", testpki.Options{})
	worker.WorkerID, worker.Coordinators = "w1", []string{address.String()}
	scheduler := config("scheduler", testpki.Options{})
	scheduler.Coordinators = worker.Coordinators

	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { _ = Coordinate(ctx, co) })
	work.Go(func() { _ = Work(ctx, worker) })
	work.Go(func() { _ = Schedule(ctx, scheduler) })
	testpki.WriteFile(t, filepath.Join(scheduler.Dir, "one.run"), []byte("0.1"), 0o600)
	for deadline := time.Now().Add(20 * time.Second); ; pause(ctx, 50*time.Millisecond) {
		var runs []Run
		if text, err := os.ReadFile(RunsFile(co.Dir)); err == nil {
			_ = json.Unmarshal(text, &runs)
		}
		if len(runs) == 1 && runs[0].Status == Succeeded && runs[0].Worker == "w1" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("runs %+v", runs)
		}
	}
	// Without a certificate nobody gets in.
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

// A run that nobody sends heartbeats for is aborted when its lease is over.
func TestLease(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runs.json")
	synctest.Test(t, func(t *testing.T) {
		co := &Coordinator{file: file, runs: []*Run{{ID: "a", Status: Running, Seen: time.Now()}, {ID: "b", Status: Running, Seen: time.Now()}}}
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

package probes

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"

	"renewer/internal/dagupeer"
	"renewer/internal/testpki"
	"renewer/renewer"
)

// The workers of a coordinator are read as it lists them, with their tasks.
func TestWorkersOfACoordinator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := t.TempDir()
	testpki.WriteFile(t, dir+"/ca.crt", f.ca.PEM(), 0o600)
	cert, key := f.server.Write(t, filepath.Join(dir, "coordinator"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	co := dagupeer.Config{
		Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Advertise: "127.0.0.1",
		CertFile: cert, KeyFile: key, ClientCAFile: dir + "/ca.crt", Dir: filepath.Join(dir, "coordinator"), Registry: dir,
	}
	_ = l.Close()
	worker, scheduler := co, co
	worker.CertFile, worker.KeyFile = f.ca.Leaf(t, testpki.Options{}).Write(t, filepath.Join(dir, "worker"))
	worker.WorkerID, worker.Pollers = "w1", 3
	scheduler.CertFile, scheduler.KeyFile, scheduler.Dir = worker.CertFile, worker.KeyFile, filepath.Join(dir, "worker")
	testpki.WriteFile(t, filepath.Join(scheduler.Dir, "one.run"), []byte(`{"seconds": 60, "wait": true}`), 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { _ = dagupeer.Coordinate(ctx, co) })
	work.Go(func() { _ = dagupeer.Work(ctx, worker) })
	work.Go(func() { _ = dagupeer.Schedule(ctx, scheduler) })
	r := f.request(renewer.ProbeGRPCHealth, l.Addr().String(), true)
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(100 * time.Millisecond) {
		list, err := New().Workers(t.Context(), r)
		if err == nil && len(list) == 1 && list[0].ID == "w1" && list[0].Tasks == 1 && list[0].Live && time.Since(time.Unix(int64(list[0].Heard), 0)) < time.Minute {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", list, err)
		}
	}
}

// A gRPC server that is no coordinator says so.
func TestWorkersOfNoCoordinator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.request(renewer.ProbeGRPCHealth, coordinator(t, f.ca.Server(f.server), healthpb.HealthCheckResponse_SERVING), true)
	if list, err := New().Workers(t.Context(), r); !errors.Is(err, renewer.ErrNotDagu) {
		t.Errorf("%+v, %v", list, err)
	}
}

func framed(message []byte) []byte {
	return append([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}, message...)
}

func TestReadWorkers(t *testing.T) {
	t.Parallel()
	text := func(b []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	number := func(b []byte, n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	busy := number(text(text(text(nil, 1, "a@1"), 3, "\x0a\x01k"), 7, "\x0a\x01r"), 6, 2) // a label, one task, two pollers that are busy
	busy = number(number(busy, 8, 1764300000), 9, 2)
	gone := number(number(text(nil, 1, "b"), 9, 3), 6, 1<<63) // no int32, and far too many
	got, err := readWorkers(framed(text(text(nil, 1, string(busy)), 1, string(gone))))
	want := []renewer.Worker{{ID: "a@1", Tasks: 2, Heard: 1764300000, Live: true}, {ID: "b", Tasks: 1<<31 - 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := readWorkers(framed(nil)); err != nil || len(got) != 0 {
		t.Errorf("none: %+v, %v", got, err)
	}
	for _, broken := range []string{"", "\x0a\x7f", "\x0a\x02\x0a\x09", "\x0b", "\x09\x00", "\x0d", "\xff"} {
		if got, err := readWorkers(framed([]byte(broken))); broken != "" && err == nil {
			t.Errorf("%q: %+v", broken, got)
		}
	}
	if _, err := readWorkers([]byte{1, 2}); err == nil {
		t.Error("no frame, no error")
	}
}

// FuzzWorkers: whatever a server sends is read without a fault.
func FuzzWorkers(f *testing.F) {
	for _, s := range []string{"", "\x0a\x03\x0a\x01a", "\x0a\x02\x30\x01", "\x0a\x7f", "\x08\x01", "\x0d\x00\x00\x00\x00"} {
		f.Add(framed([]byte(s)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := readWorkers(body)
		for _, w := range list {
			if w.Tasks < 0 && err == nil {
				t.Errorf("%+v", w)
			}
		}
	})
}

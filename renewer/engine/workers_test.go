package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"renewer/renewer"
)

// WorkerNames: on host b it is known as b.
func (m *machine) WorkerNames(context.Context, renewer.Placement) ([]string, error) {
	return []string{m.name}, nil
}

// foreman is a prober that a coordinator on host a lists its workers to.
type foreman struct {
	eyes
	mu   sync.Mutex
	list func() ([]renewer.Worker, error)
}

func (f *foreman) Workers(context.Context, ProbeRequest) ([]renewer.Worker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list()
}

func (f *foreman) says(list ...renewer.Worker) {
	f.saying(func() ([]renewer.Worker, error) { return list, nil })
}

func (f *foreman) saying(list func() ([]renewer.Worker, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = list
}

// dagu is the cluster with a coordinator that lists workers, and guards that ask it.
func dagu(f *foreman) func(*bench) []renewer.Certificate {
	return func(b *bench) []renewer.Certificate {
		b.prober = f
		certs := cluster(b)
		certs[1].Placements[0].Probe.Kind = renewer.ProbeGRPCHealth
		certs[1].SANs = []string{"a"}
		certs[1].Placements[0].Activate.Budget = 25 * time.Second
		for i := range certs[0].Placements {
			certs[0].Placements[i].Guard = &renewer.Guard{Dagu: &renewer.DaguGuard{By: renewer.IdleByCoordinator}}
		}
		return certs
	}
}

// alive is a worker whose heartbeats never stop.
func alive(id string, tasks int) renewer.Worker {
	return renewer.Worker{ID: id, Tasks: tasks, Heard: uint64(time.Now().Unix()), Live: true}
}

// A worker whose tasks have no process is busy all the same, as its coordinator says.
func TestATaskWithoutAProcessHoldsItsWorker(t *testing.T) {
	f := &foreman{}
	f.says()
	scene(t, Asked, dagu(f), func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		for _, h := range []string{"b", "c"} {
			b.machine(h).set(func(m *machine) { m.work = renewer.Work{Running: true, What: "processes"} })
		}
		generation := 1
		for _, tc := range []struct {
			name, waits string // part of what host b waits for; empty: for nothing
			list        func() ([]renewer.Worker, error)
		}{
			{"busy", "no tasks of worker b and processes are left (2 now)", func() ([]renewer.Worker, error) {
				return []renewer.Worker{alive("c@7", 0), alive("b@12", 2)}, nil
			}},
			{"the coordinator does not tell", "server on a does not answer: no answer", func() ([]renewer.Worker, error) {
				return nil, errors.New("no answer")
			}},
			{"another name is busy", "lists no worker b; x@9 is busy", func() ([]renewer.Worker, error) {
				return []renewer.Worker{alive("c@7", 0), alive("x@9", 1)}, nil
			}},
			{"another name is idle", "", func() ([]renewer.Worker, error) { return []renewer.Worker{alive("x@9", 0)}, nil }},
			{"idle", "", func() ([]renewer.Worker, error) { return []renewer.Worker{alive("b@12", 0), alive("c@7", 0)}, nil }},
			{"long gone", "", func() ([]renewer.Worker, error) { return []renewer.Worker{{ID: "b@11", Tasks: 3}}, nil }},
			{"no coordinator", "", func() ([]renewer.Worker, error) { return nil, renewer.ErrNotDagu }},
		} {
			f.saying(tc.list)
			before := b.machine("b").activated["systemd restart worker.service"]
			res, err := b.eng.Renew(context.Background(), []string{"worker"}, renewer.Overrides{}, true, nil)
			must(t, err)
			if res.Failed() || tc.waits != "" != (res.Rollouts[0].Result == renewer.ResultWaiting) || !strings.Contains(res.Rollouts[0].Waiting.String(), tc.waits) {
				t.Errorf("%s: %+v", tc.name, res.Rollouts[0])
			}
			if n := b.machine("b").activated["systemd restart worker.service"] - before; (n == 0) != (tc.waits != "") {
				t.Errorf("%s: restarted %d times", tc.name, n)
			}
			f.says(alive("b@12", 0), alive("c@7", 0))
			time.Sleep(2 * renewer.GuardInterval)
			if generation++; b.row("worker").Generation != generation || b.row("worker").Status != renewer.StatusValid {
				t.Errorf("%s, idle again: %+v", tc.name, b.row("worker"))
			}
		}
	})
}

// A coordinator is proven when the workers that it had are seen again. If none is,
// the certificate before is put back; if some are not, it stays, unproven.
func TestWorkersAreSeenBackBeforeACoordinatorIsProven(t *testing.T) {
	f := &foreman{}
	f.says()
	scene(t, Asked, dagu(f), func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		renew := func(back func(since time.Duration) []renewer.Worker) (time.Duration, renewer.Row) {
			f.saying(func() ([]renewer.Worker, error) {
				return []renewer.Worker{alive("b@1", 1), alive("c@2", 0), {ID: "old", Heard: 5}}, nil
			})
			m.then(func() {
				restarted := time.Now()
				m.then(nil)
				f.saying(func() ([]renewer.Worker, error) { return back(time.Since(restarted)), nil })
			})
			began := time.Now()
			_, err := b.eng.Renew(context.Background(), []string{"server"}, renewer.Overrides{}, true, nil)
			must(t, err)
			return time.Since(began), b.row("server")
		}
		before := b.row("server").Fingerprint
		// In memory, the list is empty at first; on a disk, it has what was heard before.
		kept := []renewer.Worker{{ID: "b@1", Heard: uint64(time.Now().Unix()), Live: true}, {ID: "c@2", Heard: uint64(time.Now().Unix()), Live: true}}
		for name, first := range map[string][]renewer.Worker{"in memory": nil, "on disk": kept} {
			took, row := renew(func(since time.Duration) []renewer.Worker {
				switch {
				case since < 3*time.Second:
					return first
				case since < 6*time.Second:
					return append(slices.DeleteFunc(slices.Clone(first), func(w renewer.Worker) bool { return w.ID == "b@1" }), alive("b@1", 1))
				}
				return []renewer.Worker{alive("b@4", 1), alive("c@2", 0)} // one has another process
			})
			if row.Hosts[0].State != renewer.HostVerified || row.Fingerprint == before || took < 6*time.Second {
				t.Errorf("%s: proven after %s: %+v", name, took, row)
			}
			before = row.Fingerprint
		}
		_, row := renew(func(time.Duration) []renewer.Worker { return nil })
		if row.Hosts[0].State != renewer.HostRolledBack || row.Fingerprint != before || !strings.Contains(row.Hosts[0].Error, "none of the 2 workers that server had on a has reconnected: b, c") {
			t.Errorf("none is back: %+v", row)
		}
		_, row = renew(func(time.Duration) []renewer.Worker { return []renewer.Worker{alive("c@2", 0)} })
		if row.Hosts[0].State != renewer.HostBlocked || row.Fingerprint == before || !strings.Contains(row.Hosts[0].Error, "1 of the 2 workers that server had on a have not reconnected yet: b") {
			t.Errorf("one is not back: %+v", row)
		}
		f.says(alive("b@1", 0), alive("c@2", 0))
		time.Sleep(10 * time.Minute)
		if row := b.row("server"); row.Hosts[0].State != renewer.HostVerified {
			t.Errorf("later: %+v", row)
		}
	})
}

// foremen is a prober that two coordinators list their workers to.
type foremen struct {
	eyes
	list func(certificate string) []renewer.Worker
}

func (p foremen) Workers(_ context.Context, r ProbeRequest) ([]renewer.Worker, error) {
	return p.list(r.Placement.Certificate), nil
}

// A worker that has gone over to another coordinator meanwhile is not missed.
func TestAWorkerThatHasAnotherCoordinatorNow(t *testing.T) {
	var left atomic.Bool
	certs := func(b *bench) []renewer.Certificate {
		second := b.cert("second", month, "c")
		second.SANs, second.PeerGroup, second.Placements[0].Probe.Kind = []string{"c"}, "g", renewer.ProbeGRPCHealth
		all := append(dagu(&foreman{})(b), second)
		b.prober = foremen{list: func(certificate string) []renewer.Worker {
			if (certificate == "second") == left.Load() {
				return []renewer.Worker{alive("b@1", 1)}
			}
			return nil
		}}
		return all
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() {
			t.Fatalf("result %+v", res)
		}
		m := b.machine("a")
		m.then(func() { left.Store(true) })
		res, err := b.eng.Renew(context.Background(), []string{"server"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if row := b.row("server"); res.Failed() || row.Hosts[0].State != renewer.HostVerified || row.Generation != 2 {
			t.Errorf("%+v, row %+v", res, row)
		}
	})
}

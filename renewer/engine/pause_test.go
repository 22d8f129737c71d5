package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// One pass waits a short pause between hosts out, and says a longer one.
func TestAPassAndThePauseBetweenHosts(t *testing.T) {
	for name, certs := range map[string]func(b *bench, pause time.Duration) []renewer.Certificate{
		"of one certificate": func(b *bench, pause time.Duration) []renewer.Certificate {
			c := b.cert("web", month, "a", "b", "c")
			c.Pace = renewer.Pace{Canary: 1, MaxParallel: 1, Pause: pause}
			return []renewer.Certificate{c}
		},
		"of an entry": func(b *bench, pause time.Duration) []renewer.Certificate {
			var out []renewer.Certificate
			for _, host := range []string{"a", "b", "c"} {
				c := b.cert("web@"+host, month, host)
				c.SANs = []string{"web.test"}
				c.Entry, c.Pace = "web", renewer.Pace{Canary: 1, MaxParallel: 1, Pause: pause}
				out = append(out, c)
			}
			return out
		},
	} {
		for pause, waited := range map[time.Duration]bool{30 * time.Second: true, time.Minute: true, 10 * time.Minute: false} {
			t.Run(name+" "+pause.String(), func(t *testing.T) {
				scene(t, Asked, func(b *bench) []renewer.Certificate { return certs(b, pause) }, func(t *testing.T, b *bench) {
					for _, host := range []string{"a", "b", "c"} {
						b.machine(host).after = func() { time.Sleep(time.Second) }
					}
					begin := time.Now()
					res := b.pass()
					done, waiting := 0, 0
					for _, host := range []string{"a", "b", "c"} {
						for _, pl := range b.machine(host).places {
							if pl.served != "" {
								done++
							}
						}
					}
					for _, r := range res.Rollouts {
						if r.Result == renewer.ResultWaiting && strings.Contains(r.Waiting.String(), "pause between hosts until") {
							waiting++
						}
					}
					took := time.Since(begin)
					if res.Failed() || (done == 3) != waited || (waiting > 0) == waited || waited && took < 2*pause || !waited && took >= pause {
						t.Errorf("%d hosts done after %s, %d waiting: %+v", done, took, waiting, res)
					}
				})
			})
		}
	}
}

// What was seen of a host that a rollout is at work on is not called right: it is
// looked at again, and said after a while.
func TestVerifyDuringARollout(t *testing.T) {
	for name, ends := range map[string]bool{"it ends": true, "it goes on": false} {
		t.Run(name, func(t *testing.T) {
			scene(t, Asked, one, func(t *testing.T, b *bench) {
				b.pass()
				flipped, goOn := make(chan struct{}), make(chan struct{})
				m := b.machine("a")
				flips := 0
				m.mu.Lock()
				m.fail = func(call, _ string) error {
					if call == "flip" {
						flips++
					}
					return nil
				}
				m.after = func() {
					if flips == 1 {
						flips++
						close(flipped)
						<-goOn
					}
				}
				m.mu.Unlock()
				renewed := make(chan error, 1)
				go func() {
					_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
					renewed <- err
				}()
				<-flipped
				release := sync.OnceFunc(func() { close(goOn) })
				if ends {
					time.AfterFunc(2*time.Second, release)
				}
				found, err := b.eng.Verify(context.Background(), nil)
				must(t, err)
				if v := found[0]; len(found) != 1 || v.OK != ends || ends && (v.Generation != 2 || v.OnDisk != b.row("web").Fingerprint) || !ends && !containsAll(strings.Join(v.Problems, " "), "a rollout is changing it") {
					t.Errorf("%+v", found)
				}
				release()
				must(t, <-renewed)
			})
		})
	}
}

// A renewal that is asked for while the last one is taken back begins when that
// has ended.
func TestARenewalDuringARestore(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.pass()
		m := b.machine("a")
		b.refuseNew("a", b.row("web").Fingerprint)
		restoring, goOn := make(chan struct{}), make(chan struct{})
		flips := 0
		m.mu.Lock()
		m.fail = func(call, _ string) error {
			if call == "flip" {
				flips++
			}
			return nil
		}
		m.after = func() {
			if flips == 2 { // forth and back
				flips++
				close(restoring)
				<-goOn
			}
		}
		m.mu.Unlock()
		first := make(chan renewer.RunResult, 1)
		go func() {
			res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
			if err != nil {
				t.Error(err)
			}
			first <- res
		}()
		<-restoring
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, false, nil)
		must(t, err)
		if r := res.Rollouts[0]; len(res.Rollouts) != 1 || r.Result != renewer.ResultStarted || !containsAll(r.Waiting.String(), "requested by operator at ", "web#2") {
			t.Errorf("without waiting: %+v", res)
		}
		type answer struct {
			renewer.RunResult
			error
		}
		second := make(chan answer, 1)
		go func() {
			res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
			second <- answer{res, err}
		}()
		synctest.Wait()
		b.refuseNew("a", "")
		close(goOn)
		if res := <-first; len(res.Rollouts) != 1 || res.Rollouts[0].Rollout != "web#3" { // that was blocked, and the one after it
			t.Errorf("the first: %+v", res)
		}
		got := <-second
		if got.error != nil || got.Failed() || len(got.Rollouts) != 1 || got.Rollouts[0].Rollout != "web#3" || got.Rollouts[0].Result != renewer.ResultVerified {
			t.Errorf("the second: %+v", got)
		}
	})
}

// Where the way back cannot be gone on with, no one waits for it.
func TestARenewalDuringARestoreThatIsStuck(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.pass()
		m := b.machine("a")
		b.refuseNew("a", b.row("web").Fingerprint)
		flips := 0
		m.fail = func(call, _ string) error {
			if call == "flip" {
				if flips++; flips > 1 {
					return errors.New("read-only file system")
				}
			}
			return nil
		}
		if _, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if r := res.Rollouts[0]; r.Result != renewer.ResultFailed || !strings.Contains(r.Error, "read-only file system") || !strings.Contains(r.Waiting.String(), "web#2") || time.Since(begin) > time.Minute {
			t.Errorf("after %s: %+v", time.Since(begin), res)
		}
		m.set(func(m *machine) { m.fail = nil })
		b.refuseNew("a", "")
		if res := b.pass(); b.row("web").Status != renewer.StatusValid || b.row("web").Generation != 3 {
			t.Errorf("the request was lost: %+v, row %+v", res, b.row("web"))
		}
	})
}

// counted counts what is read of the inventory.
type counted struct {
	Store
	records *atomic.Int64
}

func (c counted) Record(name string) (renewer.Record, bool, error) {
	c.records.Add(1)
	return c.Store.Record(name)
}

// A renewal of a certificate whose roots are just being pushed has its turn when
// that is at work on no host, and costs nothing while it waits.
func TestARenewalWaitsForAPushThatIsAtWork(t *testing.T) {
	var reads atomic.Int64
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a", "b", "c")
		b.fleet.Certificates = []renewer.Certificate{b.cert("web", month, "a", "b")}
		b.fleet.Certificates[0].Pace = renewer.Pace{Canary: 1, MaxParallel: 1}
		b.wrap = func(s Store) Store { return counted{s, &reads} }
		b.start(Alone)
		defer func() { b.stop() }()
		synctest.Wait()
		goOn := make(chan struct{})
		for _, host := range []string{"a", "b"} {
			m := b.machine(host)
			m.then(func() { <-goOn })
		}
		c := b.cert("web", month, "a", "b")
		c.Pace = b.fleet.Certificates[0].Pace
		for i := range c.Placements {
			c.Placements[i].Modes[renewer.FileCA] = 0o400
			c.Placements[i].Owner = "web"
		}
		b.fleet.Certificates = []renewer.Certificate{c}
		must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
		synctest.Wait()
		rec, _, err := b.store.Record("web")
		must(t, err)
		if rec.Rollout == nil || rec.Rollout.Kind != renewer.KindPlace || rec.Rollout.Settled() {
			t.Fatalf("nothing is pushed: %+v", rec.Rollout)
		}
		over := make(chan renewer.RunResult)
		go func() {
			res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{Without: []string{"c"}}, true, nil)
			if err != nil {
				t.Error(err)
			}
			over <- res
		}()
		synctest.Wait()
		began := reads.Load()
		time.Sleep(30 * time.Second)
		if n := reads.Load() - began; n > 10 {
			t.Errorf("%d reads while it waits", n)
		}
		steps, err := b.eng.Plan(context.Background())
		must(t, err)
		if !slices.ContainsFunc(steps, func(s renewer.PlanStep) bool { return strings.Contains(s.Reason, "requested by operator at ") }) {
			t.Errorf("the plan does not say it: %+v", steps)
		}
		close(goOn)
		res := <-over
		if len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultVerified || res.Rollouts[0].Generation != 2 {
			t.Errorf("%+v", res)
		}
		rec, _, err = b.store.Record("web")
		must(t, err)
		if rec.Asked != nil || rec.Current != 2 {
			t.Errorf("%+v", rec)
		}
		placed, _, err := b.store.Rollout("web#2")
		must(t, err)
		if s, ok := placed.Step("b"); ok && s.State != renewer.StepPending {
			t.Errorf("the push went on to b first: %+v", placed)
		}
	})
}

// When what kept the way back from its end is fixed, a renewal and a setup that are
// asked for end it at once.
func TestWhatIsAskedForEndsARestoreThatIsStuck(t *testing.T) {
	for _, how := range []string{"renew", "setup"} {
		t.Run(how, func(t *testing.T) {
			scene(t, Asked, one, func(t *testing.T, b *bench) {
				b.pass()
				m := b.machine("a")
				b.refuseNew("a", b.row("web").Fingerprint)
				broken := true
				m.fail = func(call, _ string) error {
					if call == "activate" && broken {
						return errors.New("control process exited")
					}
					return nil
				}
				if _, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(12 * time.Hour)
				b.stop()
				b.start(Asked) // which tries again at once, in vain
				stuck, err := b.eng.Restoring(context.Background(), "web", "a")
				if err != nil || !stuck {
					t.Fatalf("stuck %t, %v", stuck, err)
				}
				if err := b.eng.Resume(context.Background(), "web", "a", nil); err == nil {
					t.Error("resumed although nothing was fixed")
				}
				m.set(func(*machine) { broken = false })
				began := time.Now()
				if how == "setup" {
					must(t, b.eng.Resume(context.Background(), "web", "a", nil))
					if row := b.row("web"); row.Hosts[0].State != renewer.HostRolledBack || row.Generation != 1 {
						t.Errorf("row %+v", row)
					}
					return
				}
				b.refuseNew("a", "")
				res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
				must(t, err)
				if row := b.row("web"); res.Failed() || row.Status != renewer.StatusValid || row.Generation == 1 || time.Since(began) > time.Minute {
					t.Errorf("%+v, row %+v", res, row)
				}
			})
		})
	}
}

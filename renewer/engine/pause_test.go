package engine

import (
	"context"
	"errors"
	"strings"
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

// A renewal that is asked for while the last one is taken back begins when that
// is over.
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
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, false, nil)
		if err == nil || !containsAll(err.Error(), "web#2 puts the previous certificate back, which ends first", "connection refused") || renewer.Hint(err) == "" {
			t.Errorf("without waiting: %v, hint %q", err, renewer.Hint(err))
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
		if res := <-first; res.Rollouts[0].Result != renewer.ResultBlocked {
			t.Errorf("the first: %+v", res)
		}
		got := <-second
		if got.error != nil || got.Failed() || len(got.Rollouts) != 1 || got.Rollouts[0].Rollout != "web#3" || got.Rollouts[0].Result != renewer.ResultVerified {
			t.Errorf("the second: %+v", got)
		}
	})
}

// Where the way back cannot be gone on with, nobody waits for it.
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
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		if err == nil || !strings.Contains(err.Error(), "puts the previous certificate back") || time.Since(begin) > time.Minute {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

// When what kept the way back from its end is mended, a renewal and a setup that are
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
				stuck, err := b.eng.Restoring(context.Background(), "web", "a")
				if err != nil || !stuck {
					t.Fatalf("stuck %t, %v", stuck, err)
				}
				if err := b.eng.Resume(context.Background(), "web", "a", nil); err == nil {
					t.Error("resumed although nothing was mended")
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

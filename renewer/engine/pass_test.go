package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"renewer/renewer"
)

// many is more than may be under way at once.
const many = 400

// crowd is so many certificates on a few hosts.
func crowd(n int) func(b *bench) []renewer.Certificate {
	return func(b *bench) (certs []renewer.Certificate) {
		for i := range n {
			host := fmt.Sprintf("host%d", i%40)
			b.fleet.Hosts[host] = cmp.Or(b.fleet.Hosts[host], Host(newMachine(host)))
			certs = append(certs, b.cert(fmt.Sprintf("web%04d", i), month, host))
		}
		return certs
	}
}

func namesOf(certs []renewer.Certificate) (names []string) {
	for _, c := range certs {
		names = append(names, c.Name)
	}
	return names
}

func TestOnePassDoesAllThatIsDue(t *testing.T) {
	scene(t, Asked, crowd(1000), func(t *testing.T, b *bench) {
		res := b.pass()
		b.allVerified(res, 1)
	})
}

func (b *bench) allVerified(res renewer.RunResult, generation int) {
	b.t.Helper()
	verified := 0
	for _, r := range res.Rollouts {
		if r.Result == renewer.ResultVerified && r.Generation == generation {
			verified++
		}
	}
	if all := len(b.fleet.Certificates); verified != all || len(res.Rollouts) != all || res.Failed() {
		b.t.Errorf("%d of %d rollouts brought generation %d", verified, len(res.Rollouts), generation)
	}
}

// underWay counts the rollouts that are under way, as recorded.
type underWay struct {
	Store
	mu   sync.Mutex
	open map[string]bool
	most int
	stop func() // called once there were that many commits
	left int
}

func (u *underWay) Commit(ctx context.Context, changes ...Change) ([]renewer.Event, error) {
	events, err := u.Store.Commit(ctx, changes...)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, ch := range changes {
		if r := ch.Record.Rollout; r != nil && !r.Phase.Over() {
			u.open[ch.Record.Name] = true
		} else {
			delete(u.open, ch.Record.Name)
		}
	}
	u.most = max(u.most, len(u.open))
	if u.left--; u.left == 0 {
		u.stop()
	}
	return events, err
}

func TestManyRequestedRenewalsKeepToTheBound(t *testing.T) {
	for mode, name := range map[Mode]string{Asked: "without a daemon", Alone: "in a daemon"} {
		t.Run(name, func(t *testing.T) {
			u := &underWay{open: map[string]bool{}}
			scene(t, mode, func(b *bench) []renewer.Certificate {
				b.wrap = func(s Store) Store { u.Store = s; return u }
				return crowd(many)(b)
			}, func(t *testing.T, b *bench) {
				b.pass()
				must(t, b.eng.SetFleet(context.Background(), b.fleet, mode))
				u.most = 0
				progressed := map[string]bool{}
				res, err := b.eng.Renew(context.Background(), namesOf(b.fleet.Certificates), renewer.Overrides{}, true, func(ev renewer.Event) {
					if ev.Type == renewer.EventVerified {
						progressed[ev.Certificate] = true
					}
				})
				must(t, err)
				b.allVerified(res, 2)
				if u.most > maxUnderWay || len(progressed) != many {
					t.Errorf("%d were under way at once, and %d were asked of", u.most, len(progressed))
				}
			})
		})
	}
}

// What was accepted is done, whatever becomes of the process that accepted it.
func TestRequestedRenewalsOutliveTheProcess(t *testing.T) {
	u := &underWay{open: map[string]bool{}}
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		b.wrap = func(s Store) Store { u.Store = s; return u }
		return crowd(many)(b)
	}, func(t *testing.T, b *bench) {
		b.pass()
		ctx, cancel := context.WithCancel(context.Background())
		u.stop, u.left = cancel, many/recordAtOnce+10 // the request is recorded, and little more
		res, err := b.eng.Renew(ctx, namesOf(b.fleet.Certificates), renewer.Overrides{}, true, nil)
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%+v %v", res, err)
		}
		b.stop()
		b.start(Asked)
		done := 0
		for _, c := range b.fleet.Certificates {
			if b.currentOf(c.Name) == 2 {
				done++
			}
		}
		if done == many {
			t.Error("all of them were done: this shows nothing")
		}
		b.pass()
		for _, c := range b.fleet.Certificates {
			if n := b.currentOf(c.Name); n != 2 {
				t.Fatalf("%s has generation %d (%d were done before)", c.Name, n, done)
			}
		}
	})
}

func (b *bench) currentOf(name string) int {
	b.t.Helper()
	rec, _, err := b.store.Record(name)
	must(b.t, err)
	return rec.Current
}

// An error for one name changes none, however many there are.
func TestAManyfoldRequestIsRefusedAsAWhole(t *testing.T) {
	scene(t, Asked, crowd(many), func(t *testing.T, b *bench) {
		b.pass()
		names := append(namesOf(b.fleet.Certificates), "missing")
		_, err := b.eng.Renew(context.Background(), names, renewer.Overrides{}, true, nil)
		if err == nil || !strings.Contains(err.Error(), "certificate missing is not in the fleet file") {
			t.Fatal(err)
		}
		for _, c := range b.fleet.Certificates {
			rec, _, err := b.store.Record(c.Name)
			must(t, err)
			if rec.Asked != nil || rec.Rollout != nil || rec.Rollouts != 1 {
				t.Fatalf("%+v", rec)
			}
		}
	})
}

func TestARenewalThatHasNoRoomYetSaysSo(t *testing.T) {
	scene(t, Alone, crowd(many), func(t *testing.T, b *bench) {
		b.pass()
		res, err := b.eng.Renew(context.Background(), namesOf(b.fleet.Certificates), renewer.Overrides{}, false, nil)
		must(t, err)
		started, waiting := 0, 0
		for _, r := range res.Rollouts {
			switch {
			case r.Result != renewer.ResultStarted:
				t.Fatalf("%+v", r)
			case r.Rollout != "":
				started++
			case strings.Contains(r.Waiting.String(), "fewer than 256 other rollouts are in progress"):
				waiting++
			}
		}
		if started != maxUnderWay || waiting != many-maxUnderWay {
			t.Errorf("%d started, %d wait", started, waiting)
		}
	})
}

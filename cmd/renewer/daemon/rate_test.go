package daemon

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
)

// counted is an issuer that notes when it was asked.
type counted struct {
	engine.Issuer
	mu     sync.Mutex
	at     []time.Time
	takes  time.Duration
	closed int
}

func (c *counted) Sign(ctx context.Context, _ renewer.Order) (renewer.Chain, error) {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.mu.Unlock()
	select {
	case <-time.After(c.takes):
		return renewer.Chain{}, nil
	case <-ctx.Done():
		return renewer.Chain{}, ctx.Err()
	}
}

func (c *counted) LogIn(context.Context) error { return nil }
func (c *counted) Close() error                { c.closed++; return nil }

// For orders at any time and with any deadline, and however often the fleet file is
// reloaded: no window of time has more orders than the rate allows, and no order
// waits past its deadline.
func TestNeverMoreThanTheRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		perSecond := rapid.SampledFrom([]float64{1.0 / 360, 0.5, 1, 20, 333}).Draw(rt, "rate")
		type order struct{ start, patience time.Duration }
		orders := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) order {
			return order{
				start:    time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(rt, "start")),
				patience: time.Duration(rapid.Int64Range(int64(time.Second), int64(2*time.Minute)).Draw(rt, "patience")),
			}
		}), 1, 60).Draw(rt, "orders")
		reloads := rapid.IntRange(0, 3).Draw(rt, "reloads")
		takes := time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(rt, "takes"))
		synctest.Test(t, func(*testing.T) {
			inner := &counted{takes: takes}
			cfg := configs.Issuer{Name: "corp", Rate: perSecond}
			var mu sync.Mutex
			now := &parts{issuers: map[string]engine.Issuer{}}
			now.issuers["corp"] = now.pace(cfg, inner, nil)
			issuer := func() engine.Issuer { mu.Lock(); defer mu.Unlock(); return now.issuers["corp"] }
			var wg sync.WaitGroup
			for k := range reloads {
				wg.Go(func() {
					time.Sleep(time.Duration(k) * time.Second)
					mu.Lock()
					defer mu.Unlock()
					next := &parts{issuers: map[string]engine.Issuer{}}
					next.issuers["corp"] = next.pace(cfg, inner, now)
					now = next
				})
			}
			for _, o := range orders {
				wg.Go(func() {
					time.Sleep(o.start)
					ctx, cancel := context.WithTimeout(context.Background(), o.patience)
					defer cancel()
					begin := time.Now()
					_, err := issuer().Sign(ctx, renewer.Order{Certificate: "web"})
					if took := time.Since(begin); took > o.patience {
						rt.Errorf("took %s with a patience of %s", took, o.patience)
					}
					if errors.Is(err, renewer.ErrRate) && (renewer.ClassOf(err) != renewer.ClassRetry || renewer.RetryAfter(err) <= 0 || time.Since(begin) > 0) {
						rt.Errorf("held up after %s with %v, again after %s", time.Since(begin), err, renewer.RetryAfter(err))
					}
				})
			}
			wg.Wait()
			slices.SortFunc(inner.at, time.Time.Compare)
			least := time.Duration(float64(time.Second) / perSecond)
			for i := 1; i < len(inner.at); i++ {
				if gap := inner.at[i].Sub(inner.at[i-1]); gap < least-time.Microsecond {
					rt.Errorf("order %d came %s after the one before; at least %s is wanted", i, gap, least)
				}
			}
		})
	})
}

func TestAnotherRateOrNone(t *testing.T) {
	t.Parallel()
	inner := &counted{}
	was := &parts{issuers: map[string]engine.Issuer{}}
	was.issuers["corp"] = was.pace(configs.Issuer{Name: "corp", Rate: 1}, inner, nil)
	limit := was.issuers["corp"].(*paced).limit
	if p := was.pace(configs.Issuer{Name: "corp", Rate: 1}, inner, was).(*paced); p.limit != limit {
		t.Error("an unchanged entry lost its state")
	}
	if p := was.pace(configs.Issuer{Name: "corp", Rate: 2}, inner, was).(*paced); p.limit == limit || p.limit.Limit() != 2 {
		t.Error("another rate is not taken over")
	}
	if p := was.pace(configs.Issuer{Name: "other", Rate: 1}, inner, was).(*paced); p.limit == limit {
		t.Error("two issuers share a limiter")
	}
	if is := was.pace(configs.Issuer{Name: "corp"}, inner, was); is != engine.Issuer(inner) {
		t.Error("wrapped without a rate")
	}
	if _, ok := engine.Can[engine.LogIn](was.issuers["corp"]); !ok {
		t.Error("what the issuer can do is hidden")
	}
	if _, ok := engine.Can[engine.Revoker](was.issuers["corp"]); ok {
		t.Error("it can do what the issuer cannot")
	}
	if err := was.close(nil); err != nil || inner.closed != 1 {
		t.Errorf("closed %d times, %v", inner.closed, err)
	}
}

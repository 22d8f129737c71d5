package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
)

// slow is an issuer that signs when it is let to, and notes the keys that it is asked to
// sign.
type slow struct {
	*flaky
	keys []string
}

func (s *slow) OrderTimeout() time.Duration { return 0 }

func (s *slow) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	csr, err := o.RequestPEM()
	if err != nil {
		return renewer.Chain{}, err
	}
	s.mu.Lock()
	s.keys = append(s.keys, string(csr))
	s.mu.Unlock()
	return s.flaky.Sign(ctx, o)
}

// asked returns how often it was asked, and with how many different requests.
func (s *slow) asked() (times, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	different := map[string]bool{}
	for _, k := range s.keys {
		different[k] = true
	}
	return len(s.keys), len(different)
}

func later(class renewer.Class, what string) error {
	return &renewer.Error{Class: class, Hint: "sign it", Err: fmt.Errorf("%s: %w", what, renewer.ErrLater)}
}

// An issuer that signs days later is asked with one request alone, restarts or not, at
// equal intervals; what it says is reported once.
func TestAnOrderThatIsSignedDaysLater(t *testing.T) {
	var ca *slow
	certs := func(b *bench) []renewer.Certificate {
		ca = &slow{flaky: b.ca}
		b.fleet.Issuers["ca"] = ca
		b.ca.breakWith(later(renewer.ClassRetry, "waits for web.crt"))
		return one(b)
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		for range 5 {
			time.Sleep(24 * time.Hour)
			b.stop()
			b.start(Alone)
		}
		synctest.Wait()
		times, requests := ca.asked()
		if requests != 1 || times < 5*24*50 || times > 5*24*61 {
			t.Errorf("asked %d times with %d requests", times, requests)
		}
		if ev := b.events(renewer.EventRenewalFailed, renewer.EventOrderWaiting, renewer.EventRolloutPlanned); len(ev) != 2 {
			t.Errorf("events %+v", ev)
		}
		b.ca.breakWith(later(renewer.ClassMisconfigured, "web.crt is half-written"))
		time.Sleep(24 * time.Hour)
		if ev := b.events(renewer.EventRenewalFailed); len(ev) != 1 || ev[0].Hint != "sign it" {
			t.Errorf("events %+v", ev)
		}
		b.ca.breakWith(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 1 {
			t.Errorf("row %+v", row)
		}
		if _, requests := ca.asked(); requests != 1 {
			t.Errorf("%d requests", requests)
		}
		b.noKeys("web")
	})
}

// The current certificate stays in place meanwhile, and its approach to its expiry is reported.
func TestAnOrderThatIsNotSignedInTimeIsReported(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.fleet.Issuers["ca"] = &slow{flaky: b.ca}
		return one(b)
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		synctest.Wait()
		first := b.row("web")
		b.ca.breakWith(later(renewer.ClassRetry, "waits for web.crt"))
		time.Sleep(time.Until(first.NotAfter) - time.Hour)
		synctest.Wait()
		row := b.row("web")
		if row.Generation != 1 || row.Hosts[0].Served != first.Fingerprint || row.Status != renewer.StatusRenewing || !row.Overdue(time.Now()) || row.Severity(time.Now()) != renewer.SeverityCritical {
			t.Errorf("row %+v", row)
		}
		if ev := b.events(renewer.EventExpiring); len(ev) < 2 || !strings.Contains(ev[0].Message, "waits for web.crt") {
			t.Errorf("events %+v", ev)
		}
		time.Sleep(2 * time.Hour) // expired, it is ordered still
		b.ca.breakWith(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
	})
}

// An entry that asks for something else is another order; what does not change the request
// keeps it.
func TestAnOrderThatWaitsFollowsItsEntry(t *testing.T) {
	var ca *slow
	certs := func(b *bench) []renewer.Certificate {
		ca = &slow{flaky: b.ca}
		b.fleet.Issuers["ca"] = ca
		b.ca.breakWith(later(renewer.ClassRetry, "waits for web.crt"))
		return one(b)
	}
	scene(t, Alone, certs, func(t *testing.T, b *bench) {
		change := func(f func(c *renewer.Certificate)) int {
			t.Helper()
			c := b.fleet.Certificates[0]
			f(&c)
			b.fleet.Certificates = []renewer.Certificate{c}
			must(t, b.eng.SetFleet(context.Background(), b.fleet, Alone))
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			_, requests := ca.asked()
			return requests
		}
		if n := change(func(c *renewer.Certificate) { c.Renewal.At = 0.5 }); n != 1 {
			t.Errorf("another renew time: %d requests", n)
		}
		if n := change(func(c *renewer.Certificate) { c.SANs = append(c.SANs, "other.test") }); n != 2 {
			t.Errorf("another name: %d requests", n)
		}
		b.stop()
		b.start(Alone)
		time.Sleep(3 * time.Minute)
		if _, requests := ca.asked(); requests != 2 {
			t.Errorf("%d requests after a restart", requests)
		}
		b.ca.breakWith(nil)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		b.noKeys("web")
	})
}

// The result of a pass says what is waited for, and that is no failure; an answer that is
// of no use is one.
func TestAPassSaysWhatAnIssuerTakesItsTimeFor(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		b.fleet.Issuers["ca"] = &slow{flaky: b.ca}
		b.ca.breakWith(later(renewer.ClassRetry, "waits for web.crt"))
		return one(b)
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		if res := b.pass(); res.Failed() || res.Rollouts[0].Result != renewer.ResultWaiting || res.Rollouts[0].Waiting[0].Kind != renewer.WaitIssuer {
			t.Errorf("result %+v", res)
		}
		b.ca.breakWith(later(renewer.ClassMisconfigured, "web.crt is half-written"))
		if res := b.pass(); !res.Failed() || res.Rollouts[0].Result != renewer.ResultFailed || res.Rollouts[0].Hint != "sign it" {
			t.Errorf("result %+v", res)
		}
		b.ca.breakWith(nil)
		if res := b.pass(); res.Failed() || b.row("web").Status != renewer.StatusValid {
			t.Errorf("result %+v, row %+v", res, b.row("web"))
		}
	})
}

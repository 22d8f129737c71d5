package engine

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/internal/testpki"
	"renewer/renewer"
)

// The CA is away for an hour around the renew time: that costs events, and
// nothing else.
func TestACAThatIsAwayForAnHour(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate { return []renewer.Certificate{b.cert("web", month, "a", "b")} }, func(t *testing.T, b *bench) {
		synctest.Wait()
		first := b.row("web")
		time.Sleep(time.Until(first.RenewAt) - 30*time.Minute)
		b.ca.breakWith(&renewer.Error{Class: renewer.ClassRetry, Hint: "look at the CA", Err: errors.New("dial tcp 10.0.0.9:443: connection refused")})
		end := time.Now().Add(time.Hour)
		before := b.ca.count()
		for time.Now().Before(end) {
			time.Sleep(time.Minute)
			synctest.Wait()
			row := b.row("web")
			if row.Generation != 1 || row.Status == renewer.StatusExpired || row.Status == renewer.StatusBlocked {
				t.Fatalf("%s: row %+v", time.Now(), row)
			}
			for _, h := range row.Hosts {
				if h.Served != first.Fingerprint || !h.Matches || h.State != renewer.HostVerified {
					t.Fatalf("%s: host %+v", time.Now(), h)
				}
			}
		}
		failed := b.events(renewer.EventRenewalFailed)
		if n := b.ca.count() - before; len(failed) < 3 || len(failed) > 8 || n != len(failed)*tries {
			t.Errorf("%d failures in half an hour, with %d calls", len(failed), n)
		}
		for i := 1; i < len(failed); i++ { // doubling: each wait is longer than the one before
			if gap := failed[i].Time.Sub(failed[i-1].Time); gap < 45*time.Second<<(i-1) || gap > renewer.BackoffMax {
				t.Errorf("attempt %d came after %s", i+1, gap)
			}
		}
		for _, host := range []string{"a", "b"} {
			if n := b.machine(host).activated; len(n) != 1 || n["systemd restart web.service"] != 1 {
				t.Errorf("%s was restarted: %v", host, n)
			}
		}
		b.ca.breakWith(nil)
		asked := b.ca.count()
		time.Sleep(time.Hour)
		synctest.Wait()
		if row := b.row("web"); row.Generation != 2 || row.Status != renewer.StatusValid {
			t.Errorf("afterwards: %+v", row)
		}
		if n := b.ca.count() - asked; n != 1 {
			t.Errorf("%d orders afterwards", n)
		}
		if ev := b.events(renewer.EventExpired, renewer.EventRolledBack, renewer.EventRolloutBlocked, renewer.EventDrifted, renewer.EventUnreachable); len(ev) > 0 {
			t.Errorf("events %+v", ev)
		}
	})
}

// Who asks to be left alone is: within an effect for moments, else by the
// rollout's backoff, and never for more than its longest.
func TestRetryAfterIsRespected(t *testing.T) {
	for name, tc := range map[string]struct {
		after, least, most time.Duration
	}{
		"moments":     {3 * time.Second, 3 * time.Second, 5 * time.Second},
		"two minutes": {2 * time.Minute, 2 * time.Minute, 3 * time.Minute},
		"a year":      {8760 * time.Hour, renewer.BackoffMax, renewer.BackoffMax + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a")
				b.fleet.Certificates = one(b)
				b.ca.breakWith(&renewer.Error{Class: renewer.ClassRetry, After: tc.after, Err: errors.New("503 Service Unavailable")})
				b.start(Alone)
				defer func() { b.stop() }()
				for b.ca.count() < 4 {
					time.Sleep(time.Second)
				}
				synctest.Wait()
				b.ca.mu.Lock()
				defer b.ca.mu.Unlock()
				if gap := b.ca.asked[1].Sub(b.ca.asked[0]); gap > tc.most {
					t.Errorf("asked again only after %s", gap)
				}
				for i, at := range b.ca.asked[1:] {
					if gap := at.Sub(b.ca.asked[i]); gap < tc.least {
						t.Errorf("asked again after %s", gap)
					}
				}
			})
		})
	}
}

// What an operator has to fix is not asked again within moments.
func TestOnlyWhatMayPassIsTriedAgainAtOnce(t *testing.T) {
	for class, calls := range map[renewer.Class]int{
		renewer.ClassRetry: tries, renewer.ClassMisconfigured: 1, renewer.ClassRefused: 1, renewer.ClassReauthenticate: 2,
	} {
		t.Run(string(class), func(t *testing.T) {
			scene(t, Asked, one, func(t *testing.T, b *bench) {
				b.ca.breakWith(&renewer.Error{Class: class, Hint: "fix it", Err: errors.New("no")})
				res := b.pass()
				want := renewer.ResultFailed
				if class == renewer.ClassRefused {
					want = renewer.ResultBlocked
				}
				if n := b.ca.count(); n != calls || res.Rollouts[0].Result != want || res.Rollouts[0].Hint != "fix it" {
					t.Errorf("%d calls, result %+v", n, res)
				}
				if logins := b.ca.logins; (class == renewer.ClassReauthenticate) != (logins == 1) || logins > 1 {
					t.Errorf("%d logins", logins)
				}
			})
		})
	}
}

func TestALoginThatEndedIsMadeAgain(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.ca.breakWith(&renewer.Error{Class: renewer.ClassReauthenticate, Err: errors.New("invalid token")})
		b.ca.cured = true
		b.pass()
		if row := b.row("web"); row.Status != renewer.StatusValid || b.ca.logins != 1 {
			t.Errorf("%d logins, row %+v", b.ca.logins, row)
		}
		if ev := b.events(renewer.EventRenewalFailed); len(ev) > 0 {
			t.Errorf("events %+v", ev)
		}
	})
}

// What an issuer shortens is recorded and renewed by, and reported once; reported again
// when it becomes shorter still.
func TestAShortenedLifetimeIsReportedOnce(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		b.ca.bend = func(o *renewer.Order) { o.Lifetime = 10 * 24 * time.Hour }
		return one(b)
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		row := b.row("web")
		if life := time.Until(row.NotAfter); life > 10*24*time.Hour || row.RenewAt.After(time.Now().Add(7*24*time.Hour)) {
			t.Errorf("row %+v", row)
		}
		time.Sleep(month)
		synctest.Wait()
		if row = b.row("web"); row.Generation < 4 || row.Status != renewer.StatusValid {
			t.Errorf("row %+v", row)
		}
		if ev := b.events(renewer.EventIssueWarning); len(ev) != 1 || !strings.Contains(ev[0].Message, "from 720h0m0s to 240h0m0s") {
			t.Errorf("warnings %+v", ev)
		}
		b.ca.mu.Lock()
		b.ca.bend = func(o *renewer.Order) { o.Lifetime, o.Usages = 5*24*time.Hour, append(o.Usages, renewer.UsageClient) }
		b.ca.mu.Unlock()
		time.Sleep(month)
		synctest.Wait()
		ev := b.events(renewer.EventIssueWarning)
		if len(ev) != 3 || !strings.Contains(ev[1].Message, "added the usages client") || !strings.Contains(ev[2].Message, "to 120h0m0s") {
			t.Errorf("warnings %+v", ev)
		}
	})
}

// Less than a tenth is an alert and a block, not a loop.
func TestFarTooShortIsAnAlertAndNoLoop(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		first := b.row("web")
		b.ca.mu.Lock()
		b.ca.bend = func(o *renewer.Order) { o.Lifetime = time.Hour }
		b.ca.mu.Unlock()
		time.Sleep(time.Until(first.RenewAt) + 24*time.Hour)
		synctest.Wait()
		row := b.row("web")
		if row.Status != renewer.StatusBlocked || row.Generation != 1 || row.Hosts[0].Served != first.Fingerprint || b.ca.count() != 2 {
			t.Errorf("%d orders, row %+v", b.ca.count(), row)
		}
		if ev := b.events(renewer.EventLifetimeTooShort); len(ev) != 1 || !strings.Contains(ev[0].Error, "less than a tenth of the requested 720h0m0s") || ev[0].Hint == "" {
			t.Errorf("events %+v", ev)
		}
		time.Sleep(time.Until(first.NotAfter) + 24*time.Hour)
		synctest.Wait()
		if n := b.ca.count(); n > 30 {
			t.Errorf("%d orders", n)
		}
	})
}

// ending signs past the end of its CA.
type ending struct {
	Issuer
	ca *testpki.CA
}

func (e ending) Sign(_ context.Context, o renewer.Order) (renewer.Chain, error) {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: o.CommonName}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(o.Lifetime),
		DNSNames: o.SANs, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, e.ca.Cert, o.Key.Public(), e.ca.Key)
	if err != nil {
		return renewer.Chain{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return renewer.Chain{Leaf: leaf}, err
}

func (e ending) Roots(context.Context) ([]*x509.Certificate, error) {
	return []*x509.Certificate{e.ca.Root}, nil
}

// What ends after its CA counts until that does: it is renewed by it, reported once, and an
// alert when little is left.
func TestACertificateThatOutlivesItsCAExpiresWithIt(t *testing.T) {
	var ends time.Time
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		ends = time.Now().Add(20 * 24 * time.Hour).Truncate(time.Second)
		b.ca.Issuer = ending{b.ca.Issuer, testpki.NewWith(b.t, testpki.Options{CommonName: "Ending", NotAfter: ends})}
		return one(b)
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusValid || !row.NotAfter.Equal(ends) || !row.RenewAt.Before(ends) {
			t.Errorf("row %+v", row)
		}
		if ev := b.events(renewer.EventIssueWarning); len(ev) != 1 || !strings.Contains(ev[0].Message, "after its CA, which expires at "+ends.UTC().Format(time.RFC3339)) {
			t.Errorf("warnings %+v", ev)
		}
		time.Sleep(time.Until(ends) - time.Hour)
		synctest.Wait()
		if row := b.row("web"); row.Generation < 2 || row.Status != renewer.StatusBlocked {
			t.Errorf("row %+v", row)
		}
		if ev := b.events(renewer.EventLifetimeTooShort); len(ev) == 0 || !strings.Contains(ev[0].Error, "expires with its CA CN=Ending") {
			t.Errorf("events %+v", ev)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusExpired {
			t.Errorf("row %+v", row)
		}
	})
}

// A key that stays comes with the chain it had, so that an issuer may renew by
// that; but never for something else than it was issued for.
func TestTheChainOfAKeyThatStays(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Rekey = false
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		renew := func() renewer.Order {
			t.Helper()
			res, err := b.eng.Renew(ctx, []string{"web"}, renewer.Overrides{}, true, nil)
			must(t, err)
			if res.Failed() {
				t.Fatalf("result %+v", res)
			}
			return b.ca.last
		}
		b.pass()
		if b.ca.last.Previous.Leaf != nil {
			t.Error("the first has a previous one")
		}
		first := b.row("web")
		if o := renew(); o.Previous.Leaf == nil || renewer.Fingerprint(o.Previous.Leaf.Raw) != first.Fingerprint {
			t.Errorf("previous %v", o.Previous.Leaf)
		}
		change := func(f func(c *renewer.Certificate)) {
			c := b.fleet.Certificates[0]
			f(&c)
			b.fleet.Certificates = []renewer.Certificate{c}
			must(t, b.eng.SetFleet(ctx, b.fleet, Asked))
		}
		change(func(c *renewer.Certificate) { c.SANs = []string{"other.test", "web.test"} })
		if o := renew(); o.Previous.Leaf != nil {
			t.Error("renewed by a certificate for other names")
		}
		change(func(c *renewer.Certificate) { c.Lifetime = month / 2 })
		if o := renew(); o.Previous.Leaf != nil {
			t.Error("renewed by a certificate for another time")
		}
		_, err := b.eng.Revoke(ctx, "web", 0, "")
		must(t, err)
		if o := renew(); o.Previous.Leaf != nil {
			t.Error("renewed by a certificate that was revoked")
		}
		change(func(c *renewer.Certificate) { c.Rekey = true })
		if o := renew(); o.Previous.Leaf != nil {
			t.Error("a new key has a previous chain")
		}
	})
}

// An order that the configured rate holds back is no failure.
func TestOrdersHeldByTheRate(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		b.ca.breakWith(&renewer.Error{Class: renewer.ClassRetry, After: time.Minute, Err: renewer.ErrRate})
		res := b.pass()
		if len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultWaiting || !strings.Contains(res.Rollouts[0].Waiting.String(), "rate") || b.ca.count() != 1 {
			t.Fatalf("after %d calls: %+v", b.ca.count(), res)
		}
		time.Sleep(3*time.Minute + time.Second)
		b.ca.breakWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusValid || b.ca.count() != 5 {
			t.Errorf("%d calls, row %+v", b.ca.count(), row)
		}
		if ev := b.events(renewer.EventRenewalFailed, renewer.EventRolloutWaiting); len(ev) != 1 || ev[0].Type != renewer.EventRolloutWaiting {
			t.Errorf("events %+v", ev)
		}
	})
}

// A renewal that waits for its next try is asked when the issuer is back.
func TestAnIssuerThatIsUpAgainIsAskedAtOnce(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		b.ca.breakWith(errors.New("connection refused"))
		time.Sleep(21 * 24 * time.Hour) // past the renew time, and the waits are hours
		b.ca.breakWith(nil)
		must(t, b.eng.IssuerUp(context.Background(), "another"))
		time.Sleep(time.Second)
		if row := b.row("web"); row.Generation != 1 {
			t.Fatalf("another issuer came up, and it did not wait: %+v", row)
		}
		must(t, b.eng.IssuerUp(context.Background(), "ca"))
		time.Sleep(time.Second)
		if row := b.row("web"); row.Generation != 2 || row.Status != renewer.StatusValid {
			t.Errorf("row %+v", row)
		}
	})
}

// While no client certificate can be had for a probe, what is served is looked
// at all the same: an issuer that is away makes no host unproven.
func TestProbesGoOnWhileTheIssuerIsAway(t *testing.T) {
	certs := func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Placements[0].Probe.Mutual = true
		return []renewer.Certificate{c}
	}
	scene(t, Asked, certs, func(t *testing.T, b *bench) {
		b.pass()
		b.ca.breakWith(&renewer.Error{Class: renewer.ClassMisconfigured, Err: errors.New("its files are gone")})
		time.Sleep(time.Hour) // what was minted has ended
		seen, err := b.eng.Verify(context.Background(), nil)
		must(t, err)
		if v := seen[0]; !v.OK || len(v.Problems) != 0 || b.row("web").Status != renewer.StatusValid {
			t.Errorf("verification %+v, row %+v", v, b.row("web"))
		}
		b.refuseNew("a", strings.Repeat("0", 64))
		seen, err = b.eng.Verify(context.Background(), nil)
		must(t, err)
		if seen[0].OK || b.row("web").Status == renewer.StatusValid {
			t.Errorf("a service that is down: %+v", seen)
		}
	})
}

// An issuer that answers with what it signed before renews nothing: that is a failure, and
// no new generation.
func TestTheSameCertificateAgainIsNoRenewal(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Rekey = false
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		b.pass()
		first := b.row("web")
		g, _, err := b.store.Generation("web", 1)
		must(t, err)
		chain, err := g.Parse()
		must(t, err)
		b.ca.again = &chain
		res, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if !res.Failed() || !strings.Contains(res.Rollouts[0].Error, "the current certificate again") || res.Rollouts[0].Hint == "" {
			t.Errorf("result %+v", res)
		}
		b.ca.again = nil
		b.pass()
		if row := b.row("web"); row.Generation != 2 || row.Serial == first.Serial || row.Status != renewer.StatusValid {
			t.Errorf("row %+v", row)
		}
	})
}

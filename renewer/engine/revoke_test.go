package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"renewer/renewer"
	"renewer/renewer/pki"
)

func TestRevokeThenTheNextRunReplaces(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		ctx := context.Background()
		b.pass()
		first := b.row("web")
		b.stop()
		b.start(Asked) // a command without a daemon
		done, err := b.eng.Revoke(ctx, "web", 0, renewer.RevokedKeyCompromise)
		must(t, err)
		if done.Generation != 1 || done.Serial != first.Serial || done.Issuer != "ca" || done.RevokedAt.IsZero() || strings.Join(done.ServedBy, " ") != "a" {
			t.Errorf("%+v", done)
		}
		if r := b.ca.revoked; len(r) != 1 || r[0].Serial != first.Serial || r[0].Reason != renewer.RevokedKeyCompromise || renewer.SerialHex(r[0].Chain.Leaf) != first.Serial {
			t.Errorf("the issuer was asked %+v", r)
		}
		if row := b.row("web"); row.Status != renewer.StatusRevoked {
			t.Errorf("row %+v", row)
		}
		// Again: the issuer is asked again, the record stays.
		time.Sleep(time.Hour)
		again, err := b.eng.Revoke(ctx, "web", 1, renewer.RevokedSuperseded)
		must(t, err)
		if done.Again || !again.Again || !again.RevokedAt.Equal(done.RevokedAt) || len(b.ca.revoked) != 2 || len(b.events(renewer.EventRevoked)) != 1 {
			t.Errorf("again: %+v, %d events", again, len(b.events(renewer.EventRevoked)))
		}
		res := b.pass()
		if len(res.Rollouts) != 1 || res.Rollouts[0].Result != renewer.ResultVerified {
			t.Fatalf("result %+v", res)
		}
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 {
			t.Errorf("row %+v", row)
		}
		if _, err := b.eng.Rollback(ctx, []string{"web"}, nil); err == nil || !strings.Contains(err.Error(), "generation 1 was revoked") {
			t.Errorf("rollback: %v", err)
		}
		b.pass()
		if row := b.row("web"); row.Generation != 2 {
			t.Errorf("replaced again: %+v", row)
		}
	})
}

func TestADaemonReplacesWhatWasRevokedAtOnce(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		_, err := b.eng.Revoke(context.Background(), "web", 0, "")
		must(t, err)
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Generation != 2 || row.Hosts[0].Served != row.Fingerprint {
			t.Errorf("row %+v", row)
		}
	})
}

// What the issuer did not do is not recorded.
func TestRevokeThatFails(t *testing.T) {
	scene(t, Asked, one, func(t *testing.T, b *bench) {
		ctx := context.Background()
		if _, err := b.eng.Revoke(ctx, "web", 0, ""); err == nil || !strings.Contains(err.Error(), "no certificate") {
			t.Errorf("nothing issued: %v", err)
		}
		b.pass()
		b.ca.revoker = &renewer.Error{Class: renewer.ClassMisconfigured, Hint: "a fix", Err: errors.New("no")}
		_, err := b.eng.Revoke(ctx, "web", 0, "")
		if err == nil || renewer.Hint(err) != "a fix" || len(b.ca.revoked) != 1 {
			t.Errorf("%v after %d tries", err, len(b.ca.revoked))
		}
		b.ca.revoker = errors.New("connection reset")
		if _, err = b.eng.Revoke(ctx, "web", 0, ""); err == nil || len(b.ca.revoked) != 1+tries {
			t.Errorf("%v after %d tries", err, len(b.ca.revoked))
		}
		if row := b.row("web"); row.Status != renewer.StatusValid || len(b.events(renewer.EventRevoked)) > 0 {
			t.Errorf("row %+v", row)
		}
		b.ca.revoker = nil
		if _, err = b.eng.Revoke(ctx, "web", 7, ""); err == nil || !strings.Contains(err.Error(), "no generation 7") {
			t.Errorf("%v", err)
		}
	})
}

// Where an issuer cannot revoke, the hint says what to replace and which serial its CA can revoke.
func TestAnIssuerThatCannotRevokeNamesTheSerial(t *testing.T) {
	t.Parallel()
	g := renewer.Generation{Certificate: "web", Serial: "0a1b", Request: renewer.Request{Issuer: "offline"}}
	err := revokeAt(t.Context(), Fleet{Issuers: map[string]Issuer{"offline": struct{ Issuer }{}}}, g, "")
	if hint := renewer.Hint(err); err == nil || !strings.Contains(hint, "renewer renew web") || !strings.Contains(hint, "0a1b") {
		t.Errorf("error %v, hint %q", err, hint)
	}
}

// On its way to a host that is away: what was revoked is not delivered, a new
// one is.
func TestRevokedOnItsWay(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		b.machine("a").down = true
		return one(b)
	}, func(t *testing.T, b *bench) {
		synctest.Wait()
		if row := b.row("web"); row.Generation != 1 || row.Status != renewer.StatusPending {
			t.Fatalf("row %+v", row)
		}
		_, err := b.eng.Revoke(context.Background(), "web", 0, "")
		must(t, err)
		m := b.machine("a")
		m.mu.Lock()
		m.down = false
		m.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		row := b.row("web")
		if row.Generation != 2 || row.Status != renewer.StatusValid || b.ca.count() != 2 {
			t.Errorf("row %+v after %d orders", row, b.ca.count())
		}
		for name, rev := range m.places["web"].revisions {
			if leafOf(rev) != row.Fingerprint {
				t.Errorf("%s was placed", name)
			}
		}
	})
}

// A revocation opens a blocked rollout once: what is in place is worth no more.
func TestRevocationEndsABlock(t *testing.T) {
	scene(t, Alone, one, func(t *testing.T, b *bench) {
		synctest.Wait()
		first := b.row("web")
		b.refuseNew("a", first.Fingerprint)
		_, err := b.eng.Renew(context.Background(), []string{"web"}, renewer.Overrides{}, true, nil)
		must(t, err)
		if row := b.row("web"); row.Status != renewer.StatusBlocked {
			t.Fatalf("row %+v", row)
		}
		b.refuseNew("a", "")
		_, err = b.eng.Revoke(context.Background(), "web", 0, "")
		must(t, err)
		synctest.Wait()
		if row := b.row("web"); row.Status != renewer.StatusValid || row.Fingerprint == first.Fingerprint {
			t.Errorf("row %+v", row)
		}
	})
}

// An entry that keeps its key does not keep one that is compromised.
func TestACompromisedKeyIsNotKept(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Rekey = false
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		key := func() string {
			t.Helper()
			g, _, err := b.store.Generation("web", b.row("web").Generation)
			must(t, err)
			chain, err := g.Parse()
			must(t, err)
			return string(chain.Leaf.RawSubjectPublicKeyInfo)
		}
		renew := func() string {
			t.Helper()
			res, err := b.eng.Renew(ctx, []string{"web"}, renewer.Overrides{}, true, nil)
			must(t, err)
			if res.Failed() {
				t.Fatalf("result %+v", res)
			}
			return key()
		}
		b.pass()
		first := key()
		_, err := b.eng.Revoke(ctx, "web", 0, renewer.RevokedSuperseded)
		must(t, err)
		if renew() != first {
			t.Error("a key that no one else has was given up")
		}
		// One of its earlier certificates says so too.
		_, err = b.eng.Revoke(ctx, "web", 1, renewer.RevokedKeyCompromise)
		must(t, err)
		second := renew()
		if second == first {
			t.Error("the compromised key was kept")
		}
		if renew() != second {
			t.Error("the new key was not kept")
		}
		// The issuer is away: what is known of the key holds all the same.
		b.ca.revoker = errors.New("connection reset")
		if _, err = b.eng.Revoke(ctx, "web", 0, renewer.RevokedKeyCompromise); err == nil {
			t.Error("revoked at an issuer that is away")
		}
		if renew() == second {
			t.Error("the key was kept because the issuer was away")
		}
	})
}

// Who has a compromised key is named and replaced, not only the one
// that was revoked.
func TestACompromisedKeyIsReplacedWhereverItIs(t *testing.T) {
	scene(t, Alone, func(b *bench) []renewer.Certificate {
		key, err := pki.NewKey(renewer.ECDSAP256)
		must(t, err)
		b.made = map[string]signer{"web#1": key, "copy#1": key}
		return []renewer.Certificate{b.cert("web", month, "a"), b.cert("copy", month, "a"), b.cert("other", month, "a")}
	}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		synctest.Wait()
		if b.row("copy").Status != renewer.StatusValid {
			t.Fatalf("%+v", b.row("copy"))
		}
		done, err := b.eng.Revoke(ctx, "web", 0, renewer.RevokedKeyCompromise)
		must(t, err)
		if strings.Join(done.KeySharedBy, " ") != "copy" || len(b.ca.revoked) != 1 {
			t.Errorf("%+v, the issuer was asked %+v", done, b.ca.revoked)
		}
		if ev := b.events(renewer.EventRevoked); len(ev) != 1 || !strings.HasSuffix(ev[0].Message, "these have the same key and are replaced too: copy") {
			t.Errorf("%+v", ev)
		}
		synctest.Wait()
		for name, generation := range map[string]int{"web": 2, "copy": 2, "other": 1} {
			if row := b.row(name); row.Generation != generation || row.Status != renewer.StatusValid {
				t.Errorf("%+v", row)
			}
		}
		for _, ev := range b.events(renewer.EventRolloutPlanned) {
			if ev.Rollout == "copy#2" && !strings.Contains(ev.Message, "the private key of generation 1 is compromised") {
				t.Errorf("%+v", ev)
			}
		}
		if _, err := b.eng.Rollback(ctx, []string{"copy"}, nil); err == nil || !strings.Contains(err.Error(), "is compromised") {
			t.Errorf("rollback: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if row := b.row("copy"); row.Generation != 2 {
			t.Errorf("replaced again: %+v", row)
		}
	})
}

// An earlier generation is revoked, the one in place kept its key, and its
// rollout is blocked.
func TestACompromisedKeyThatWasKeptIsReplaced(t *testing.T) {
	scene(t, Asked, func(b *bench) []renewer.Certificate {
		c := b.cert("web", month, "a")
		c.Rekey = false
		return []renewer.Certificate{c}
	}, func(t *testing.T, b *bench) {
		ctx := context.Background()
		b.pass()
		renew := func() renewer.RunResult {
			res, err := b.eng.Renew(ctx, []string{"web"}, renewer.Overrides{}, true, nil)
			must(t, err)
			return res
		}
		renew()
		b.refuseNew("a", b.row("web").Fingerprint)
		if res := renew(); !res.Failed() {
			t.Fatalf("%+v", res)
		}
		b.refuseNew("a", "")
		done, err := b.eng.Revoke(ctx, "web", 1, renewer.RevokedKeyCompromise)
		must(t, err)
		if strings.Join(done.KeySharedBy, " ") != "web" {
			t.Errorf("%+v", done)
		}
		if res := b.pass(); res.Failed() || b.row("web").Generation != 4 || b.row("web").Status != renewer.StatusValid {
			t.Errorf("%+v, row %+v", res, b.row("web"))
		}
	})
}

package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"fmt"
	"slices"
	"strings"

	"renewer/renewer"
)

// Revoke revokes one generation at the issuer that it came from, then records
// that: number 0 means the current one or, before the first is proven, the
// latest. Doing it again asks the issuer again and changes nothing here, so
// that a crash in between is fixed by the same call. What was revoked is due
// at once.
func (e *Engine) Revoke(ctx context.Context, name string, number int, reason renewer.RevocationReason) (renewer.Revoked, error) {
	out := renewer.Revoked{Certificate: name, Generation: number, Reason: reason, ServedBy: []string{}, Notes: []string{}}
	var g renewer.Generation
	var fleet Fleet
	if err := e.try(ctx, func() (err error) { fleet = e.fleet; g, err = e.revocable(name, number); return err }); err != nil {
		return out, err
	}
	out.Issuer, out.Generation, out.Serial, out.NotAfter = g.Request.Issuer, g.Number, g.Serial, g.NotAfter
	if reason == renewer.RevokedKeyCompromise {
		var err error
		if out.KeySharedBy, err = e.Distrust(ctx, name, g.Number); err != nil {
			return out, err
		}
	}
	if err := revokeAt(ctx, fleet, g, reason); err != nil {
		return out, fmt.Errorf("revoke generation %d of %s at %s: %w", g.Number, name, g.Request.Issuer, err)
	}
	if err := e.try(context.WithoutCancel(ctx), func() error { return e.recordRevoked(name, g.Number, &out) }); err != nil {
		return out, renewer.WithHint(fmt.Errorf("the issuer revoked generation %d of %s, but that could not be recorded: %w", g.Number, name, err), "revoke it again")
	}
	return out, nil
}

// revocable finds the generation that is meant.
func (e *Engine) revocable(name string, number int) (renewer.Generation, error) {
	rec, _, err := e.Store.Record(name)
	if err != nil {
		return renewer.Generation{}, err
	}
	if number == 0 {
		if number = rec.Current; !rec.InPlace() {
			number = rec.Latest
		}
	}
	g, ok, err := e.Store.Generation(name, number)
	switch {
	case err != nil:
		return g, err
	case ok:
		return g, nil
	case number == 0:
		return g, fmt.Errorf("%s has no certificate that could be revoked", name)
	}
	return g, renewer.WithHint(fmt.Errorf("%s has no generation %d", name, number), "renewer show "+name+" lists them")
}

func revokeAt(ctx context.Context, fleet Fleet, g renewer.Generation, reason renewer.RevocationReason) error {
	is, ok := fleet.Issuers[g.Request.Issuer]
	if !ok {
		return renewer.WithHint(fmt.Errorf("issuer %s is not in the fleet file", g.Request.Issuer), "put its entry back; no certificate has to use it")
	}
	revoker, ok := Can[Revoker](is)
	if !ok {
		return renewer.WithHint(fmt.Errorf("issuer %s cannot revoke", g.Request.Issuer), "run renewer renew "+g.Certificate+" to replace it, and revoke it at its CA: serial "+g.Serial)
	}
	chain, err := g.Parse()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	r := renewer.Revocation{Certificate: g.Certificate, Serial: g.Serial, Chain: chain, Reason: reason}
	_, err = retry(ctx, func() (struct{}, error) { return struct{}{}, revoker.Revoke(ctx, r) })
	return err
}

// recordRevoked notes the revocation, plans again, and says who has it still.
// A certificate that left the fleet file has a generation and no record.
func (e *Engine) recordRevoked(name string, number int, out *renewer.Revoked) error {
	g, ok, err := e.Store.Generation(name, number) // as it is now
	if err != nil || !ok {
		return cmp.Or(err, fmt.Errorf("generation %d is gone", number))
	}
	now := e.Now()
	first := g.RevokedAt.IsZero()
	if first {
		g.RevokedAt = now.UTC()
	}
	out.RevokedAt, out.Again = g.RevokedAt, !first
	in := renewer.Rewritten{Generation: g}
	if first {
		in.Events = []renewer.Event{{
			Time: now, Type: renewer.EventRevoked, Certificate: name, Generation: number,
			Message: fmt.Sprintf("serial %s, reason %s", g.Serial, out.Reason),
		}}
		if len(out.KeySharedBy) > 0 {
			in.Events[0].Message += "; these have the same key and are replaced too: " + strings.Join(out.KeySharedBy, ", ")
		}
	}
	en, err := e.rewrite(in)
	if err != nil || en == nil {
		return err
	}
	out.ServedBy = en.rec.LivesOn(number)
	if first && e.onItsOwn {
		due := append([]string{name}, out.KeySharedBy...)
		slices.Sort(due)
		e.consider(slices.Compact(due))
	}
	return nil
}

// rewrite records a generation that has changed, wherever it is held. It
// returns the entry, nil for what left the fleet file.
func (e *Engine) rewrite(in renewer.Rewritten) (*entry, error) {
	name := in.Generation.Certificate
	c, wanted := e.fleet.Certificate(name)
	if !wanted {
		return nil, e.record([]pending{{name: name, change: Change{Generation: &in.Generation, Events: in.Events}}})
	}
	en, _, err := e.load(name, c)
	if err != nil {
		return nil, err
	}
	p, _ := e.apply(en, in)
	return p.entry, e.record([]pending{p})
}

// Distrust remembers that the key of a generation, 0 for the one in place, is
// compromised: no later one keeps it, whatever the entry says of rekey, and
// every certificate that has it in place, or on its way there, is due at once.
// It returns their names, its own if a later generation has it too. It is remembered before the
// issuer is asked to revoke, which may fail.
func (e *Engine) Distrust(ctx context.Context, name string, number int) (others []string, err error) {
	var g renewer.Generation
	var fleet Fleet
	if err := e.try(ctx, func() (err error) { fleet = e.fleet; g, err = e.revocable(name, number); return err }); err != nil {
		return nil, fmt.Errorf("find the key of %s: %w", name, err)
	}
	same, err := e.sameKey(ctx, fleet, g)
	if err != nil {
		return nil, fmt.Errorf("look for other certificates with the key of %s: %w", name, err)
	}
	if err := e.try(ctx, func() error {
		for _, s := range append([]renewer.Generation{g}, same...) {
			if err := e.distrust(s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("record that the key of %s is compromised: %w", name, err)
	}
	for _, s := range same {
		if !slices.Contains(others, s.Certificate) {
			others = append(others, s.Certificate)
		}
	}
	return others, nil
}

func (e *Engine) distrust(g renewer.Generation) error {
	g, ok, err := e.Store.Generation(g.Certificate, g.Number) // as it is now
	if err != nil || !ok || g.KeyCompromised {
		return err
	}
	g.KeyCompromised = true
	_, err = e.rewrite(renewer.Rewritten{Generation: g})
	return err
}

// sameKey returns the other generations that are in place or on their way with
// the key of one, by the SubjectPublicKeyInfo of their leaves. It reads the
// whole fleet, outside of the loop.
func (e *Engine) sameKey(ctx context.Context, fleet Fleet, g renewer.Generation) (same []renewer.Generation, err error) {
	chain, err := g.Parse()
	if err != nil {
		return nil, err
	}
	for _, c := range fleet.Certificates {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rec, ok, err := e.Store.Record(c.Name)
		if err != nil {
			return nil, err
		}
		if !ok || c.IsBundle() {
			continue
		}
		numbers := []int{rec.Current}
		if rec.Rollout != nil && !rec.Rollout.Phase.Over() {
			if n, ordered := rec.Rollout.Delivers(); ordered && n != rec.Current {
				numbers = append(numbers, n)
			}
		}
		for _, n := range numbers {
			other, ok, err := e.Store.Generation(c.Name, n)
			if err != nil {
				return nil, err
			}
			if !ok || c.Name == g.Certificate && n == g.Number {
				continue
			}
			theirs, err := other.Parse()
			if err != nil {
				return nil, err
			}
			if bytes.Equal(theirs.Leaf.RawSubjectPublicKeyInfo, chain.Leaf.RawSubjectPublicKeyInfo) {
				same = append(same, other)
			}
		}
	}
	return same, nil
}

// compromised reports whether a key is that of a generation whose key is
// compromised.
func (e *Engine) compromised(name string, key signer) (bool, error) {
	gens, err := e.Store.Generations(name)
	if err != nil {
		return false, err
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for _, g := range gens {
		if !g.KeyCompromised || !ok {
			continue
		}
		chain, err := g.Parse()
		if err != nil {
			return false, err
		}
		if pub.Equal(chain.Leaf.PublicKey) {
			return true, nil
		}
	}
	return false, nil
}

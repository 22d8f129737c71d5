package issuertest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"renewer/renewer"
	"renewer/renewer/engine"
)

// scenarios need more of an issuer than orders; those without it are left out.
var scenarios = []struct {
	name  string
	has   func(h Harness) bool
	check func(t *testing.T, h Harness) error
}{
	{"renewal during an outage", func(h Harness) bool { return h.Outage != nil }, checkOutage},
	{"root change", func(h Harness) bool { return h.Replace != nil }, checkReplace},
	{"lifetime limits", func(h Harness) bool { return h.Limited != nil }, checkLimits},
	{"signed later", func(h Harness) bool { return h.Later != nil }, checkLater},
	{"cancelled at each call", func(h Harness) bool { return h.Watched != nil }, checkEachCall},
}

// checkOutage renews a certificate while the server is away, and again when it is
// back: nothing has to be started again, and what is served can be judged meanwhile.
func checkOutage(t *testing.T, h Harness) error {
	ctx := t.Context()
	i, down, up := h.Outage(t)
	o, err := h.order(h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
	if err != nil {
		return err
	}
	if o.Previous, err = i.Sign(ctx, o); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	roots, err := i.Roots(ctx)
	if err != nil {
		return fmt.Errorf("roots before: %w", err)
	}
	down()
	_, err = i.Sign(ctx, o)
	errs := []error{passing("sign", err), passing("health", i.Health(ctx))}
	kept, err := i.Roots(ctx)
	if err != nil || !slices.EqualFunc(kept, roots, (*x509.Certificate).Equal) {
		errs = append(errs, fmt.Errorf("the roots are not those that it had: %d, %w", len(kept), err))
	}
	up()
	chain, err := i.Sign(ctx, o)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("after: %w", err))...)
	}
	return errors.Join(append(errs, h.checkLeaf(o, chain.Leaf), checkChain(chain, roots, o.Usages), i.Health(ctx))...)
}

// passing wants an error that passes by itself and names what to look at.
func passing(what string, err error) error {
	if renewer.ClassOf(err) != renewer.ClassRetry || err == nil || renewer.Hint(err) == "" {
		return fmt.Errorf("%s while it is away: class %s, hint %q: %w", what, renewer.ClassOf(err), renewer.Hint(err), err)
	}
	return nil
}

// checkReplace wants the roots to follow, and what is signed then to lead to one of
// them.
func checkReplace(t *testing.T, h Harness) error {
	ctx := t.Context()
	i, replace := h.Replace(t)
	if err := h.sign(ctx, i, h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer); err != nil {
		return fmt.Errorf("before: %w", err)
	}
	before, err := i.Roots(ctx)
	if err != nil {
		return err
	}
	replace()
	after, err := i.Roots(ctx)
	if err != nil {
		return fmt.Errorf("roots after: %w", err)
	}
	if slices.EqualFunc(before, after, (*x509.Certificate).Equal) {
		return errors.New("the roots are the same as before")
	}
	if err := h.sign(ctx, i, h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer); err != nil {
		return fmt.Errorf("after: %w", err)
	}
	return nil
}

// checkLimits orders as much as there is, and more.
func checkLimits(t *testing.T, h Harness) error {
	ctx := t.Context()
	i, longest := h.Limited(t)
	if err := h.sign(ctx, i, h.Keys[0], h.SANs, longest, renewer.UsageServer); err != nil {
		return fmt.Errorf("%s: %w", longest, err)
	}
	o, err := h.order(h.Keys[0], h.SANs, longest, renewer.UsageServer)
	if err != nil {
		return err
	}
	whole, err := i.Sign(ctx, o)
	if err != nil {
		return err
	}
	if given := time.Until(whole.Leaf.NotAfter); given < longest-slack {
		return fmt.Errorf("of %s it gives %s", longest, given)
	}
	o.Lifetime = 2 * longest
	chain, err := i.Sign(ctx, o)
	switch {
	case err == nil && time.Until(chain.Leaf.NotAfter) > longest+slack:
		return fmt.Errorf("asked for %s it gives %s", o.Lifetime, time.Until(chain.Leaf.NotAfter))
	case err != nil && (renewer.ClassOf(err) != renewer.ClassRefused || !strings.Contains(renewer.Hint(err), "lifetime")):
		return fmt.Errorf("%s: class %s, hint %q: %w", o.Lifetime, renewer.ClassOf(err), renewer.Hint(err), err)
	}
	return nil
}

// checkLater has renewer start again at every step of an order that is signed later: with
// the same key it is the same order, and nothing is lost.
func checkLater(t *testing.T, h Harness) error {
	ctx := t.Context()
	open, sign := h.Later(t)
	o, err := h.order(h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
	if err != nil {
		return err
	}
	for n := range 3 {
		i := open()
		if _, ok := i.(engine.Deferred); !ok {
			return errors.New("it is not engine.Deferred, so the key of the order is lost with the process")
		}
		_, err := i.Sign(ctx, o)
		if !errors.Is(err, renewer.ErrLater) || passing("sign", err) != nil {
			return fmt.Errorf("asked %d times, class %s, hint %q: %w", n+1, renewer.ClassOf(err), renewer.Hint(err), err)
		}
		if err := errors.Join(checkText(err), i.Health(ctx)); err != nil {
			return fmt.Errorf("while the order waits: %w", err)
		}
	}
	sign(o.Certificate)
	for range 2 { // the answer may be lost, too
		i := open()
		chain, err := i.Sign(ctx, o)
		if err != nil {
			return fmt.Errorf("when it is signed: %w", err)
		}
		roots, err := i.Roots(ctx)
		if err := errors.Join(err, h.checkLeaf(o, chain.Leaf), checkChain(chain, roots, o.Usages)); err != nil {
			return err
		}
	}
	return nil
}

// mostCalls is what a first order may cost; real ones take three to six.
const mostCalls = 20

// checkEachCall gives up a first order at each request that it makes. The one who
// gave up gets an answer at once, and the next order is signed.
func checkEachCall(t *testing.T, h Harness) error {
	for k := int32(1); k <= mostCalls; k++ {
		reached, err := h.cancelAt(t, k)
		if err != nil {
			return fmt.Errorf("call %d: %w", k, err)
		}
		if !reached {
			if k == 1 {
				return errors.New("an order makes no call")
			}
			return nil
		}
	}
	return fmt.Errorf("an order makes more than %d calls", mostCalls)
}

func (h Harness) cancelAt(t *testing.T, k int32) (reached bool, err error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int32
	returned := make(chan struct{})
	i := h.Watched(t, func() {
		if calls.Add(1) == k {
			cancel()
			<-returned
		}
	})
	o, err := h.order(h.Keys[0], h.SANs, h.Lifetime, renewer.UsageServer)
	if err != nil {
		return false, err
	}
	_, err = i.Sign(ctx, o)
	close(returned)
	if calls.Load() < k {
		return false, err
	}
	if !errors.Is(err, context.Canceled) {
		return true, fmt.Errorf("cancelled, sign gave %w", err)
	}
	_, err = i.Sign(t.Context(), o)
	return true, err
}

// checkText wants a message that can be read in a log: one line that says each thing
// once.
func checkText(err error) error {
	var errs []error
	for what, text := range map[string]string{"error": err.Error(), "hint": renewer.Hint(err)} {
		if strings.ContainsAny(text, "\n\r\t\x1b") || strings.Contains(text, "%!") || text != strings.TrimSpace(text) {
			errs = append(errs, fmt.Errorf("the %s is not one clean line: %q", what, text))
		}
		if strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "...") {
			errs = append(errs, fmt.Errorf("the %s ends as a sentence: %q", what, text))
		}
	}
	parts := strings.Split(err.Error(), ": ")
	for k, part := range parts[1:] {
		if part == parts[k] {
			errs = append(errs, fmt.Errorf("%q stands there twice: %w", part, err))
		}
	}
	return errors.Join(errs...)
}

package engine

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v5"

	"renewer/renewer"
	"renewer/renewer/pki"
)

// Bounds of one effect.
const (
	keepTimeout  = 15 * time.Second
	orderTimeout = time.Minute
	stageTimeout = time.Minute
	tries        = 3 // of an effect whose error may pass at once, before the rollout's own backoff
)

// job is an action with a copy of all that it needs, so that a worker shares
// nothing with the loop.
type job struct {
	renewer.Action
	cert      renewer.Certificate
	rollout   renewer.Rollout
	step      renewer.Step
	placement renewer.Placement
	state     renewer.PlacementState
	// placements are of all hosts: where a key may be.
	placements map[string]renewer.PlacementState
	gen        *renewer.Generation // that the rollout delivers
	current    *renewer.Generation
	latest     int
	want       renewer.RootSet // stage: the roots that belong into the ca file; unknown: to be asked for
	fleet      *Fleet
	roots      *rootCache
	creds      *credentials
	now        func() time.Time
}

func (e *Engine) newJob(a renewer.Action) job {
	en := e.entries[a.Certificate]
	fleet := e.fleet
	j := job{
		Action: a, cert: en.cert, rollout: *en.rec.Rollout, gen: en.rolling, current: en.current, latest: en.rec.Latest,
		fleet: &fleet, roots: e.roots, creds: e.probeCerts, now: e.Now,
	}
	if s, ok := en.rec.Rollout.Step(a.Host); ok {
		j.step = *s
	}
	j.placement, _ = en.cert.Placement(a.Host)
	j.placements, j.state = en.rec.Placements, en.rec.Placements[a.Host]
	if a.Kind == renewer.ActStage {
		j.want = e.wanted(en)(a.Host)
	}
	number := j.step.Delivers(j.rollout, j.state)
	if a.Kind == renewer.ActReprobe {
		number = j.state.Generation
	}
	if a.Kind != renewer.ActOrder && (j.gen == nil || j.gen.Number != number) {
		var err error
		if j.gen, err = e.generation(a.Certificate, number); err != nil {
			e.Log.Error("could not read a generation", "certificate", a.Certificate, "generation", number, "error", err)
		}
	}
	return j
}

func (j job) host() (Host, error) {
	h, ok := j.fleet.Hosts[j.Host]
	if !ok {
		return nil, fmt.Errorf("host %s is not in the fleet file", j.Host)
	}
	return h, nil
}

// work carries out one task. A panic ends this task and no other.
func (e *Engine) work(ctx context.Context, jobs []job) (outs []renewer.Outcome) {
	begin := e.Now()
	defer func() {
		if p := recover(); p != nil {
			e.Log.Error("a task panicked", "certificate", jobs[0].Certificate, "host", jobs[0].Host, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			outs = failAll(jobs, fmt.Errorf("internal error in %s: %v", jobs[0].Kind, p))
		}
		for i := range outs {
			if outs[i].At.IsZero() {
				outs[i].At = e.Now()
			}
			outs[i].Took = e.Now().Sub(begin)
			if err := renewer.Local(outs[i].Err); errors.Is(err, renewer.ErrLocal) {
				outs[i].Err, outs[i].End = err, renewer.EndLocal
			}
			if outs[i].Err != nil && ctx.Err() != nil { // cut off: nothing is known
				outs[i].Err, outs[i].End = fmt.Errorf("%w: %w", errStopped, outs[i].Err), renewer.EndLocal
			}
		}
	}()
	switch jobs[0].Kind {
	case renewer.ActOrder:
		return []renewer.Outcome{e.order(ctx, jobs[0])}
	case renewer.ActStage:
		return []renewer.Outcome{e.stage(ctx, jobs[0])}
	case renewer.ActActivate:
		return e.activate(ctx, jobs, func(j job) string { return j.step.Revision })
	case renewer.ActRestore:
		return e.activate(ctx, jobs, func(j job) string { return j.step.Previous })
	case renewer.ActProbe:
		return []renewer.Outcome{e.prove(ctx, jobs[0])}
	default:
		return []renewer.Outcome{e.provePrevious(ctx, jobs[0])}
	}
}

func failAll(jobs []job, err error) []renewer.Outcome {
	outs := make([]renewer.Outcome, 0, len(jobs))
	for _, j := range jobs {
		outs = append(outs, renewer.Outcome{Action: j.Action, Err: err, End: renewer.EndLost})
	}
	return outs
}

// soon is how long an effect waits for one who asks to be left alone; for more
// the rollout's own backoff waits.
const soon = 5 * time.Second

// polite is a backoff that comes back no sooner than it was asked to.
type polite struct {
	*backoff.ExponentialBackOff
	least time.Duration
}

func (p *polite) NextBackOff() time.Duration { return max(p.ExponentialBackOff.NextBackOff(), p.least) }

// retry repeats an effect whose error may pass, a few times within moments.
func retry[T any](ctx context.Context, f func() (T, error)) (T, error) {
	pause := &polite{ExponentialBackOff: backoff.NewExponentialBackOff()}
	pause.InitialInterval = 200 * time.Millisecond
	return backoff.Retry(ctx, func() (T, error) {
		v, err := f()
		pause.least = renewer.RetryAfter(err)
		if err != nil && (renewer.ClassOf(err) != renewer.ClassRetry || pause.least > soon || errors.Is(err, renewer.ErrRate) || errors.Is(err, renewer.ErrLater) || ctx.Err() != nil) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(tries))
}

// reachFor is how long a host that was lost on the way may take to come back: a
// cut connection, or a small machine's reboot.
const reachFor = 30 * time.Second

// reach repeats an effect whose host was lost meanwhile. What may have been done
// before is done again.
func reach[T any](ctx context.Context, f func() (T, error)) (T, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 200*time.Millisecond, 2*time.Second
	return backoff.Retry(ctx, func() (T, error) {
		v, err := f()
		if err != nil && (!errors.Is(err, renewer.ErrUnreachable) || ctx.Err() != nil) {
			return v, backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(reachFor))
}

// sign has an order signed. An issuer that says that its login ended is logged
// in afresh, once; if that does not help, only an operator can.
func sign(ctx context.Context, is Issuer, o renewer.Order) (renewer.Chain, error) {
	chain, err := retry(ctx, func() (renewer.Chain, error) { return is.Sign(ctx, o) })
	if renewer.ClassOf(err) != renewer.ClassReauthenticate {
		return chain, err
	}
	if login, ok := Can[LogIn](is); ok {
		if err = login.LogIn(ctx); err == nil {
			chain, err = is.Sign(ctx, o)
		}
	}
	if renewer.ClassOf(err) == renewer.ClassReauthenticate {
		err = &renewer.Error{Class: renewer.ClassMisconfigured, Hint: renewer.Hint(err), Err: err}
	}
	return chain, err
}

// order makes the key, or takes the one that an earlier try made, and has it
// signed. What comes back is checked before anybody sees it, and recorded
// together with the key.
func (e *Engine) order(ctx context.Context, j job) renewer.Outcome {
	out := renewer.Outcome{Action: j.Action}
	if e.made.get(j.rollout.ID) == nil { // an earlier try has asked
		if out.Err = j.kept(ctx); out.Err != nil {
			return out
		}
	}
	begin := e.Now()
	gen, key, warnings, err := e.issue(ctx, j)
	out.Err, out.Generation, out.Key, out.Warnings = err, gen, key, warnings
	if gen != nil {
		roots, _ := j.roots.certs(gen.Under) // they are known: the chain was checked with them
		out.NewRoots = ders(roots)
	}
	if ctx.Err() == nil && (gen != nil || err != nil && !errors.Is(err, renewer.ErrRate) && !errors.Is(err, renewer.ErrLater)) {
		e.Observer.Issued(j.cert.Issuer, err, e.Now().Sub(begin))
	}
	return out
}

// kept refuses an order whose certificate has no place to go to: all directories that
// can be looked at are kept by another renewer. Mostly the first one answers for all.
// What else keeps a host from answering is for its own step to say.
func (j job) kept(ctx context.Context) (refused error) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	for _, p := range j.cert.Placements {
		host, ok := j.fleet.Hosts[p.Host]
		if !ok {
			continue
		}
		switch err := host.Keep(ctx, p); {
		case err == nil:
			return nil
		case errors.Is(err, renewer.ErrKept):
			refused = cmp.Or(refused, err)
		}
	}
	return refused
}

func (e *Engine) issue(ctx context.Context, j job) (*renewer.Generation, *renewer.SealedKey, []string, error) {
	issuer, ok := j.fleet.Issuers[j.cert.Issuer]
	if !ok {
		return nil, nil, nil, fmt.Errorf("issuer %s is not in the fleet file", j.cert.Issuer)
	}
	within := orderTimeout
	slow, later := Can[Deferred](issuer)
	if later {
		within = max(within, slow.OrderTimeout())
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	key, recorded, notes, err := e.orderKey(ctx, j)
	if err != nil {
		return nil, nil, nil, err
	}
	number := cmp.Or(j.rollout.Ordered, j.latest+1)
	text, err := pki.EncodeKey(key)
	if err != nil {
		return nil, nil, nil, err
	}
	sealed, err := e.Keys.Seal(j.Certificate, number, text) // before the issuer is asked for what could not be kept
	if err != nil {
		return nil, nil, nil, err
	}
	if later && !recorded {
		return nil, &sealed, nil, nil // recorded before the issuer is asked: it is the one that its answer is for
	}
	order := renewer.Order{Certificate: j.Certificate, Generation: number, Request: j.cert.Request(), Key: key}
	if order.Previous, err = previous(j, order); err != nil {
		return nil, nil, nil, err
	}
	if g := j.current; g != nil && g.Request.Issuer == j.cert.Issuer && len(g.Chain) > 0 {
		if was, err := g.Parse(); err == nil {
			order.Replaces = was.Leaf
		}
	}
	chain, err := sign(ctx, issuer, order)
	if err != nil {
		return nil, nil, nil, err
	}
	if g := j.current; g != nil && chain.Leaf != nil && renewer.Fingerprint(chain.Leaf.Raw) == g.Fingerprint {
		return nil, nil, nil, &renewer.Error{
			Class: renewer.ClassMisconfigured, Hint: "with rekey: false each renewal has the same CSR; make sure that the issuer does not return a cached certificate",
			Err: fmt.Errorf("issuer %s returned the current certificate again", j.cert.Issuer),
		}
	}
	now := e.Now()
	under, err := e.check(ctx, j, order, chain, now)
	if err != nil {
		return nil, nil, nil, err
	}
	gen := renewer.NewGeneration(j.Certificate, number, order.Request, chain, j.cert.Renewal, now)
	gen.Rollout, gen.Under = j.rollout.ID, under
	if to, err := j.roots.certs(under); err == nil { // they are known: the chain was checked with them
		gen.EndBy(pki.End(chain, to))
	}
	return &gen, &sealed, append(append(notes, gen.Warnings(j.current)...), pki.StrictWarnings(chain, j.current)...), nil
}

// previous is the chain that an issuer may renew an order by: of the same key,
// for all the same things, and still good. By any other it would renew what
// no one wants any more.
func previous(j job, o renewer.Order) (renewer.Chain, error) {
	g := j.current
	if j.cert.Rekey || g == nil || !g.Request.Same(o.Request) || !g.RevokedAt.IsZero() || !j.now().Before(g.NotAfter) {
		return renewer.Chain{}, nil
	}
	chain, err := g.Parse()
	if err != nil {
		return renewer.Chain{}, err
	}
	if pub, ok := chain.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(o.Key.Public()) {
		return renewer.Chain{}, nil // it has a new key after all
	}
	return chain, nil
}

// check compares what came back with what was asked, and returns the roots that
// it leads to. An issuer may have changed its CA since its roots were read: then
// it is asked for them again.
func (e *Engine) check(ctx context.Context, j job, order renewer.Order, chain renewer.Chain, now time.Time) (renewer.RootSet, error) {
	roots, err := j.roots.need(ctx, j.fleet.Issuers, j.cert.Issuer)
	if err != nil {
		return nil, err
	}
	is := j.fleet.Issuers[j.cert.Issuer]
	if own, ok := Can[OwnLifetime](is); ok && own.GivesLifetime() && chain.Leaf != nil {
		order.Lifetime = max(chain.Leaf.NotAfter.Sub(now), 1)
	}
	under, err := pki.CheckIssued(order, j.cert.Strict, chain, roots, now)
	if err == nil {
		return under, nil
	}
	newer, asked := is.Roots(ctx)
	if asked != nil || renewer.RootSetOf(newer).Same(renewer.RootSetOf(roots)) {
		return nil, err
	}
	j.roots.put(j.cert.Issuer, newer, signsUnder(is))
	return pki.CheckIssued(order, j.cert.Strict, chain, newer, now)
}

// orderKey returns the key of the rollout: that of an earlier try, so that an
// issuer that is away for hours costs one key, or another one. recorded reports whether
// it is in the inventory.
func (e *Engine) orderKey(ctx context.Context, j job) (key signer, recorded bool, notes []string, err error) {
	if key = e.made.get(j.rollout.ID); key == nil && j.rollout.Ordered > 0 {
		text, err := e.storedKey(j, j.rollout.Ordered)
		if err == nil && text != nil {
			key, err = pki.DecodeKey(text)
		}
		if err != nil {
			return nil, false, nil, err
		}
	}
	if key != nil {
		if bad, err := e.compromised(j.Certificate, key); err != nil || !bad {
			e.made.put(j.rollout.ID, key)
			return key, j.rollout.Ordered > 0, nil, err
		}
		key = nil
	}
	if !j.cert.Rekey && j.current != nil && !j.current.KeyCompromised {
		text, err := e.readBack(ctx, j, j.current)
		switch {
		case errors.Is(err, errKeyLost):
			notes = append(notes, "no host has the key of generation "+fmt.Sprint(j.current.Number)+", so this generation has a new key")
		case err != nil:
			return nil, false, nil, err
		default:
			if key, err = pki.DecodeKey(text); err != nil {
				return nil, false, nil, err
			}
			if pki.KeyTypeOf(key.Public()) != j.cert.Key {
				key = nil // the entry asks for another kind now
			} else if bad, err := e.compromised(j.Certificate, key); err != nil {
				return nil, false, nil, err
			} else if bad {
				key = nil
			}
		}
	}
	if key == nil {
		if key, err = pki.NewKey(j.cert.Key); err != nil {
			return nil, false, nil, fmt.Errorf("make a key: %w", err)
		}
	}
	e.made.put(j.rollout.ID, key)
	return key, false, notes, nil
}

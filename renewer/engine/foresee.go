package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"renewer/renewer"
)

// Foresight is a host that knows, before a service is touched, what a restart of it
// would meet. An error says that it cannot be known, which holds nothing up.
type Foresight interface {
	// Doubts returns what speaks against the service starting again with the files
	// of a placement; none where nothing does, or where nothing runs that could be
	// lost.
	Doubts(ctx context.Context, p renewer.Placement) ([]renewer.Doubt, error)
	// Listens reports whether anything listens on the port of an address of the
	// host itself.
	Listens(ctx context.Context, address string) (bool, error)
	// StopTime is the longest that a unit may take to stop; 0 where that is not known.
	StopTime(ctx context.Context, a renewer.Activation) time.Duration
	// GaveUp reports whether the service is known to be down for good.
	GaveUp(ctx context.Context, a renewer.Activation) bool
	// Words are the last things that the service said itself; empty for none.
	Words(ctx context.Context, a renewer.Activation) string
}

// startTime is what a service has to start, beside the time that it takes to stop.
const startTime = 30 * time.Second

// timeFor is how long an activation may take: what the entry says, and no less than
// the unit may take to stop.
func timeFor(ctx context.Context, host Host, a renewer.Activation) time.Duration {
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = time.Minute
	}
	if sees, ok := host.(Foresight); ok {
		ctx, cancel := context.WithTimeout(ctx, foresightTimeout)
		defer cancel()
		if stop := sees.StopTime(ctx, a); stop > 0 {
			timeout = max(timeout, stop+startTime)
		}
	}
	return timeout
}

// inItsWords adds what the service said itself to an error about it.
func inItsWords(ctx context.Context, host Host, a renewer.Activation, err error) error {
	sees, ok := host.(Foresight)
	if !ok || err == nil || errors.Is(err, renewer.ErrUnreachable) || errors.Is(err, renewer.ErrLocal) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), foresightTimeout)
	defer cancel()
	if said := sees.Words(ctx, a); said != "" {
		return fmt.Errorf("%w; it says: %s", err, said)
	}
	return err
}

// foresightTimeout bounds a look: it is not worth more than an activation is.
const foresightTimeout = 20 * time.Second

// foresee holds an activation after which the service would not be there, or could
// not be seen; no force lets it pass. What goes back is held only by what is sure: then
// its files are back, and what still runs is left running.
func (e *Engine) foresee(ctx context.Context, jobs []job) renewer.Held {
	for _, j := range jobs {
		if j.Kind == renewer.ActActivate && j.rollout.Quiet || j.rereads() {
			continue
		}
		host, err := j.host()
		sees, ok := host.(Foresight)
		if err != nil || !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, foresightTimeout)
		held := e.foreseen(ctx, j, sees)
		cancel()
		if held.Why != "" {
			return held
		}
	}
	return renewer.Held{}
}

func (e *Engine) foreseen(ctx context.Context, j job, host Foresight) renewer.Held {
	doubts, err := host.Doubts(ctx, j.placement)
	if err != nil {
		e.Log.Info("could not test whether the service would start after a restart; it is restarted, and the probe decides", "certificate", j.Certificate, "host", j.Host, "error", err)
	}
	if held := renewer.Doubted(doubts); held.Why != "" {
		return held
	}
	// A first placement, what is about to expire and what goes back go ahead: see hidden.
	end := j.cert.Deadline(j.current)
	if j.Kind == renewer.ActRestore || j.current == nil || end.Near(e.Now()) {
		return renewer.Held{}
	}
	if err := e.unseen(ctx, j, host); err != nil {
		return renewer.Held{
			Why:      err.Error() + "; not restarting it before " + end.About.UTC().Format(time.RFC3339),
			Hint:     "run renewer doctor " + j.Host + ": it checks firewall and address",
			Blocked:  true,
			Deadline: end.About,
		}
	}
	return renewer.Held{}
}

// unseen returns an error where a service listens on its host, and yet cannot be
// reached from here.
func (e *Engine) unseen(ctx context.Context, j job, host Foresight) error {
	p := j.placement.Probe
	reacher, ok := e.Prober.(ServiceReacher)
	if !ok || !p.Kind.Served() || p.Address == "" {
		return nil
	}
	cause := reacher.Reach(ctx, p.Address)
	if cause == nil {
		return nil
	}
	if listens, err := host.Listens(ctx, p.Address); err != nil || !listens {
		return nil //nolint:nilerr // what does not listen is what a renewal may fix, and so is what is not known
	}
	return fmt.Errorf("%s cannot be reached from here, although %s listens on that port: %w", p.Address, j.Host, cause)
}

// hidden explains a proof that failed. Where nothing was seen of a service that
// listens on its host, going back would change nothing; else the service has the word.
func (e *Engine) hidden(ctx context.Context, j job, out *renewer.Outcome) {
	kind := renewer.ProbeErrorKindOf(out.Err)
	host, err := j.host()
	sees, ok := host.(Foresight)
	if err != nil || !ok || kind == "" || kind == renewer.ProbeStopped || kind == renewer.ProbeDeserted || out.End == renewer.EndLost {
		return
	}
	if kind != renewer.ProbeUnreachable {
		out.Err = inItsWords(ctx, host, j.placement.Activate, out.Err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), foresightTimeout)
	defer cancel()
	if why := e.unseen(ctx, j, sees); why != nil {
		out.Err = &renewer.ProbeError{Kind: renewer.ProbeHidden, Err: fmt.Errorf("the service was restarted, but cannot be verified: %w", why)}
		return
	}
	out.Err = inItsWords(ctx, host, j.placement.Activate, out.Err)
}

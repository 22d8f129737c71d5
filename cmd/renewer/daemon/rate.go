package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/time/rate"

	"renewer/configs"
	"renewer/renewer"
	"renewer/renewer/engine"
)

const (
	// leastToSign is what has to be left of an order's deadline when its turn
	// comes: an order that is cut off may be signed all the same.
	leastToSign = 10 * time.Second
	// longestTurn is how long an order may keep a worker waiting.
	longestTurn = 20 * time.Second
)

// paced is an issuer that gets no more orders a second than its entry allows,
// one after the other: there is no burst, so that no second sees more.
type paced struct {
	engine.Issuer
	name  string
	limit *rate.Limiter
}

// pace wraps an issuer whose entry has a rate. The limiter of the parts that
// hold so far is kept where the rate is the same: a reload lets no order through.
func (p *parts) pace(is configs.Issuer, issuer engine.Issuer, was *parts) engine.Issuer {
	if is.Rate <= 0 {
		return issuer
	}
	limit := rate.NewLimiter(rate.Limit(is.Rate), 1)
	if was != nil {
		if old, ok := was.issuers[is.Name].(*paced); ok && old.limit.Limit() == limit.Limit() {
			limit = old.limit
		}
	}
	return &paced{Issuer: issuer, name: is.Name, limit: limit}
}

// Unwrap serves engine.Can.
func (p *paced) Unwrap() engine.Issuer { return p.Issuer }

// Sign waits for its turn, if that comes soon and within the deadline of ctx.
// Else it returns at once with renewer.ErrRate and when to come again.
func (p *paced) Sign(ctx context.Context, o renewer.Order) (renewer.Chain, error) {
	if err := ctx.Err(); err != nil {
		return renewer.Chain{}, err
	}
	now := time.Now()
	turn := p.limit.ReserveN(now, 1)
	wait := turn.DelayFrom(now)
	end, bounded := ctx.Deadline()
	if wait > longestTurn || bounded && wait > 0 && now.Add(wait+leastToSign).After(end) {
		turn.CancelAt(now)
		return renewer.Chain{}, &renewer.Error{
			Class: renewer.ClassRetry, After: wait,
			Err: fmt.Errorf("issuer %s: %w: %s can be ordered at %s", p.name, renewer.ErrRate, o.Certificate, now.Add(wait).UTC().Format(time.RFC3339)),
		}
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			turn.Cancel()
			return renewer.Chain{}, ctx.Err()
		}
	}
	return p.Issuer.Sign(ctx, o)
}

// Close closes what is paced, if that is to be closed.
func (p *paced) Close() error {
	c, ok := p.Issuer.(io.Closer)
	if !ok {
		return nil
	}
	return errors.Join(c.Close())
}

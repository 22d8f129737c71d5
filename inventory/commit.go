package inventory

import (
	"context"
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"

	"renewer/renewer"
)

// Commit writes all changes in one durable transaction and returns their
// events, with Seq and in the order given. Changes of callers that come
// together share one transaction and one fsync; a change that cannot be
// written fails its own caller alone. When ctx ends before the writing began
// nothing is written; later it is too late, and Commit says what became of it.
//
// Errors are ErrInvalid, ErrConflict, ErrClosed, those of ctx and those of the
// file system.
func (i *Inventory) Commit(ctx context.Context, changes ...renewer.Change) ([]renewer.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("commit to the inventory: %w", err)
	}
	r := &request{wake: make(chan struct{})}
	now := i.now()
	for _, c := range changes {
		p, err := prepare(c, now)
		if err != nil {
			return nil, err
		}
		r.changes = append(r.changes, p)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	if err := i.group.do(ctx, r, i.write); err != nil {
		return nil, fmt.Errorf("commit to the inventory: %w", err)
	}
	i.erase(false)
	return r.events, r.err
}

// maxGroup bounds how many callers share a transaction.
const maxGroup = 512

// request is one caller of Commit.
type request struct {
	changes []prepared
	events  []renewer.Event
	err     error
	done    bool          // events and err hold; set before wake is closed
	wake    chan struct{} // closed when it is done, or is to lead
}

// group makes one of the callers that wait write for all of them. One that
// comes while no one writes leads at once; after its group the leader wakes
// the first of those that came meanwhile to lead the next.
type group struct {
	mu      sync.Mutex
	waiting []*request
	leading bool
}

// do returns when r is done, or with ctx's error when it was taken back.
func (g *group) do(ctx context.Context, r *request, write func([]*request)) error {
	g.mu.Lock()
	g.waiting = append(g.waiting, r)
	lead := !g.leading
	g.leading = true
	g.mu.Unlock()
	if !lead {
		select {
		case <-r.wake:
		case <-ctx.Done():
			if g.takeBack(r) {
				return ctx.Err()
			}
			<-r.wake
		}
		if r.done {
			return nil
		}
	}
	batch := g.take()
	defer g.handOver(batch, r)
	write(batch)
	return nil
}

// takeBack removes a request that no one has begun to write, unless it is to
// lead the others.
func (g *group) takeBack(r *request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-r.wake:
		return false
	default:
	}
	for n, w := range g.waiting {
		if w == r {
			g.waiting = append(g.waiting[:n:n], g.waiting[n+1:]...)
			return true
		}
	}
	return false
}

func (g *group) take() []*request {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxGroup)
	batch := g.waiting[:n:n]
	g.waiting = append([]*request(nil), g.waiting[n:]...)
	return batch
}

func (g *group) handOver(batch []*request, leader *request) {
	for _, r := range batch {
		r.done = true
		if r != leader {
			close(r.wake)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.leading = len(g.waiting) > 0; g.leading {
		close(g.waiting[0].wake)
	}
}

// write commits the requests in one transaction. A request that cannot be
// applied leaves the group; when the disk refuses the whole, each is tried
// alone, because a small one may still fit.
func (i *Inventory) write(batch []*request) {
	for len(batch) > 0 {
		var bad *request
		var mine int
		var remains bool
		err := i.update(func(tx *bolt.Tx) error {
			mine = tx.ID()
			defer func(was uint64) { remains = bKeys.of(tx).Sequence() != was }(bKeys.of(tx).Sequence())
			for _, r := range batch {
				if err := r.apply(tx); err != nil {
					bad = r
					return err
				}
			}
			return nil
		})
		switch {
		case err == nil:
			if remains {
				i.erasure.remains.Store(true)
			}
			return
		case bad != nil:
			bad.events, bad.err = nil, err
			batch = without(batch, bad)
		case len(batch) > 1 && i.lastTx() < mine:
			for _, r := range batch {
				i.write([]*request{r})
			}
			return
		default:
			for _, r := range batch {
				r.events, r.err = nil, fmt.Errorf("commit to inventory %s: %w", i.path, err)
			}
			return
		}
	}
}

// lastTx numbers the last transaction that reads see. It tells whether a failed
// one can be seen after all, which is so when only the last fsync failed: its
// changes must not be written twice.
func (i *Inventory) lastTx() (id int) {
	_ = i.view(func(tx *bolt.Tx) error { // a closed inventory has none
		id = tx.ID()
		return nil
	})
	return id
}

func without(batch []*request, r *request) []*request {
	out := make([]*request, 0, len(batch)-1)
	for _, b := range batch {
		if b != r {
			out = append(out, b)
		}
	}
	return out
}

// apply writes the changes of one caller within a transaction.
func (r *request) apply(tx *bolt.Tx) error {
	r.events, r.err = nil, nil
	for n := range r.changes {
		events, err := r.changes[n].apply(tx)
		if err != nil {
			return err
		}
		r.events = append(r.events, events...)
	}
	return nil
}

package notify

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync/atomic"
	"time"

	"renewer/renewer"
)

// Bounds of a worker.
const (
	pollEvery   = time.Second      // how often it looks at the end of the log
	readAtOnce  = 1000             // events
	askEvery    = time.Minute      // the state of the fleet, while a drift lasts
	saveEvery   = time.Minute      // a cursor that moved without a message
	sendTimeout = 15 * time.Second // of one try
	first       = 5 * time.Second  // until the second try
	longest     = time.Hour        // between two tries
)

// backoff doubles, less up to a quarter that depends on the message, so that
// channels to one service do not come back together.
func backoff(attempts int, id string) time.Duration {
	d := longest
	if attempts < 11 {
		d = min(first<<max(attempts-1, 0), longest)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // a hash does not fail
	return d - time.Duration(float64(d)/4*float64(h.Sum32())/float64(1<<32))
}

// worker is one channel at work. The queue that it works off is the log.
type worker struct {
	n      *Notifier
	ch     Channel
	wanted map[renewer.EventType]bool
	after  <-chan struct{} // closed when its predecessor is gone; nil for none
	ctx    context.Context
	stop   context.CancelFunc
	done   chan struct{}

	live  atomic.Pointer[renewer.ChannelStatus] // as of the last turn; nil before the first
	works atomic.Bool                           // a test got through: what waits need not wait

	// Owned by run.
	s            *state
	savedAt      time.Time
	askedAt      time.Time // for the facts of what drifted
	dirty        bool
	storeFailing bool // the store failed last time; said once
}

func (n *Notifier) worker(c Channel) *worker {
	w := &worker{n: n, ch: c, wanted: map[renewer.EventType]bool{}, done: make(chan struct{})}
	w.ctx, w.stop = context.WithCancel(context.Background())
	events := c.Events
	if len(events) == 0 {
		events = Usual
	}
	for _, e := range events {
		w.wanted[e] = true
	}
	return w
}

func (w *worker) run() {
	defer close(w.done)
	if w.after != nil {
		<-w.after
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-w.ctx.Done():
			if w.dirty {
				w.complain(w.save())
			}
			return
		case <-timer.C:
		}
		w.complain(w.turn())
		w.show()
		timer.Reset(pollEvery)
	}
}

// show lets others see how the channel stands.
func (w *worker) show() {
	if w.s != nil {
		st := w.s.status(w.ch)
		w.live.Store(&st)
	}
}

// complain logs that the store does not work, and that it does again.
func (w *worker) complain(err error) {
	switch {
	case err != nil && !w.storeFailing:
		w.n.Log.Error("channel stopped; retrying", "channel", w.ch.Name, "error", err, "hint", renewer.Hint(err))
	case err == nil && w.storeFailing:
		w.n.Log.Info("channel works again", "channel", w.ch.Name)
	}
	w.storeFailing = err != nil
}

// load reads the state. A channel without one begins at the end of the log.
func (w *worker) load() error {
	data, err := w.n.Store.LoadChannel(w.ch.Name)
	if err != nil {
		return fmt.Errorf("read the state of channel %s: %w", w.ch.Name, err)
	}
	last, err := w.n.Store.LastSeq()
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if data != nil {
		if w.s, err = decode(data); err == nil {
			return nil
		}
		w.n.Log.Error("the state of the channel cannot be read; it starts at the end of the log", "channel", w.ch.Name, "error", err)
	}
	w.s = newState(last)
	return w.save()
}

func (w *worker) save() error {
	data, err := encode(w.s)
	if err != nil {
		return err
	}
	if err := w.n.Store.SaveChannel(w.ch.Name, data); err != nil {
		return err
	}
	w.savedAt, w.dirty = time.Now(), false
	return nil
}

// read takes in what the log has.
func (w *worker) read() error {
	if w.s == nil {
		if err := w.load(); err != nil {
			return err
		}
	}
	for w.ctx.Err() == nil {
		events, err := w.n.Store.EventsAfter(w.s.cursor, readAtOnce)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		now := time.Now()
		for _, e := range events {
			w.s.take(e, w.wanted, now)
			w.dirty = true
		}
		if len(events) < readAtOnce {
			break
		}
	}
	return nil
}

// turn does what there is to do now.
func (w *worker) turn() error {
	if err := w.read(); err != nil {
		return err
	}
	now := time.Now()
	w.s.settle(w.n.Pace, now)
	w.escalate(now)
	if at := w.s.due(w.n.Pace, now); !at.IsZero() && !at.After(now) {
		if err := w.compose(now); err != nil {
			return err
		}
	}
	works := w.works.Swap(false)
	if o := w.s.outbox; o != nil && (works || !waits(o.NextAt, now, longest)) {
		return w.deliver()
	}
	if w.dirty && now.Sub(w.savedAt) >= saveEvery {
		return w.save()
	}
	return nil
}

// escalate looks, at most once in askEvery, at the state of what drifted: the log
// does not say that a drift lasts.
func (w *worker) escalate(now time.Time) {
	if waits(w.askedAt.Add(askEvery), now, askEvery) || len(w.s.lasting(now)) == 0 {
		return
	}
	w.askedAt = now
	w.s.escalate(w.n.Facts(), now)
	w.dirty = true
}

// waits reports whether a time is still to come; one further away than it can
// be says that the clock was set back.
func waits(at, now time.Time, most time.Duration) bool {
	return at.After(now) && at.Sub(now) <= most
}

// once is a turn that waits for nothing, with one try.
func (w *worker) once() {
	err := w.read()
	if err == nil {
		w.escalate(time.Now())
	}
	if err == nil && w.s.outbox == nil && w.s.untold() > 0 {
		err = w.compose(time.Now())
	}
	if err == nil && w.s.outbox != nil {
		err = w.deliver()
	}
	if err == nil && w.dirty {
		err = w.save()
	}
	w.complain(err)
}

// compose makes the next message. It is saved before it is sent: after a crash
// the same one is sent again, under the same ID.
func (w *worker) compose(now time.Time) error {
	w.s.compose(w.ch.Name, w.n.Pace, now)
	w.n.Facts().add(&w.s.outbox.Message, now)
	w.dirty = true
	return w.save()
}

// deliver tries once to send the message in the outbox.
func (w *worker) deliver() error {
	if w.dirty {
		if err := w.save(); err != nil { // what was not written down is not sent
			return err
		}
	}
	o := w.s.outbox
	err := w.send(context.WithoutCancel(w.ctx), o.Message)
	now := time.Now()
	attrs := []any{"channel", w.ch.Name, "id", o.Message.ID, "open", len(o.Message.Open), "resolved", len(o.Message.Resolved)}
	if err == nil {
		w.s.delivered(now)
		w.n.Log.Info("notification delivered", attrs...)
	} else {
		w.s.failed(err, now)
		w.n.Log.Error("notification failed; retrying", append(attrs, "attempt", o.Attempts, "next", o.NextAt.UTC().Format(time.RFC3339),
			"error", err, "hint", renewer.Hint(err))...)
	}
	w.dirty = true
	return w.save()
}

// send makes one attempt, within its time. Title and text are made for each, so
// that times such as "expires in 3 d" are as of the attempt. A sender that panics
// has failed.
func (w *worker) send(ctx context.Context, m Message) (err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error in the channel: %T", p) // its text may hold a secret
		}
		w.n.Sent(w.ch.Name, err)
	}()
	m = m.asOf(time.Now())
	if err := w.ch.Template.render(&m); err != nil {
		w.n.Log.Error("the template failed; the default is used", "channel", w.ch.Name, "error", err)
		if err := DefaultTemplate.render(&m); err != nil {
			return err
		}
	}
	return w.ch.Sender.Send(ctx, m.plain())
}

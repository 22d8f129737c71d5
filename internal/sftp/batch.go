package sftp

import (
	"context"
	"encoding/binary"
	"fmt"
)

// Batch is a list of requests that are sent at once. One goroutine makes it,
// sends it and waits for its replies.
type Batch struct {
	c       *Client
	packets []byte
	numbers []int // where in packets the number of each request stands

	news    chan struct{}
	answers []answer // under the client's lock
}

// Batch begins a list.
func (c *Client) Batch() *Batch { return &Batch{c: c} }

// Empty reports whether nothing was added.
func (b *Batch) Empty() bool { return len(b.numbers) == 0 }

// Reply is what a request of a batch is answered with, once that was sent.
type Reply[T any] struct {
	b    *Batch
	n    int
	kind byte
	read func(*Client, *reader) (T, error) // nil for a kind that says no more
}

// add appends a request.
func add[T any](b *Batch, kind, want byte, read func(*Client, *reader) (T, error), body func(*writer)) Reply[T] {
	start := len(b.packets)
	w := writer{append(b.packets, 0, 0, 0, 0, kind, 0, 0, 0, 0)}
	body(&w)
	binary.BigEndian.PutUint32(w.b[start:], uint32(len(w.b)-start-4))
	b.packets, b.numbers = w.b, append(b.numbers, start+5)
	return Reply[T]{b, len(b.numbers) - 1, want, read}
}

// Send sends what was added. Who waits for a reply gets the error too.
func (b *Batch) Send() error {
	b.news, b.answers = make(chan struct{}, 1), make([]answer, len(b.numbers))
	c := b.c
	c.mu.Lock()
	err := c.why
	for n, at := range b.numbers {
		binary.BigEndian.PutUint32(b.packets[at:], c.next)
		if err != nil {
			due{b, n}.is(answer{err: err})
		} else {
			c.due[c.next] = due{b, n}
		}
		c.next++
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err = c.w.Write(b.packets); err != nil {
		c.end(fmt.Errorf("%w: %w", ErrEnded, err))
	}
	b.packets, b.numbers = nil, nil
	return err
}

func (b *Batch) wait(ctx context.Context, n int) (answer, error) {
	for {
		b.c.mu.Lock()
		a := b.answers[n]
		b.c.mu.Unlock()
		if a.come {
			return a, a.err
		}
		select {
		case <-b.news:
		case <-ctx.Done():
			return a, context.Cause(ctx)
		}
	}
}

// Get waits for the reply. A refusal is a [StatusError].
func (r Reply[T]) Get(ctx context.Context) (value T, err error) {
	a, err := r.b.wait(ctx, r.n)
	if err != nil {
		return value, err
	}
	c, body := r.b.c, &reader{a.body}
	switch a.kind {
	case typeStatus:
		code, message := body.uint32(), ""
		if len(body.rest) > 0 {
			message = body.text(nameLimit)
		}
		switch {
		case body.bad():
		case code != CodeOK:
			return value, &StatusError{code, message}
		case r.kind == typeStatus:
			return value, nil
		}
	case r.kind:
		return r.read(c, body)
	}
	return value, c.broke("a response of type %d to a request of type %d", a.kind, r.kind)
}

// One sends one request and waits for its reply.
func One[T any](ctx context.Context, c *Client, ask func(*Batch) Reply[T]) (T, error) {
	b := c.Batch()
	r := ask(b)
	_ = b.Send() // Get tells
	return r.Get(ctx)
}

// All waits until everything of a list was done; the first refusal is the error.
func All(ctx context.Context, replies ...Reply[None]) (first error) {
	for _, r := range replies {
		if _, err := r.Get(ctx); first == nil {
			first = err
		}
	}
	return first
}

// None is what a change is answered with where it was made.
type None = struct{}

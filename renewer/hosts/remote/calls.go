package remote

import (
	"context"
	"io/fs"
	"path"
	"time"
)

// answer is what a call to the SFTP server will have returned.
type answer[T any] struct {
	come  chan struct{} // closed when what follows is there
	value T
	err   error
}

func newAnswer[T any]() *answer[T] { return &answer[T]{come: make(chan struct{})} }

func (a *answer[T]) is(value T, err error) {
	a.value, a.err = value, err
	close(a.come)
}

// known is an answer that needs no call.
func known[T any](value T, err error) *answer[T] {
	a := newAnswer[T]()
	a.is(value, err)
	return a
}

// ask makes a call, which knows no context, and waits for its answer.
func ask[T any](d *dir, do func() (T, error)) (T, error) {
	a := newAnswer[T]()
	d.f.calls.run(func() { a.is(do()) })
	return wait(d, a)
}

// call is ask about a name.
func call[T any](d *dir, op, name string, do func(full string) (T, error)) (T, error) {
	if !fs.ValidPath(name) {
		var none T
		return none, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	full := path.Join(d.path, name)
	v, err := ask(d, func() (T, error) { return do(full) })
	return v, pathError(op, full, err)
}

// wait gives an answer the client's timeout to come. The call is left behind
// after that, and when the context ends.
func wait[T any](d *dir, a *answer[T]) (T, error) {
	select {
	case <-a.come:
	default:
		late := time.NewTimer(d.c.t.client.Timeout)
		defer late.Stop()
		var none T
		select {
		case <-a.come:
		case <-d.ctx.Done():
			return none, d.c.broken(context.Cause(d.ctx))
		case <-late.C:
			d.c.drop(d.f) // the next directory gets a session that answers
			return none, d.c.broken(d.c.t.client.late)
		}
	}
	if a.err != nil && lost(a.err) {
		d.c.drop(d.f)
	}
	return a.value, d.c.broken(a.err)
}

// workers make calls, each one at a time, and stay for the next: a goroutine
// that is new to it has to grow its stack first.
type workers struct {
	jobs chan func()
	over chan struct{}   // the session was given up
	lost <-chan struct{} // the connection has ended
}

func (w *workers) run(job func()) {
	select {
	case w.jobs <- job:
	default:
		go w.work(job)
	}
}

func (w *workers) work(job func()) {
	for {
		job()
		select {
		case job = <-w.jobs:
		case <-w.over:
			return
		case <-w.lost:
			return
		}
	}
}

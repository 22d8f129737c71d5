package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"renewer/internal/sftp"
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

// ask asks the host something within the client's timeout.
func ask[T any](d *dir, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := d.c.t.client.limit(d.ctx)
	defer cancel()
	v, err := do(ctx)
	return v, d.judge(d.f, err)
}

// judge gives up a session that does not answer, has ended or lies: the next
// directory gets another one.
func (d *dir) judge(f *files, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errSilent) {
		f.silent.Store(true)
	}
	gone := f.silent.Load() || lost(err)
	if gone || errors.Is(err, sftp.ErrProtocol) {
		d.c.drop(f)
	}
	if gone && f.silent.Load() { // whoever asked, that is why
		return d.c.broken(fmt.Errorf("%w: %w", ErrLost, d.c.t.client.late))
	}
	return d.c.broken(err)
}

// call is ask about a name.
func call[T any](d *dir, op, name string, do func(ctx context.Context, full string) (T, error)) (T, error) {
	if !fs.ValidPath(name) {
		var none T
		return none, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	full := path.Join(d.path, name)
	v, err := ask(d, func(ctx context.Context) (T, error) { return do(ctx, full) })
	return v, pathError(op, full, err)
}

// wait gives an answer that somebody asked for the time to come.
func wait[T any](d *dir, a *answer[T]) (T, error) {
	select {
	case <-a.come:
	default:
		select {
		case <-a.come:
		case <-d.ctx.Done():
			var none T
			return none, d.c.broken(context.Cause(d.ctx))
		}
	}
	return a.value, a.err
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

package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"renewer/internal/sftp"
)

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
	if gone && f.silent.Load() { // this is the cause for every caller
		return d.c.broken(fmt.Errorf("%w: %w", ErrLost, d.c.t.client.late))
	}
	return d.c.broken(err)
}

// call asks about a name.
func call[T any](d *dir, op, name string, do func(ctx context.Context, full string) (T, error)) (T, error) {
	if !fs.ValidPath(name) {
		var none T
		return none, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	full := path.Join(d.path, name)
	v, err := ask(d, func(ctx context.Context) (T, error) { return do(ctx, full) })
	return v, pathError(op, full, err)
}

// one asks one thing about a name.
func one[T any](d *dir, op, name string, request func(b *sftp.Batch, full string) sftp.Reply[T]) (T, error) {
	return call(d, op, name, func(ctx context.Context, full string) (T, error) {
		b := d.batch()
		r := request(b, full)
		_ = b.Send() // Get tells
		return r.Get(ctx)
	})
}

// batch begins a list of requests; what is needed no more is closed with it.
func (d *dir) batch() *sftp.Batch {
	b := d.f.Batch()
	d.seen.closes(b)
	return b
}

// change changes something under a name, at once.
func (d *dir) change(op, name string, requests func(b *sftp.Batch, full string) []sftp.Reply[sftp.None]) error {
	_, err := call(d, op, name, func(ctx context.Context, full string) (sftp.None, error) {
		b := d.batch()
		all := requests(b, full)
		_ = b.Send() // All tells
		return sftp.None{}, sftp.All(ctx, all...)
	})
	return err
}

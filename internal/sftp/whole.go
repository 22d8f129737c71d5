package sftp

import (
	"context"
	"errors"
)

// ErrTooMany is wrapped by errors of directories that hold more than is read.
var ErrTooMany = errors.New("the directory has too many files")

// chunk is what one packet carries of a file.
const chunk = 32 << 10

func ended(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == CodeEOF
}

// Listing is what an open directory holds, asked for.
type Listing struct {
	f     *File
	parts []Reply[listed]
}

type listed struct {
	entries []Entry
	size    int
}

// List asks what an open directory holds.
func (b *Batch) List(f *File) Listing {
	const ahead = 2 // the second is mostly the end
	l := Listing{f: f}
	for range ahead {
		l.parts = append(l.parts, add(b, typeReaddir, typeName, entries, func(w *writer) { w.text(f.handle) }))
	}
	return l
}

// Get waits for all of it, and asks for more until there is no more.
func (l Listing) Get(ctx context.Context) (out []Entry, err error) {
	for size := 0; ; {
		for _, part := range l.parts {
			got, err := part.Get(ctx)
			if ended(err) {
				return out, nil
			}
			if err != nil {
				return nil, err
			}
			if size += got.size; len(out)+len(got.entries) > EntriesLimit || size > listingLimit {
				return nil, ErrTooMany
			}
			out = append(out, got.entries...)
		}
		b := l.parts[0].b.c.Batch()
		l = b.List(l.f)
		_ = b.Send() // Get tells
	}
}

// Content is an open file and its first bytes, asked for.
type Content struct {
	f     *File
	most  int
	info  Reply[Info]
	parts []Reply[[]byte]
}

// Content asks what was opened and for its first bytes, most of them; at once
// for as many as are expected.
func (b *Batch) Content(f *File, most, expected int) Content {
	c := Content{f: f, most: most, info: b.Fstat(f)}
	for at := 0; at < min(most, max(expected, 1)); at += chunk {
		c.parts = append(c.parts, b.part(f, at, min(chunk, most-at)))
	}
	return c
}

func (b *Batch) part(f *File, at, size int) Reply[[]byte] {
	return add(b, typeRead, typeData, func(c *Client, r *reader) ([]byte, error) {
		part := r.bytes(uint32(size))
		if r.bad() || len(part) == 0 {
			return nil, c.broke("data of another length than requested")
		}
		return part, nil
	}, func(w *writer) { w.text(f.handle); w.uint64(uint64(at)); w.uint32(uint32(size)) })
}

// Get waits for it, and asks for more where there is more. Of what is no
// regular file nothing is returned.
func (c Content) Get(ctx context.Context) (Info, []byte, error) {
	info, err := c.info.Get(ctx)
	if err != nil || !info.Mode.IsRegular() {
		return info, nil, err
	}
	var data []byte
	for {
		for at, reply := range c.parts {
			part, err := reply.Get(ctx)
			if ended(err) {
				return info, data, nil
			}
			if err != nil {
				return info, nil, err
			}
			data = append(data, part...)
			if len(part) < chunk && at+1 < len(c.parts) { // what was asked next begins further on
				break
			}
		}
		if len(data) >= c.most || uint64(len(data)) == info.Size {
			return info, data[:min(len(data), c.most)], nil
		}
		b := c.parts[0].b.c.Batch()
		c.parts = []Reply[[]byte]{b.part(c.f, len(data), min(chunk, c.most-len(data)))}
		_ = b.Send() // Get tells
	}
}

// ReadAll opens a file and reads its first bytes, most of them.
func (c *Client) ReadAll(ctx context.Context, name string, most int) (Info, []byte, error) {
	f, err := One(ctx, c, func(b *Batch) Reply[*File] { return b.Open(name, Read) })
	if err != nil {
		return Info{}, nil, err
	}
	b := c.Batch()
	content := b.Content(f, most, min(chunk, most))
	_ = b.Send() // Get tells
	info, data, err := content.Get(ctx)
	c.Forget(f)
	return info, data, err
}

// ReadDir opens a directory and reads what is in it.
func (c *Client) ReadDir(ctx context.Context, name string) ([]Entry, error) {
	f, err := One(ctx, c, func(b *Batch) Reply[*File] { return b.OpenDir(name) })
	if err != nil {
		return nil, err
	}
	b := c.Batch()
	list := b.List(f)
	_ = b.Send() // Get tells
	out, err := list.Get(ctx)
	c.Forget(f)
	return out, err
}

// Forget closes what was only read from, without waiting.
func (c *Client) Forget(f *File) {
	b := c.Batch()
	b.Close(f)
	_ = b.Send() // it ends with the session
}

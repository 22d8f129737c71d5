package sftp

import (
	"context"
	"io/fs"
)

// NewFile is a file that is to be written whole.
type NewFile struct {
	Name     string
	UID, GID int
	Mode     fs.FileMode
	Data     []byte
}

// step is what was asked of which file.
type step struct {
	op, name string
	reply    Reply[None]
}

// did waits for steps; the first refusal is the error.
func did(ctx context.Context, steps []step) (failed error) {
	for _, s := range steps {
		if _, err := s.reply.Get(ctx); err != nil && failed == nil {
			failed = &fs.PathError{Op: s.op, Path: s.name, Err: err}
		}
	}
	return failed
}

// create asks for new, empty files.
func (b *Batch) create(names []string) (made []Reply[*File]) {
	for _, name := range names {
		made = append(made, b.Open(name, Read|Write|Create|Exclusive))
	}
	return made
}

// made are the files that were created; the first that was not is the error.
func made(ctx context.Context, names []string, replies []Reply[*File]) (open []*File, failed error) {
	for n, r := range replies {
		f, err := r.Get(ctx)
		if err == nil {
			open = append(open, f)
		} else if failed == nil {
			failed = &fs.PathError{Op: "create", Path: names[n], Err: err}
		}
	}
	return open, failed
}

// fill asks that empty files become what they are to be: their owner and mode
// before their first byte, and on disk with sync.
func (b *Batch) fill(files []NewFile, open []*File, sync bool) (steps []step) {
	for n, f := range files {
		steps = append(steps, step{"chown", f.Name, b.Give(open[n], f.UID, f.GID, f.Mode)})
		for _, part := range b.Write(open[n], f.Data) {
			steps = append(steps, step{"write", f.Name, part})
		}
		if sync {
			steps = append(steps, step{"sync", f.Name, b.Sync(open[n])})
		}
	}
	return steps
}

// Fill makes an empty file what it is to be, and closes it.
func (c *Client) Fill(ctx context.Context, f *File, is NewFile, sync bool) error {
	return c.fillAll(ctx, []NewFile{is}, []*File{f}, sync)
}

func (c *Client) fillAll(ctx context.Context, files []NewFile, open []*File, sync bool) error {
	b := c.Batch()
	steps := b.fill(files, open, sync)
	for n, f := range open {
		steps = append(steps, step{"close", files[n].Name, b.Close(f)})
	}
	_ = b.Send() // did tells
	return did(ctx, steps)
}

// Create makes files, none of which may be there: each has its owner and mode
// before its first byte, and is on disk with sync. Two journeys for all of
// them. An error may leave some.
func (c *Client) Create(ctx context.Context, files []NewFile, sync bool) error {
	b, names := c.Batch(), Revision{Files: files}.names()
	replies := b.create(names)
	_ = b.Send() // made tells
	open, err := made(ctx, names, replies)
	if err != nil {
		for _, f := range open {
			c.Forget(f)
		}
		return err
	}
	return c.fillAll(ctx, files, open, sync)
}

package remote

import (
	"context"
	"fmt"
	"path"
	"sync"
	"time"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// dir is an open directory: the path that it really has, for names to be put
// behind.
type dir struct {
	ctx   context.Context
	c     *conn
	as    rights // what is done in it is done with these
	f     *files // the session with them
	asked string // the path that it was opened by
	path  string
	from  string // on the way there, the first directory of the user with whose rights; empty: of none
	seen  *memory
	begun *sftp.Beginning // what is going to be published
	end   func()
}

type nothing = struct{}

// OpenDir resolves the path on the host, and looks at what is named first in
// the same journey, where it may do so before it knows where that is.
func (t *Transport) OpenDir(ctx context.Context, name string, create bool, first ...hosts.Ahead) (hosts.Dir, error) {
	if !path.IsAbs(name) || path.Clean(name) != name {
		return nil, fmt.Errorf("open %q: not an absolute, clean path", name)
	}
	var a hosts.Ahead
	if len(first) > 0 {
		a = first[0]
	}
	return retry(ctx, func() (hosts.Dir, error) {
		c, err := t.acquire(ctx)
		if err != nil {
			return nil, err
		}
		d := &dir{ctx: ctx, c: c, asked: name, as: t.rights(), seen: newMemory()}
		d.end = sync.OnceFunc(func() {
			if d.f != nil {
				c.unused(d.f)
			}
			c.release()
		})
		if w, known := c.takeWay(name); known {
			err = d.again(w, a)
		} else {
			err = d.open(path.Join("/", t.cfg.Root), create, a)
		}
		if err != nil {
			d.end()
			return nil, err
		}
		return d, nil
	})
}

// again opens a directory that was open a moment ago.
func (d *dir) again(w way, a hosts.Ahead) (err error) {
	d.path, d.as, d.from = w.path, w.as, w.from
	if d.f, _, err = d.c.sftp(d.ctx, d.as, nil); err != nil {
		return err
	}
	switch {
	case w.seen == nil:
	case a.Recent:
		d.seen = w.seen
		d.seen.recall()
	default:
		d.seen = w.seen.reset()
	}
	d.seen.of(d.f)
	return d.ahead(a)
}

// Close keeps what was seen for who comes at once.
func (d *dir) Close() error {
	if d.begun != nil { // what it leaves, the next Stage sweeps
		_, _ = ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.f.Abandon(ctx, d.begun) })
	}
	if !d.c.giveBack(d.asked, d.seen) {
		d.seen.letGo()
	}
	d.end()
	return nil
}

// way is what was found out about the way to a directory, and in it.
type way struct {
	path  string
	as    rights
	from  string
	found time.Time
	seen  *memory // nil while the directory is open
}

// waysKept is how long the way to a directory is taken for what it was: a
// placement is staged, flipped and looked at in one go. Who could change it
// is root, or the user with whose rights what is done there is done.
const waysKept = 10 * time.Second

func (c *conn) takeWay(name string) (way, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.ways[name]
	if !ok || time.Since(w.found) >= waysKept {
		return w, false
	}
	c.ways[name] = way{w.path, w.as, w.from, w.found, nil}
	return w, true
}

func (c *conn) keepWay(name string, w way) {
	var old []*memory
	c.mu.Lock()
	for n, w := range c.ways {
		if n == name || time.Since(w.found) >= waysKept {
			old = append(old, w.seen)
			delete(c.ways, n)
		}
	}
	c.ways[name] = w
	c.mu.Unlock()
	for _, m := range old {
		if m != nil {
			m.letGo()
		}
	}
}

// giveBack keeps a memory for the next one in the directory; false: there is
// no such way any more, or it has one.
func (c *conn) giveBack(name string, m *memory) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.ways[name]
	if !ok || w.seen != nil {
		return false
	}
	w.seen = m
	c.ways[name] = w
	return true
}

func (c *conn) loseWay(name string) {
	c.mu.Lock()
	w := c.ways[name]
	delete(c.ways, name)
	c.mu.Unlock()
	if w.seen != nil {
		w.seen.letGo()
	}
}

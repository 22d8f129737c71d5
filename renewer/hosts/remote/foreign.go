package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// A directory that belongs to a service's own user is worked in with the rights
// of that user: whatever they put there meanwhile, a link gains them nothing.
// What is left for root is a file of another owner in it, and that goes by what
// is open, not by names.

// besideRoot is a session of root's for such files, apart from the others: what
// is opened here may turn out to be a pipe, and hold it up.
const besideRoot rights = "root, beside"

// createForeign makes files of other owners, all in one directory. Root makes
// each, empty, under a name that nobody can guess, in a directory that is open:
// no link leads it elsewhere. The directory's owner gives it its name, and it is
// filled through what was opened. Its content is never in a file that the
// directory's owner could open.
func (d *dir) createForeign(ctx context.Context, files []sftp.NewFile) error {
	at := path.Dir(files[0].Name)
	root, err := d.c.serveIn(ctx, at)
	if err != nil {
		return err
	}
	defer root.end()
	for _, f := range files {
		temp := ".tmp-" + rand.Text()
		h, err := root.Open(ctx, temp, sftp.Write|sftp.Create|sftp.Exclusive)
		if err != nil {
			return err
		}
		if err := d.f.Rename(ctx, path.Join(at, temp), f.Name, nil); err != nil {
			h.Forget()
			_ = root.Remove(ctx, sftp.Gone{Name: temp}) // in what is open
			return err
		}
		if err := h.Fill(ctx, f, root.syncs); err != nil {
			return err
		}
	}
	return nil
}

// readForeign reads what the directory's owner may not: root does, and hands
// out only what that user could not read wherever it lies. So a copy of it with
// its owner and mode tells them nothing.
func (d *dir) readForeign(ctx context.Context, full string, most int) (content, error) {
	root, err := d.c.sftp(ctx, besideRoot)
	if err != nil {
		return content{}, err
	}
	defer d.c.unused(root)
	f, err := root.Open(ctx, full, sftp.Read)
	if err != nil {
		return content{}, d.judge(root, err)
	}
	defer f.Forget()
	i, data, err := f.ReadAll(ctx, most)
	if err != nil {
		return content{}, d.judge(root, err)
	}
	const forOthers = 0o044
	switch {
	case !i.Mode.IsRegular():
		return content{}, errNotRegular
	case asUser(int(i.UID)) == d.as || i.Mode.Perm()&forOthers != 0:
		return content{}, fmt.Errorf("user %s may not read it where it lies: %w", d.as, fs.ErrPermission)
	}
	return content{about(i).Info, data}, nil
}

// way is what was found out about the way to a directory.
type way struct {
	path  string
	as    rights
	found time.Time
}

// waysKept is how long the way to a directory is taken for what it was: a
// placement is staged, flipped and looked at in one go. Who could change it
// is root, or the user with whose rights what is done there is done.
const waysKept = 10 * time.Second

func (c *conn) wayTo(name string) (way, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.ways[name]
	return w, ok && time.Since(w.found) < waysKept
}

func (c *conn) keepWay(name string, w way) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, w := range c.ways {
		if time.Since(w.found) >= waysKept {
			delete(c.ways, n)
		}
	}
	c.ways[name] = w
}

func (c *conn) loseWay(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ways, name)
}

// settle looks at the way to the directory, and finds out with whose rights to
// work in it.
func (d *dir) settle(ctx context.Context) error {
	d.as = d.c.t.rights()
	if d.as != asRoot {
		return nil
	}
	parts := []string{d.path}
	for at := d.path; at != "/"; {
		at = path.Dir(at)
		parts = append([]string{at}, parts...)
	}
	infos, err := d.f.LstatAll(ctx, parts)
	if err != nil {
		return err
	}
	var way hosts.Way
	for n, part := range parts {
		if err := way.Through(part, about(infos[n]).Info); err != nil {
			return err
		}
	}
	if err := way.End(); err != nil {
		return err
	}
	if way.Owner.UID == 0 {
		return nil
	}
	f, err := d.c.sftp(ctx, asUser(way.Owner.UID))
	if err != nil {
		return err
	}
	d.c.unused(d.f)
	d.as, d.f = asUser(way.Owner.UID), f
	return nil
}

var errNotRegular = errors.New("not a regular file")

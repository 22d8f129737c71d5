package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"renewer/internal/sftp"
	"renewer/renewer/hosts"
)

// open finds out where a directory really is and looks at what is named in it,
// making what is missing of it. With a root other than / nothing outside of it is
// taken. Mostly there is no link on the way, so all is asked as if there were none.
func (d *dir) open(root string, create bool, a hosts.Ahead) error {
	g := guess{d: d, full: path.Join(root, d.asked), a: a}
	f, sent, err := d.c.sftp(d.ctx, d.as, g.ask)
	if d.f = f; err != nil {
		return fmt.Errorf("open %s: %w", d.asked, err)
	}
	d.seen.of(f)
	if !sent {
		b := d.f.Batch()
		g.ask(b)
		_ = b.Send() // Get tells
	}
	right, err := g.right()
	if err != nil {
		return fmt.Errorf("open %s: %w", d.asked, err)
	}
	if !right || root != "/" {
		d.seen.letGo()
		d.seen = newMemory()
		d.seen.of(d.f)
		if err := d.find(root, create); err != nil {
			return err
		}
	}
	d.c.keepWay(d.asked, way{path: d.path, as: d.as, from: d.from, found: time.Now()})
	return d.ahead(a)
}

// guess is what is asked of a directory in case that it is where its name says.
type guess struct {
	d    *dir
	full string
	a    hosts.Ahead
	real sftp.Reply[string]
	what sftp.Reply[sftp.Info]
	way  []sftp.Reply[sftp.Info]
	seen *looking
}

func (g *guess) ask(b *sftp.Batch) {
	g.real, g.what = b.RealPath(g.full), b.Stat(g.full)
	if g.d.as == asRoot { // nothing is looked at by root before the way is known
		g.way = lookAtParts(b, g.full)
	} else {
		g.seen = g.d.look(b, g.full, g.a)
	}
}

// right waits for the answers, and tells whether they count.
func (g *guess) right() (bool, error) {
	d := g.d
	d.path = g.full
	right, err := ask(d, func(ctx context.Context) (bool, error) {
		real, err := g.real.Get(ctx)
		if fatal(err) {
			return false, err
		}
		i, serr := g.what.Get(ctx)
		return err == nil && real == g.full && serr == nil && i.Mode.IsDir(), fatalOnly(serr)
	})
	switch {
	case err != nil:
		return false, err
	case g.seen != nil:
		if !right {
			g.seen.next = nil
		}
		return right, d.taken(g.seen, g.a)
	case right:
		_, err = ask(d, func(ctx context.Context) (nothing, error) { return nothing{}, d.settle(ctx, g.way) })
	}
	return right, err
}

// find resolves what has links on its way, or is to be made.
func (d *dir) find(root string, create bool) error {
	missing, err := d.nearest(root, path.Join(root, d.asked), create)
	if err == nil && d.as == asRoot {
		_, err = ask(d, func(ctx context.Context) (nothing, error) {
			b := d.f.Batch()
			parts := lookAtParts(b, d.path)
			_ = b.Send() // Get tells
			return nothing{}, d.settle(ctx, parts)
		})
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", d.asked, err)
	}
	for _, part := range missing {
		if err := d.make(part); err != nil {
			return fmt.Errorf("create %s: %w", d.asked, err)
		}
	}
	return nil
}

// nearest resolves a path as far as it is there, and returns the rest.
func (d *dir) nearest(root, full string, create bool) (missing []string, err error) {
	for base := full; ; {
		real, err := d.real(root, base)
		if err == nil {
			d.path = real
			return missing, nil
		}
		if !create || !errors.Is(err, fs.ErrNotExist) || base == root || base == "/" {
			return nil, err
		}
		// A link that leads nowhere is there, and must not be taken for missing;
		// what else is there now was made meanwhile by somebody else.
		i, lerr := ask(d, func(ctx context.Context) (sftp.Info, error) {
			return sftp.One(ctx, d.f.Client, func(b *sftp.Batch) sftp.Reply[sftp.Info] { return b.Lstat(base) })
		})
		switch {
		case lerr == nil && i.Mode.IsDir():
			continue
		case lerr == nil || !errors.Is(lerr, fs.ErrNotExist):
			return nil, fmt.Errorf("%s: %w", base, err)
		}
		missing = append([]string{path.Base(base)}, missing...)
		base = path.Dir(base)
	}
}

// real returns the path of a directory without links in it, which has to be
// inside of root.
func (d *dir) real(root, full string) (string, error) {
	if root == "/" {
		return d.resolve(full)
	}
	base, rootErr := d.resolve(root)
	real, err := d.resolve(full)
	switch {
	case err != nil:
		return "", err
	case rootErr != nil:
		return "", fmt.Errorf("root %s: %w", root, rootErr)
	case real != base && !strings.HasPrefix(real, base+"/"):
		return "", fmt.Errorf("%s is outside of root %s", real, root)
	}
	return real, nil
}

// resolve asks at the same time where a path leads and what is there. If that
// changes in between, what is done with the directory fails.
func (d *dir) resolve(full string) (string, error) {
	return ask(d, func(ctx context.Context) (string, error) {
		b := d.f.Batch()
		where, what := b.RealPath(full), b.Stat(full)
		_ = b.Send() // Get tells
		real, err := where.Get(ctx)
		i, serr := what.Get(ctx)
		switch err = cmp.Or(err, serr); {
		case err != nil:
			return "", err
		case !i.Mode.IsDir():
			return "", errors.New("not a directory")
		case !path.IsAbs(real) || path.Clean(real) != real:
			return "", fmt.Errorf("the server resolves it to %q", real)
		}
		return real, nil
	})
}

// make makes a directory in this one, mode 0755, synced, and is it then.
func (d *dir) make(part string) error {
	const mode = fs.ModeDir | 0o755
	i, err := d.mkdir(part, mode)
	switch {
	case err != nil && i.Mode.IsDir(): // somebody else made it meanwhile
		err = nil
	case err == nil && i.Mode != mode: // the server's umask is another one
		err = d.chmod(part, mode)
	}
	if err != nil {
		return d.explain(err, part, false)
	}
	if err := d.Sync("."); err != nil {
		return err
	}
	d.seen.letGo()
	d.path, d.seen = path.Join(d.path, part), newMemory()
	d.seen.of(d.f)
	return nil
}

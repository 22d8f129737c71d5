package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"

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

func (d *dir) rootBeside(ctx context.Context) (*files, error) { return d.c.sftp(ctx, besideRoot) }

// createForeign makes a file of another owner. Root makes it, empty, under a
// name that nobody can guess, and the directory's owner gives it its name: where
// they could do that, root has made it in no place that is not theirs.
// Only then it is filled, through what was opened. Its content is never in a
// file that the directory's owner could open.
func (d *dir) createForeign(ctx context.Context, f sftp.NewFile) error {
	root, err := d.rootBeside(ctx)
	if err != nil {
		return err
	}
	temp := path.Join(path.Dir(f.Name), ".tmp-"+rand.Text())
	h, err := root.Open(ctx, temp, sftp.Write|sftp.Create|sftp.Exclusive)
	if err != nil {
		return d.judge(root, err)
	}
	if err := d.f.Rename(ctx, temp, f.Name); err != nil {
		h.Forget()
		_ = root.Remove(ctx, temp) // no file but this one has that name
		return err
	}
	return d.judge(root, h.Fill(ctx, f, root.syncs))
}

// readForeign reads what the directory's owner may not: root does, and hands
// out only what that user could not read wherever it lies. So a copy of it with
// its owner and mode tells them nothing.
func (d *dir) readForeign(ctx context.Context, full string, most int) (content, error) {
	root, err := d.rootBeside(ctx)
	if err != nil {
		return content{}, err
	}
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
	d.as = asUser(way.Owner.UID)
	d.f, err = d.c.sftp(ctx, d.as)
	return err
}

var errNotRegular = errors.New("not a regular file")

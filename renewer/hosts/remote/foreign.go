package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"renewer/internal/sftp"
	"renewer/renewer"
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
// each, empty, under a name that no one can guess, in a directory that is open:
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
		h, err := sftp.One(ctx, root.Client, func(b *sftp.Batch) sftp.Reply[*sftp.File] {
			return b.Open(temp, sftp.Write|sftp.Create|sftp.Exclusive)
		})
		if err != nil {
			return err
		}
		_, err = sftp.One(ctx, d.f.Client, func(b *sftp.Batch) sftp.Reply[sftp.None] { return b.Rename(path.Join(at, temp), f.Name) })
		if err != nil {
			b := root.Batch()
			b.Close(h)
			gone := b.Remove(temp) // in what is open
			_ = b.Send()
			_, _ = gone.Get(ctx)
			return err
		}
		if err := root.Fill(ctx, h, f, root.syncs); err != nil {
			return err
		}
	}
	return nil
}

// readForeign reads what the directory's owner may not: root does, and hands
// out only what that user could not read wherever it lies, and no other but its owner
// could. So a copy of it with its owner and mode tells nothing new.
func (d *dir) readForeign(ctx context.Context, full string, most int) (content, error) {
	root, _, err := d.c.sftp(ctx, besideRoot, nil)
	if err != nil {
		return content{}, err
	}
	defer d.c.unused(root)
	i, data, err := root.ReadAll(ctx, full, most)
	if err != nil {
		return content{}, d.judge(root, err)
	}
	const group, all = 0o040, 0o004
	switch {
	case !i.Mode.IsRegular():
		return content{}, errNotRegular
	case asUser(int(i.UID)) == d.as || i.Mode.Perm()&all != 0, i.Mode.Perm()&group != 0 && !d.c.alone(ctx, about(i).Owner):
		return content{}, renewer.WithHint(fmt.Errorf("user %s cannot read it in this directory, but its mode %04o allows other users: %w", d.as, i.Mode.Perm(), fs.ErrPermission),
			"if it is not a link, run on the host: sudo chmod go-rwx "+full)
	}
	return content{about(i).Info, data}, nil
}

// Alone refuses directories below this one that are not of the user who works in it:
// what was made here while the directory was somebody else's. Root would work in them by
// their names, and that user could put something else there; another user may not.
func (d *dir) Alone(dirs ...string) error {
	if d.as != asRoot && d.from == "" {
		return nil
	}
	for _, name := range dirs {
		i, err := d.lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case d.as != asRoot && asUser(i.Owner.UID) != d.as:
			return misconfigured(fmt.Errorf("%s belongs to user %d, and %s to user %s", path.Join(d.path, name), i.Owner.UID, d.from, d.as), d.giveBack(name))
		case d.as != asRoot:
		case i.Mode.IsDir() && (i.Owner.UID != 0 || i.Mode.Perm()&0o022 != 0):
			store := path.Join(d.path, strings.Split(name, "/")[0])
			return misconfigured(fmt.Errorf("%s of user %d has mode %04o, and %s belongs to root: other users could change what root does there", path.Join(d.path, name), i.Owner.UID, i.Mode.Perm(), d.path),
				fmt.Sprintf("on the host: sudo chown -hR 0 %s && sudo chmod -R go-w %s", store, store))
		}
	}
	return nil
}

// settle looks at the way to the directory, part by part from the top, and finds
// out with whose rights to work in it.
func (d *dir) settle(ctx context.Context, infos []sftp.Reply[sftp.Info]) error {
	way := hosts.Way{Alone: func(o hosts.Owner) bool { return d.c.alone(ctx, o) }}
	for n, part := range wayTo(d.path) {
		i, err := infos[n].Get(ctx)
		if err != nil {
			return &fs.PathError{Op: "lstat", Path: part, Err: err}
		}
		if err := way.Through(part, about(i).Info); err != nil {
			return err
		}
	}
	if err := way.End(); err != nil {
		return err
	}
	if way.Owner.UID == 0 {
		return nil
	}
	f, _, err := d.c.sftp(ctx, asUser(way.Owner.UID), nil)
	if err != nil {
		return err
	}
	d.c.unused(d.f)
	d.as, d.f, d.from = asUser(way.Owner.UID), f, way.From
	return nil
}

// wayTo are the directories on the way to one, it among them.
func wayTo(full string) []string {
	out := []string{full}
	for full != "/" {
		full = path.Dir(full)
		out = append(out, full)
	}
	slices.Reverse(out)
	return out
}

// lookAtParts asks what they are.
func lookAtParts(b *sftp.Batch, full string) (out []sftp.Reply[sftp.Info]) {
	for _, part := range wayTo(full) {
		out = append(out, b.Lstat(part))
	}
	return out
}

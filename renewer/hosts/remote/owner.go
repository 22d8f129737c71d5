package remote

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"renewer/internal/pattern"
	"renewer/internal/sftp"
	"renewer/renewer"
	"renewer/renewer/hosts"
)

// Owner asks the host's name services (getent(1)), also where the host has a
// root. Files are written as root with sudo, else as the login account. What
// was found is kept for as long as the connection; who the login account is, for
// as long as the transport.
func (t *Transport) Owner(ctx context.Context, user, group, dir string) (hosts.Owner, error) {
	c, err := t.acquire(ctx)
	if err != nil {
		return hosts.Owner{}, err
	}
	defer c.release()
	key := user + ":" + group
	c.mu.Lock()
	o, ok := c.owners[key]
	c.mu.Unlock()
	if ok {
		return o, nil
	}
	if key == ":" {
		if self := t.self.Load(); self != nil {
			return *self, nil
		}
	}
	ctx, cancel := t.client.limit(ctx)
	defer cancel()
	if o, err = c.owner(ctx, user, group, dir); err != nil {
		return hosts.Owner{}, err
	}
	if key == ":" {
		t.self.Store(&o)
	}
	c.mu.Lock()
	c.owners[key] = o
	c.mu.Unlock()
	return o, nil
}

// Groups implements hosts.Transport, by id(1) as the login account.
func (t *Transport) Groups(ctx context.Context, user string) ([]int, error) {
	c, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer c.release()
	ctx, cancel := t.client.limit(ctx)
	defer cancel()
	out, err := c.run(ctx, asLogin, []string{"id", "-G", "--", user})
	if err != nil {
		return nil, err
	}
	return hosts.ReadGroups(out)
}

func (c *conn) owner(ctx context.Context, user, group, dir string) (o hosts.Owner, err error) {
	switch {
	case user != "":
		o, err = c.lookUser(ctx, user, group == "")
	case !c.t.cfg.Sudo && c.to.user != "root": // else root's zeroes
		o, err = c.self(ctx, dir)
	}
	if err == nil && group != "" {
		o.GID, err = c.lookGroup(ctx, group)
	}
	return o, err
}

var idForm = pattern.New(`^uid=(\d+)\b.* gid=(\d+)\b`)

// self is the login account, as id(1) prints it. Where the account runs no
// commands, a directory that is made says it.
func (c *conn) self(ctx context.Context, dir string) (o hosts.Owner, err error) {
	out, err := c.run(ctx, asLogin, []string{"id"})
	if none := (*NoCommandsError)(nil); errors.As(err, &none) {
		if o, derr := c.selfByFile(ctx, dir); derr == nil {
			return o, nil
		}
	}
	m := idForm.Regexp().FindSubmatch(out)
	if err != nil || m == nil {
		err = cmp.Or(err, fmt.Errorf("id(1) says %q", lineOf(out)))
		return o, fmt.Errorf("find the user that files are written as: %w", err)
	}
	if o.UID, err = strconv.Atoi(string(m[1])); err == nil {
		o.GID, err = strconv.Atoi(string(m[2]))
	}
	return o, err
}

// selfByFile makes a directory below the first one of the path that is there,
// and removes it again.
func (c *conn) selfByFile(ctx context.Context, at string) (o hosts.Owner, err error) {
	f, _, err := c.sftp(ctx, c.t.rights(), nil)
	if err != nil {
		return o, err
	}
	d := &dir{ctx: ctx, c: c, f: f, seen: newMemory(), path: path.Join("/", c.t.cfg.Root, at)}
	for {
		_, err := one(d, "stat", ".", (*sftp.Batch).Stat)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || d.path == "/" {
			break
		}
		d.path = path.Dir(d.path)
	}
	name := ".renewer-" + rand.Text()
	if err := d.Mkdir(name); err != nil {
		return o, err
	}
	i, err := d.Lstat(name)
	return i.Owner, errors.Join(err, d.Remove(name))
}

// lookUser takes a number that has no name as it is, if its group is not needed.
func (c *conn) lookUser(ctx context.Context, name string, withGroup bool) (o hosts.Owner, err error) {
	fields, err := c.getent(ctx, "passwd", name)
	if err != nil {
		return o, err
	}
	if n, nerr := strconv.Atoi(name); fields == nil && nerr == nil && n >= 0 {
		if withGroup {
			return o, renewer.WithHint(fmt.Errorf("the host has no user %s, so its group is unknown", name), "set group: too")
		}
		return hosts.Owner{UID: n}, nil
	}
	if len(fields) < 4 {
		return o, renewer.WithHint(fmt.Errorf("the host has no user %s", name), "create the user, or set owner: to a name or number that the host has")
	}
	if o.UID, err = strconv.Atoi(fields[2]); err == nil {
		o.GID, err = strconv.Atoi(fields[3])
	}
	return o, err
}

func (c *conn) lookGroup(ctx context.Context, name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		return n, nil
	}
	fields, err := c.getent(ctx, "group", name)
	if err != nil {
		return 0, err
	}
	if len(fields) < 3 {
		return 0, renewer.WithHint(fmt.Errorf("the host has no group %s", name), "create the group, or set group: to a name or number that the host has")
	}
	return strconv.Atoi(fields[2])
}

// Alone asks the host's name services for all users.
func (t *Transport) Alone(ctx context.Context, o hosts.Owner) bool {
	c, err := t.acquire(ctx)
	if err != nil {
		return false
	}
	defer c.release()
	ctx, cancel := t.client.limit(ctx)
	defer cancel()
	return c.alone(ctx, o)
}

func (c *conn) alone(ctx context.Context, o hosts.Owner) bool {
	group, err := c.run(ctx, asLogin, []string{"getent", "group", strconv.Itoa(o.GID)})
	if err != nil {
		return false
	}
	users, err := c.run(ctx, asLogin, []string{"getent", "passwd"})
	return err == nil && len(users) < outputKept && hosts.OwnGroup(o, string(users), string(group)) // else some were cut off
}

// getent returns the fields of an entry; nil if there is none.
func (c *conn) getent(ctx context.Context, database, key string) ([]string, error) {
	if strings.HasPrefix(key, "-") || strings.ContainsAny(key, ":\n") {
		return nil, fmt.Errorf("%q is not a name in %s", key, database)
	}
	out, err := c.run(ctx, asLogin, []string{"getent", database, key})
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.ExitStatus() == 2 { // getent(1): not found
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", key, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.Split(line, ":"), nil
}
